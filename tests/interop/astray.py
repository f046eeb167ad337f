"""A load balancer that sends every request of a session to a server that has it not, and never twice to the same one.

New sessions go to the first server, all else to the others by turns. It changes no byte. It knows requests, answers
with a length, and upgrades, and nothing of Socket.IO but the name `sid`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator, Sequence

CHUNK = 65_536
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
UPGRADE = re.compile(rb"\r\nupgrade: *websocket\r\n", re.IGNORECASE)


class Astray:
    """The balancer; :meth:`running` gives it a port.

    Args:
        home: The port of the server that gets all new sessions.
        others: Those of the other servers.
    """

    def __init__(self, home: int, others: Sequence[int]) -> None:
        self._home = home
        self._others = others
        self._turn = 0
        self.port = 0
        self.astray = 0
        """Requests that went to a server which has not their session."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve, in a thread."""
        loop, up = asyncio.new_event_loop(), threading.Event()
        stop = asyncio.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            up.set()
            await stop.wait()
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        def run() -> None:
            with contextlib.closing(loop):
                loop.run_until_complete(serve())

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert up.wait(10)
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rest = b""
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head, body, rest = await read_message(reader, rest)
                    rest = await self._pass_on(head, body, rest, reader, writer)
        finally:
            writer.transport.abort()

    async def _pass_on(
        self, head: bytes, body: bytes, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """One request on a connection of its own. Returns what the client has sent since."""
        theirs, out = await asyncio.open_connection("127.0.0.1", self._choose(head))
        ahead = asyncio.ensure_future(reader.read(CHUNK))
        answer = asyncio.ensure_future(read_message(theirs, b""))
        try:
            out.write(head + body)
            while not answer.done():
                await asyncio.wait({answer, ahead}, return_when=asyncio.FIRST_COMPLETED)
                if ahead.done():
                    if not ahead.result():
                        raise ConnectionResetError  # the client has gone, so this is to be seen by the server
                    rest += ahead.result()
                    ahead = asyncio.ensure_future(reader.read(CHUNK))
            status, content, more = answer.result()
            writer.write(status + content + more)
            if UPGRADE.search(head) and b" 101 " in status.partition(b"\r\n")[0]:
                await pipe_both(ahead, reader, writer, theirs, out)
            await writer.drain()
            ahead.cancel()
            await asyncio.wait({ahead})
            if not ahead.cancelled():
                rest += ahead.result()
            return rest
        finally:
            for task in (ahead, answer):
                task.cancel()
            await asyncio.wait({ahead, answer})
            out.transport.abort()

    def _choose(self, head: bytes) -> int:
        if b"sid=" not in head.partition(b"\r\n")[0]:
            return self._home
        self.astray += 1
        self._turn += 1
        return self._others[self._turn % len(self._others)]


async def read_message(reader: asyncio.StreamReader, begun: bytes) -> tuple[bytes, bytes, bytes]:
    """Head, body, and what came after them, of a request or an answer."""
    data = begun
    while (end := data.find(b"\r\n\r\n") + 4) < 4:
        data += await read_some(reader)
    found = LENGTH.search(data[:end])
    size = end + (int(found[1]) if found else 0)
    while len(data) < size:
        data += await read_some(reader)
    return data[:end], data[end:size], data[size:]


async def read_some(reader: asyncio.StreamReader) -> bytes:
    if not (data := await reader.read(CHUNK)):
        raise ConnectionResetError
    return data


async def pipe_both(
    ahead: asyncio.Future[bytes],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    theirs: asyncio.StreamReader,
    out: asyncio.StreamWriter,
) -> None:
    """Carry bytes both ways until either side ends. Raises ConnectionResetError then."""

    async def up() -> None:
        data = await ahead
        while data:
            out.write(data)
            await out.drain()
            data = await reader.read(CHUNK)

    async def down() -> None:
        while data := await theirs.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()  # what is left for the client still goes out

    ways = {asyncio.ensure_future(up()), asyncio.ensure_future(down())}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    raise ConnectionResetError
