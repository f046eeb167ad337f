"""Clients that break every rule, and a witness that keeps them: raw WebSocket frames, and somebody else's messages.

The offender writes whatever bytes a test wants on a TCP connection. The witness is an ordinary client that asks and is
answered all the while; it measures how long it had to wait. Nothing here knows what the server should do.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct
import time
import zlib
from collections.abc import Awaitable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from tests.interop.wire import PATIENCE, WEBSOCKET, eventually
from tests.servers import ServerProcess, serving, tracebacks
from tests.websocket_faults import BINARY, CLOSE, COMPRESSED, TEXT, frame

# Bounds that a test can reach quickly. Heartbeats are short enough for one that dribbles to be cut off by them, and
# long enough for a test on a busy machine to answer.
BOUNDS = {
    "SHOAL_MAX_PAYLOAD": "100000",
    "SHOAL_MAX_PACKETS_PER_POLL": "100",
    "SHOAL_MAX_ATTACHMENT_BYTES": "150000",
    "SHOAL_MAX_NAMESPACES": "5",
    "SHOAL_MAX_ROOMS": "10",
    "SHOAL_MAX_WAITING_EVENTS": "16",
    "SHOAL_MAX_OUTBOX": "300000",
    "SHOAL_CONNECT_TIMEOUT": "0.6",
    "SHOAL_UPGRADE_TIMEOUT": "0.5",
    "SHOAL_CLOSE_TIMEOUT": "1",
    "SHOAL_HEAD_TIMEOUT": "1",
    "SHOAL_PING_INTERVAL": "0.5",
    "SHOAL_PING_TIMEOUT": "3.0",
}
PATIENT = {"SHOAL_PING_TIMEOUT": "20"}  # for a client that has no time to answer pings, or may not while it is at it
ROUND_TRIPS = 5  # that a witness makes at least while somebody offends
SLOWEST = 5.0  # seconds that one of them may take on a busy machine; an offence that worked would take for ever


async def within(awaitable: Awaitable[bytes]) -> bytes:
    """What a read gives. TimeoutError if that takes too long. Unlike `wait_for` in Python 3.11 it can be cancelled."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


