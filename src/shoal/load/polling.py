"""Carries one client over HTTP long-polling: one connection for the polls, another for what is sent, as browsers do it.

Knows HTTP/1.1 as far as these two requests go; packets are the client's.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import orjson

from .client import Client, ClientLost
from .plan import Plan

__all__ = ["open_polling"]

SEPARATOR = b"\x1e"
MAX_BODY = 16 * 2**20
PACKETS_PER_POST = 16
BYTES_PER_POST = 500_000  # half of what a server accepts by default
_STATUS = re.compile(r"[0-9]{3}")
_LENGTH = re.compile(r"[0-9]{1,18}")


async def open_polling(client: Client, plan: Plan, tls: ssl.SSLContext | None) -> None:
    """Open a session and return; ``client.ready`` is done when the server has accepted the client.

    Raises:
        OSError: Nobody listens there, or TLS failed.
        ClientLost: The server does not answer as an Engine.IO server does.
    """
    session = _Session(client, plan, tls)
    await session.open()


class _Http:
    """One keep-alive connection that carries one request at a time."""

    def __init__(self, plan: Plan, tls: ssl.SSLContext | None) -> None:
        self._address = plan.address
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, target: str, body: bytes | None = None) -> bytes:
        """Send a request and return the body of its answer. Raises ClientLost where that is not a 200."""
        reader, writer = await self._open()
        host, port = self._address
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{port}", "Accept: */*"]
        if body is not None:
            lines += ["Content-Type: text/plain;charset=UTF-8", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        head = await reader.readuntil(b"\r\n\r\n")
        status, fields = _parse_head(head)
        answer = await _read_body(reader, fields)
        if fields.get("connection", "").lower() == "close":
            self.close()
        if status != 200:
            raise ClientLost(
                f"the server answered {method} with status {status}: {answer[:200].decode(errors='replace')}"
            )
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # A server may close a connection that idles between two requests.
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(*self._address, ssl=self._tls, limit=MAX_BODY)
        return self._streams


class _Session:
    """The polls and the posts of one client."""

    def __init__(self, client: Client, plan: Plan, tls: ssl.SSLContext | None) -> None:
        self._client = client
        self._target = f"{plan.path}?{urlencode({'EIO': '4', 'transport': 'polling'})}"
        self._polls, self._posts = _Http(plan, tls), _Http(plan, tls)
        self._waiting: deque[bytes] = deque()
        self._has_something = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        first = await self._polls.request("GET", self._target)
        try:
            self._target += f"&sid={orjson.loads(first.split(SEPARATOR)[0][1:])['sid']}"
        except (ValueError, KeyError, TypeError):
            raise ClientLost(f"not an Engine.IO server: {first[:80].decode(errors='replace')}") from None
        self._client.send, self._client.close = self._send, self._close
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._guard(work)) for work in (self._poll, self._post)]
        self._client.take(first.split(SEPARATOR))

    def _send(self, packet: bytes) -> None:
        self._waiting.append(packet)
        self._has_something.set()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if self._client.connected:
                self._posts.close()  # it may be in the middle of a request
                await self._posts.request("POST", self._target, b"1")
        except (ClientLost, OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the server has its time-out
        finally:
            self._polls.close()
            self._posts.close()

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ClientLost as lost:
            self._client.fail(str(lost))
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            self._client.fail(f"the connection was lost: {error or 'the server closed it'}")

    async def _poll(self) -> None:
        while True:
            body = await self._polls.request("GET", self._target)
            self._client.take(body.split(SEPARATOR))

    async def _post(self) -> None:
        while True:
            await self._has_something.wait()
            await self._posts.request("POST", self._target, self._next_body())
            if not self._waiting:
                self._has_something.clear()

    def _next_body(self) -> bytes:
        packets: list[bytes] = []
        size = 0
        while self._waiting and len(packets) < PACKETS_PER_POST and (not packets or size < BYTES_PER_POST):
            packets.append(self._waiting.popleft())
            size += len(packets[-1])
        return SEPARATOR.join(packets)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not _STATUS.fullmatch(parts[1]):
        raise ClientLost(f"not an HTTP server: {first[:80]}")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return int(parts[1]), {name.strip().lower(): value.strip() for name, value in pairs}


async def _read_body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    length = fields.get("content-length", "0")
    if not _LENGTH.fullmatch(length) or int(length) > MAX_BODY:
        raise ClientLost(f"an answer has the impossible length {length[:40]}")
    return await reader.readexactly(int(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts, total = [], 0
    while True:
        line = (await reader.readuntil(b"\r\n")).split(b";")[0]
        try:
            size = int(line, 16)
        except ValueError:
            raise ClientLost("an answer has a broken chunk") from None
        total += size
        if size < 0 or total > MAX_BODY:
            raise ClientLost(f"an answer is longer than {MAX_BODY >> 20} MiB")
        parts.append((await reader.readexactly(size + 2))[:-2])
        if size == 0:
            return b"".join(parts)
