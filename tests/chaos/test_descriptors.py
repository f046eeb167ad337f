"""No byte goes to another file, whatever number a descriptor gets, and however clients come, stall and leave.

The fan-out writes to sockets by their number, past the transports that own them. The server under test opens and closes
files all the while, so that each number that becomes free is soon another's, and checks each write. A crowd that leaves
in every way meanwhile reads numbered messages: none may be missing, or come behind a close frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time

from tests.integration.hostile import CLOSE, PING, TEXT, Raw, frame
from tests.interop.wire import case
from tests.servers import serving, tracebacks

SECONDS, CROWD = 4.0, 24
SAID = re.compile(rb'42\["said",(\d+),')


class Visitor:
    """A client that listens for a while, and leaves."""

    def __init__(self, port: int, dice: random.Random) -> None:
        self.port = port
        self.dice = dice
        self.last = -1
        self.heard = 0

    async def visit(self) -> None:
        dice = self.dice
        raw, _ = await Raw.joined(self.port, buffer=dice.choice([None, 4_096]))
        async with raw:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # cut off: it fell too far behind
                await raw.ask("join")
                for _ in range(dice.randrange(60)):
                    await self._hear(raw)
                    if dice.random() < 0.05:
                        await asyncio.sleep(dice.choice([0.01, 0.1]))  # the server has to hold what comes
                    if dice.random() < 0.1:
                        await raw.send(frame(PING, b"?"))
                await dice.choice([self._vanish, self._close, self._close_late, self._kick, self._fall_silent])(raw)

    async def _hear(self, raw: Raw) -> None:
        opcode, payload = await raw.read_frame()
        if opcode == TEXT and (match := SAID.match(payload)):
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
        await raw.say('42["kick"]')
        await raw.end()

    async def _fall_silent(self, raw: Raw) -> None:
        raw.writer.write_eof()
        await raw.rest()


@case
async def test_no_byte_goes_astray() -> None:
    """Thousands of writes past the transports, hundreds of numbers in new hands: each write meets its own socket."""
    with serving("descriptors:io", env={"SHOAL_CLOSE_TIMEOUT": "1"}) as server:
        async with (await Raw.joined(server.port))[0] as operator:
            await operator.say('42["begin"]')
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
    assert seen["past"] > 1_000, seen
    assert seen["reused"] > 100, seen
    assert sum(visitor.heard for visitor in visitors) > 1_000
    assert len(visitors) > 2 * CROWD
    print(seen, len(visitors), sum(visitor.heard for visitor in visitors))