class Raw:
    """A TCP connection to the server, and the frames that come back over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.answer = b""
        self.cut = False
        """Whether the server has ended the connection."""
        self._inflater = zlib.decompressobj(-15)

    @classmethod
    async def connect(cls, port: int, *, buffer: int | None = None) -> Raw:
        """Connect; with `buffer`, the kernel keeps little more than that many unread bytes."""
        connection = socket.socket()
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=connection, limit=2**16))

    @classmethod
    async def websocket(
        cls, port: int, query: str = WEBSOCKET, headers: Mapping[str, str] = {}, *, buffer: int | None = None
    ) -> Raw:
        """Ask for a WebSocket. `status` is 101, or says why not; then `answer` has the body."""
        raw = await cls.connect(port, buffer=buffer)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await raw.send(f"GET /socket.io/?{query} HTTP/1.1\r\n{lines}\r\n".encode())
        await raw.head()
        if raw.status != 101:
            raw.answer = await raw.rest()
        return raw

    @classmethod
    async def joined(cls, port: int, namespace: str = "", **options: Any) -> tuple[Raw, str]:
        """A WebSocket whose client is in a namespace, and its socket's id."""
        raw = await cls.websocket(port, **options)
        try:
            assert (await raw.next())[:2] == b"0{"
            await raw.send_text(f"40{namespace}")
            while not (reply := await raw.next()).startswith(f"40{namespace}".encode()):
                assert reply == b"2", reply
            return raw, json.loads(reply[reply.index(b"{") :])["sid"]
        except BaseException:
            raw.abort()
            raise

    async def send(self, data: bytes) -> None:
        """Write, and wait until the kernel has it. A connection that the server ended is no error.

        Others of this loop have a turn each time, which `drain` alone gives them only when the buffer is full: whoever
        sends without a pause would keep a witness from answering pings.
        """
        if self.writer.transport.is_closing():
            return
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()
        await asyncio.sleep(0)

    async def send_text(self, text: str | bytes) -> None:
        """Send one text frame."""
        await self.send(frame(TEXT, text if isinstance(text, bytes) else text.encode()))

    async def head(self) -> int:
        """Read the head of an HTTP response; its status, 0 if there is none."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            lines = await within(self.reader.readuntil(b"\r\n\r\n"))
            self.status = int(lines.split(b" ", 2)[1])
        return self.status

    async def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await within(self.reader.read(2**16)):
                data += chunk
        self.cut = True
        return data

    async def read_frame(self) -> tuple[int, bytes]:
        """The next frame. IncompleteReadError or ConnectionError once the server has ended the connection."""
        first, length = await within(self.reader.readexactly(2))
        if length > 125:
            length = int.from_bytes(await within(self.reader.readexactly(2 if length == 126 else 8)), "big")
        payload = await within(self.reader.readexactly(length))
        if first >> 4 & COMPRESSED:
            payload = self._inflater.decompress(payload + b"\x00\x00\xff\xff")
        return first & 15, payload

    async def next(self) -> bytes:
        """The payload of the next text or binary frame that is no ping of Engine.IO; pings are answered."""
        while True:
            opcode, payload = await self.read_frame()
            if payload == b"2":
                await self.send_text("3")
            elif opcode in (TEXT, BINARY):
                return payload

    async def ask(self, event: str, *args: Any) -> Any:
        """Emit an event and wait for the arguments of its acknowledgement. Other events are passed over."""
        await self.send_text("4299" + json.dumps([event, *args]))
        while not (answer := await self.next()).startswith(b"4399"):
            pass
        return json.loads(answer[4:])

    async def end(self, seconds: float = PATIENCE) -> int | None:
        """Wait until the server has ended the connection: the code of its close frame, `None` without one.

        Pings go unanswered meanwhile; other frames are passed over.
        """
        code = None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            async with asyncio.timeout(seconds):
                while True:
                    opcode, payload = await self.read_frame()
                    if opcode == CLOSE and code is None:
                        code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                        await self.send(frame(CLOSE, payload[:2]))
        self.cut = True
        return code

    def abort(self) -> None:
        """End it without a word."""
        self.writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Witness:
    """Somebody else's client: asks for an echo again and again, and keeps the time.

    Leaving the block fails the test if the others' offence kept its messages from flowing.

    Args:
        port: the server's.
        headers: of its handshake.
        pace: seconds between an answer and the next question.
    """

    def __init__(self, port: int, headers: Mapping[str, str] = {}, pace: float = 0.002) -> None:
        self._port = port
        self._headers = headers
        self._pace = pace
        self.times: list[float] = []
        """Seconds that each round trip took."""

    async def __aenter__(self) -> Self:
        self._client, self.id = await Raw.joined(self._port, headers=self._headers)
        self._lock = asyncio.Lock()
        self._task = asyncio.create_task(self._keep_asking())
        await eventually(lambda: bool(self.times) or self._task.done())
        return self

    async def ask(self, event: str, *args: Any) -> Any:
        """Ask something else in between. Returns the acknowledgement's only argument, or the list of them."""
        async with self._lock:
            answer = await self._client.ask(event, *args)
        return answer[0] if len(answer) == 1 else answer

    async def counters(self) -> Any:
        """What the server has counted so far."""
        return await self.ask("counters")

    async def counted(self, part: str, name: str, count: int = 1) -> None:
        """Return once a counter has come to `count`."""
        seen: Any = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while (seen := (await self.counters())[part].get(name, 0)) < count:
                    await asyncio.sleep(0.02)
        assert seen == count, f"{part}.{name} is {seen}, not {count}"

    async def _keep_asking(self) -> None:
        number = 0
        while True:
            began = time.monotonic()
            assert await self.ask("echo", number) == number
            self.times.append(time.monotonic() - began)
            number += 1
            await asyncio.sleep(self._pace)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        made = len(self.times)
        try:
            if kind is None:
                await eventually(lambda: len(self.times) >= max(made + 1, ROUND_TRIPS) or self._task.done())
        finally:
            self._task.cancel()
            outcome = (await asyncio.gather(self._task, return_exceptions=True))[0]
            await self._client.__aexit__()
        if kind is None:
            assert isinstance(outcome, asyncio.CancelledError), f"the witness was harmed: {outcome!r}"
            assert max(self.times) < SLOWEST, f"the witness waited {max(self.times):.2f} s"


@contextlib.contextmanager
def bounded(lane: str, **more: str) -> Iterator[ServerProcess]:
    """Serve `tests/apps/bounds.py` over a lane, with `BOUNDS` and `more`. Its log must show no mistake of ours."""
    with serving("bounds:io", lane, env={**BOUNDS, **more}) as server:
        yield server
    assert not tracebacks(server.final_log), server.final_log
