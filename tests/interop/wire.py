"""The client's end of the wire, with nothing hidden: raw long-polling requests and raw WebSocket frames.

It builds URLs, keeps frames that arrive together in a line, and gives everything a deadline. It parses no packet
beyond the OPEN packet, so that what a test compares is the text that came over the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

PATIENCE = 10.0  # seconds: longer than any answer takes on a loaded machine, shorter than a test run's patience
POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"


def case(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test on a loop of its own, for half a minute at most."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30.0))

    return run


async def within(awaitable: Awaitable[Any], seconds: float = PATIENCE) -> Any:
    """The awaitable's result. TimeoutError after `seconds`."""
    return await asyncio.wait_for(awaitable, seconds)


async def eventually(check: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return once `check()` holds. AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"{check} did not come true in {seconds} s"
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens: its port and the path of its Engine.IO, with both slashes."""

    port: int
    path: str

    def http(self, query: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{self.path}" + (f"?{query}" if query else "")

    def ws(self, query: str = "") -> str:
        return self.http(query).replace("http", "ws", 1)


class Frames:
    """One WebSocket connection. Frames that arrive together wait in line."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, frame: str | bytes) -> None:
        await self._connection.send(frame)

    async def next(self, seconds: float = PATIENCE) -> str | bytes:
        """The next frame that is no ping; pings are answered, since on a busy machine one may come at any time.

        TimeoutError after `seconds`, ConnectionClosed once the server is gone.
        """
        async with asyncio.timeout(seconds):
            while (frame := await self._connection.recv()) == "2":
                await self._connection.send("3")
        return frame

    async def ping(self) -> None:
        """Wait for the next frame, which must be a ping, and leave it unanswered."""
        assert await within(self._connection.recv()) == "2"

    async def open_packet(self) -> dict[str, Any]:
        frame = await self.next()
        assert isinstance(frame, str)
        return parse_open(frame)

    async def closed(self, seconds: float = PATIENCE) -> list[str | bytes]:
        """Wait until the server has closed the connection; the frames that came before.

        Pings go unanswered meanwhile.
        """
        frames: list[str | bytes] = []
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(seconds):
                while True:
                    frames.append(await self._connection.recv())
        return frames

    async def closed_though_ponging(self, seconds: float = PATIENCE) -> list[str | bytes]:
        """As `closed`, with every ping answered, so that it is no heartbeat that closes."""
        frames: list[str | bytes] = []
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(seconds):
                while True:
                    frame = await self._connection.recv()
                    if frame == "2":
                        await self._connection.send("3")
                    else:
                        frames.append(frame)
        return frames

    async def close(self) -> None:
        await self._connection.close()


class Client:
    """Raw access to one endpoint: GET, POST and WebSocket, over connections that are kept alive."""

    def __init__(self, endpoint: Endpoint, http: httpx.AsyncClient, stack: contextlib.AsyncExitStack) -> None:
        self.endpoint = endpoint
        self.http = http
        self._stack = stack

    async def get(self, query: str) -> httpx.Response:
        return await self.http.get(self.endpoint.http(query))

    async def poll(self, sid: str) -> httpx.Response:
        return await self.get(f"{POLLING}&sid={sid}")

    async def packets(self, sid: str, count: int) -> list[str]:
        """Poll until `count` packets have come; those packets. Pings are answered and left out."""
        found: list[str] = []
        while len(found) < count:
            response = await self.poll(sid)
            assert response.status_code == 200, f"{response.status_code} {response.text} after {found}"
            for packet in response.text.split("\x1e"):
                if packet == "2":
                    await self.push(sid, "3")
                else:
                    found.append(packet)
        return found

    async def poll_past_pings(self, sid: str) -> tuple[int, str]:
        """Poll until something comes that is no ping; its status and text. Pings are answered and left out."""
        while True:
            response = await self.poll(sid)
            packets = response.text.split("\x1e")
            if "2" not in packets:
                return response.status_code, response.text
            await self.push(sid, "3")
            packets.remove("2")
            if packets:
                return response.status_code, "\x1e".join(packets)

    async def push(self, sid: str, payload: str) -> httpx.Response:
        url = self.endpoint.http(f"{POLLING}&sid={sid}")
        return await self.http.post(url, content=payload, headers={"Content-Type": "text/plain;charset=UTF-8"})

    async def open(self) -> str:
        """Open a long-polling session; its sid."""
        response = await self.get(POLLING)
        assert response.status_code == 200, response.text
        sid: str = parse_open(response.text)["sid"]
        return sid

    async def websocket(self, query: str = WEBSOCKET) -> Frames:
        """Open a WebSocket. `websockets.InvalidHandshake` when the server refuses."""
        connection = await within(
            connect(
                self.endpoint.ws(query),
                compression=None,
                max_size=None,
                ping_interval=None,
                close_timeout=2.0,
                proxy=None,
            )
        )
        self._stack.push_async_callback(connection.close)
        return Frames(connection)

    async def refused(self, query: str) -> int:
        """Open a WebSocket that the server must refuse; the status it answers."""
        try:
            await self.websocket(query)
        except InvalidHandshake as error:
            return int(getattr(getattr(error, "response", None), "status_code", 0))
        raise AssertionError(f"the server accepted a WebSocket for ?{query}")


@contextlib.asynccontextmanager
async def client(endpoint: Endpoint) -> AsyncIterator[Client]:
    """A client of `endpoint`. Everything it opened is closed when the block ends."""
    async with contextlib.AsyncExitStack() as stack:
        # No endpoint speaks TLS. To read the certificates of the world takes longer than most tests.
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE))
        yield Client(endpoint, http, stack)


def parse_open(packet: str) -> dict[str, Any]:
    """The handshake in an OPEN packet, which must be alone in `packet`."""
    assert packet.startswith("0{"), packet
    handshake: dict[str, Any] = json.loads(packet[1:])
    return handshake
