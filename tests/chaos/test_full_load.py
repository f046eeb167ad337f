"""What holds when the server has more to do than it can: order, bounds, back-pressure, fairness.

Sixteen speakers keep it busy without a pause: each sends its next eighty events as soon as the last of the earlier ones
is answered. Everything is true at the same time, of one flood, so there is one test with a paragraph for each promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.integration.hostile import Raw, Witness
from tests.interop.wire import case
from tests.servers import ServerProcess, lanes, serving, tracebacks

pytestmark = pytest.mark.alone  # it keeps every core busy, and says how long others may wait meanwhile

SPEAKERS, LISTENERS, BURST, SECONDS = 16, 6, 80, 2.0
SAID = re.compile(rb'\["said",(\d+),(\d+),')
LAST = b'["said",99,'
PING = b"\x81\x012"
SIZES = {"behind": 1000}  # bytes, else 100, of each message: enough to fill what the kernel holds for a client
OPTIONS = {
    "SHOAL_MAX_OUTBOX": "4000000",
    "SHOAL_PING_INTERVAL": "0.5",
    "SHOAL_PING_TIMEOUT": "3",
    "SHOAL_CLOSE_TIMEOUT": "1",
}
BEHIND = 2_000_000  # bytes that the slowest listener may be behind, which the test's own process may well be
PROMPT = 0.3  # seconds that half of all others' messages may take; a starved one would take as long as the flood


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn", "behind"))
def load(request: pytest.FixtureRequest) -> Iterator[tuple[ServerProcess, int]]:
    """A server, and the size of the messages that it is flooded with."""
    with serving("busy:io", request.param, env=OPTIONS) as server:
        yield server, SIZES.get(request.param, 100)
    assert not tracebacks(server.final_log), server.final_log


def frame(text: str) -> bytes:
    """A client's text frame. A mask of zeros is as good as any, and costs nothing."""
    payload = text.encode()
    size = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + payload


class Crowd(contextlib.AsyncExitStack):
    """Clients that leave together."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    async def join(self, room: str, *, buffer: int | None = None) -> tuple[Raw, str]:
        """A client in a room, and its socket's id."""
        raw, sid = await Raw.joined(self.port, buffer=buffer)
        await self.enter_async_context(raw)
        await raw.ask("join", room)
        return raw, sid


class Listener:
    """A member of the busy room: keeps what it hears as it comes, and answers pings."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.chunks: list[bytes] = []
        self.size = 0
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        tail = b""
        while LAST not in tail and (chunk := await self.raw.reader.read(2**18)):
            self.chunks.append(chunk)
            self.size += len(chunk)
            tail = tail[-len(LAST) :] + chunk
            if PING in tail:
                self.raw.writer.write(frame("3"))

    def heard(self) -> list[tuple[int, int]]:
        """Who said which number, in the order of arrival. Takes so long that nothing else should be timed meanwhile."""
        return [(int(speaker), int(number)) for speaker, number in SAID.findall(b"".join(self.chunks))]


class Flood:
    """Those who talk without a pause, unless a listener of the test's own cannot follow."""

    def __init__(self, listeners: list[Listener], size: int) -> None:
        self._listeners = listeners
        self._padding = "x" * size
        self._said = 0
        """Bytes that each listener will have heard."""
        self.enough = asyncio.Event()

    async def speak(self, raw: Raw, speaker: int) -> int:
        """Flood the busy room; returns how much was said."""
        said = 0
        while not self.enough.is_set():
            events = [f'["say","busy",{speaker},{said + i},"{self._padding}"]' for i in range(BURST)]
            burst = [frame(f"42{event}") for event in events]
            await raw.send(b"".join(burst) + frame('4299["echo"]'))
            said += BURST
            # An answer has no mask, and `"busy",` makes one letter.
            self._said += sum(map(len, burst)) - BURST * (len(bytes(4)) + len('"busy",') - 1)
            while not (await raw.next()).startswith(b"4399"):
                pass
            while self._behind() > BEHIND and not self.enough.is_set():
                await asyncio.sleep(0.001)
        return said

    def _behind(self) -> int:
        return self._said - min(listener.size for listener in self._listeners)


async def chat_aside(raw: Raw, enough: asyncio.Event) -> list[float]:
    """Talk in a room where little is said; the seconds that each message took. It fails if one is lost or late."""
    delays: list[float] = []
    while not enough.is_set():
        began = time.monotonic()
        await raw.send_text(f'42["say","quiet",99,{len(delays)}]')
        assert await raw.next() == f'42["said",99,{len(delays)},""]'.encode()
        delays.append(time.monotonic() - began)
        await asyncio.sleep(0.02)
    return delays


async def until_held(witness: Witness, sid: str, reached: Callable[[int], bool]) -> None:
    """Return once what the server holds for a client, or -1 when that is cut off, has come so far."""
    async with asyncio.timeout(15.0):
        while not reached(await witness.ask("buffered", sid)):
            await asyncio.sleep(0.005)


def seconds_wanted(process: psutil.Process) -> float:
    """How long a process has had work: on a core, and waiting for one that others kept, where the system tells that."""
    told = Path(f"/proc/{process.pid}/schedstat")
    if told.exists():
        return sum(map(int, told.read_text().split()[:2])) / 1e9
    return sum(process.cpu_times()[:2])


@case
async def test_promises_hold_at_full_load(load: tuple[ServerProcess, int]) -> None:
    server, size = load
    process = psutil.Process(server.pid)
    memory = process.memory_info().rss
    async with Crowd(server.port) as crowd, Witness(server.port, pace=0.02) as witness:
        listeners = [Listener((await crowd.join("busy"))[0]) for _ in range(LISTENERS)]
        speakers = [(await crowd.join("stage"))[0] for _ in range(SPEAKERS)]
        aside, _ = await crowd.join("quiet")
        _, mute_id = await crowd.join("busy", buffer=8192)
        napper, napper_id = await crowd.join("busy", buffer=262144)
        began, worked = time.monotonic(), seconds_wanted(process)
        flood = Flood(listeners, size)
        floods = [asyncio.create_task(flood.speak(raw, number)) for number, raw in enumerate(speakers)]
        delays = asyncio.create_task(chat_aside(aside, flood.enough))

        # One who does not read for a while is waited for; one who never reads is cut off at its bound.
        await until_held(witness, napper_id, lambda size: size > 100_000)
        listeners.append(Listener(napper))
        await until_held(witness, mute_id, lambda size: size < 0)
        await asyncio.sleep(began + SECONDS - time.monotonic())
        busy = (seconds_wanted(process) - worked) / (time.monotonic() - began)
        flood.enough.set()
        said = await asyncio.gather(*floods)
        assert process.memory_info().rss - memory < 30_000_000

        # The server had no pause, but others did not wait for the busy room, and nobody else lost the connection.
        assert busy > 0.4, busy
        assert statistics.median(await delays) < PROMPT
        assert statistics.median(witness.times) < PROMPT
        counters = await witness.ask("counters")
        assert (counters["outbox"]["overflows"], counters["engine"]["ping_timeouts"]) == (1, 0)

        await aside.send_text('42["say","busy",99,0]')
        async with asyncio.timeout(20.0):
            await asyncio.gather(*[listener.task for listener in listeners])

    # Everybody heard everything, once, each speaker's words in order, and all of them in the same order: the one who
    # had slept too.
    first = listeners[0].heard()
    assert len(first) == sum(said) + 1
    assert all(listener.heard() == first for listener in listeners)
    for speaker, count in enumerate(said):
        assert [number for who, number in first if who == speaker] == list(range(count))
