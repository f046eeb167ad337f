"""No byte goes to another file, whatever number a descriptor gets, and however clients come, stall and leave.

The fan-out writes to sockets by their number, past the transports that own them. The server under test opens and closes
files all the while, so that each number that becomes free is soon another's, and checks each write. A crowd that comes
by either transport, or stays with polling, and leaves in every way meanwhile reads numbered messages: none may be
missing, or come behind a close frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time

import pytest
from tests.integration.hostile import Raw
from tests.interop.wire import WEBSOCKET, Endpoint, case, client
from tests.requirements import needs_io_uring
from tests.servers import serving, tracebacks
from tests.websocket_faults import CLOSE, PING, TEXT, frame

pytestmark = pytest.mark.alone  # it keeps every core busy, and wants thousands of writes in its time

SECONDS, CROWD = 3.0, 24
SAID = re.compile(rb'42\["said",(\d+),')


class Requests:
    """A connection for polling requests, one behind the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Requests:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    def write(self, method: bytes, query: bytes, body: bytes = b"") -> None:
        length = b"Content-Length: %d\r\n" % len(body) if method == b"POST" else b""
        line = b"%b /socket.io/?EIO=4&transport=polling%b HTTP/1.1\r\n" % (method, query)
        self.writer.write(line + b"Host: x\r\n" + length + b"\r\n" + body)

    async def send(self, method: bytes, query: bytes, body: bytes = b"") -> bytes:
        """The body of the answer."""
        self.write(method, query, body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise ConnectionResetError(head)  # the session has ended: it fell too far behind
        return await self.reader.readexactly(int(length[1]))


class Visitor:
    """A client that listens for a while, and leaves."""

    def __init__(self, port: int, dice: random.Random) -> None:
        self.port = port
        self.dice = dice
        self.last = -1
        self.heard = 0
        self.upgraded = False

    async def visit(self) -> None:
        dice = self.dice
        buffer = dice.choice([None, 4_096])
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # cut off: it fell too far behind
            way = dice.random()
            if way < 0.3:
                await self._poll()
                return
            if way < 0.8:
                raw, _ = await Raw.joined(self.port, buffer=buffer)
            else:
                raw = await self._upgrade(buffer)
            async with raw:
                if not self.upgraded:
                    await raw.ask("join")
                await self._listen(raw)
                await dice.choice([self._vanish, self._close, self._close_late, self._kick, self._fall_silent])(raw)

    async def _upgrade(self, buffer: int | None) -> Raw:
        """Come by long-polling, and change over to a WebSocket while messages are on their way already."""
        async with client(Endpoint(self.port, "/socket.io/")) as poller:
            sid = await poller.open()
            await poller.push(sid, "40")
            await poller.packets(sid, 1)
            raw = await Raw.websocket(self.port, f"{WEBSOCKET}&sid={sid}", buffer=buffer)
            try:
                await raw.send_text("2probe")
                assert await raw.next() == b"3probe"
                await poller.push(sid, '4299["join"]')  # from here on messages are held for it
                await raw.send_text("5")
                while not (await raw.next()).startswith(b"4399"):
                    pass
            except BaseException:
                raw.abort()
                raise
        self.upgraded = True
        return raw

    async def _poll(self) -> None:
        """Come by long-polling and stay with it, on two connections. They end in order, with a reset, or half."""
        polls, posts = await Requests.open(self.port), await Requests.open(self.port)
        try:
            found = re.search(rb'"sid":"([^"]+)"', await polls.send(b"GET", b""))
            assert found is not None
            query = b"&t=0&sid=" + found[1]
            assert await posts.send(b"POST", query, b"40") == b"ok"
            await polls.send(b"GET", query)
            await posts.send(b"POST", query, b'4299["join"]')
            joined = False
            for number in range(self.dice.randrange(60)):
                for packet in (await polls.send(b"GET", query)).split(b"\x1e"):
                    if joined:
                        self._take(packet)
                    joined = joined or packet.startswith(b"4399")  # from here on none may be missing
                if number % 2:
                    assert await posts.send(b"POST", query, b'42["nothing"]') == b"ok"
            ways = [(b"POST", b"1"), (b"POST", b'42["kick"]'), (b"GET", b""), None]
            if (last := self.dice.choice(ways)) is not None:
                posts.write(last[0], query, last[1])
                if self.dice.random() < 0.5:
                    posts.writer.write_eof()
        finally:
            for requests in (polls, posts):
                self.dice.choice([requests.writer.close, requests.writer.transport.abort])()

    async def _listen(self, raw: Raw) -> None:
        for _ in range(self.dice.randrange(60)):
            await self._receive(raw)
            if self.dice.random() < 0.05:
                await asyncio.sleep(self.dice.choice([0.01, 0.1]))  # the server has to hold what comes
            if self.dice.random() < 0.1:
                await raw.send(frame(PING, b"?"))

    async def _receive(self, raw: Raw) -> None:
        opcode, payload = await raw.read_frame()
        if opcode == TEXT:
            self._take(payload)

    def _take(self, payload: bytes) -> None:
        if match := SAID.match(payload):
            number = int(match[1])
            assert self.last in (-1, number - 1), f"{number} behind {self.last}"
            self.last = number
            self.heard += 1

    async def _vanish(self, raw: Raw) -> None:
        """With a reset, since there are bytes that it has not read."""

    async def _close(self, raw: Raw) -> None:
        await raw.send(frame(CLOSE, b"\x03\xe8"))

    async def _close_late(self, raw: Raw) -> None:
        """In order: the server's close frame is the last thing it says."""
        await raw.send(frame(CLOSE, self.dice.choice([b"\x03\xe8", b"\x03\xe8why"])))
        while (await raw.read_frame())[0] != CLOSE:
            pass
        assert await raw.rest() == b""

    async def _kick(self, raw: Raw) -> None:
        await raw.send_text('42["kick"]')
        await raw.end()

    async def _fall_silent(self, raw: Raw) -> None:
        raw.writer.write_eof()
        await raw.rest()


@case
@pytest.mark.parametrize("ring", [False, pytest.param(True, marks=needs_io_uring)], ids=["one by one", "by a ring"])
async def test_no_byte_goes_astray(ring: bool) -> None:
    """Thousands of writes past the transports, hundreds of numbers in new hands: each write meets its own socket."""
    with serving("descriptors:io", env={"SHOAL_CLOSE_TIMEOUT": "1", "SHOAL_IO_URING": str(ring)}) as server:
        async with (await Raw.joined(server.port))[0] as operator:
            await operator.send_text('42["begin"]')
            deadline, visitors = time.monotonic() + SECONDS, []

            async def come_and_go(seed: int) -> None:
                dice = random.Random(seed)
                while time.monotonic() < deadline:
                    visitors.append(Visitor(server.port, dice))
                    await visitors[-1].visit()

            async with asyncio.TaskGroup() as group:
                for seed in range(CROWD):
                    group.create_task(come_and_go(seed))
            (seen,) = await operator.ask("seen")
    assert not tracebacks(server.final_log), server.final_log
    assert (seen["astray"], seen["spoilt"]) == (0, 0), seen
    assert seen["by_ring" if ring else "past"] > 1_000, seen
    assert ring or not seen["by_ring"], seen
    assert seen["reused"] > 100, seen
    assert seen["answers"] > 100, seen
    assert sum(visitor.heard for visitor in visitors) > 1_000
    assert len(visitors) > 2 * CROWD
    assert sum(visitor.upgraded and visitor.heard > 0 for visitor in visitors) > 2
    print(seen, len(visitors), sum(visitor.heard for visitor in visitors))
