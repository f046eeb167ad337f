"""Every bus that the contract holds for, each with a broker that a test can take away, and an ear that records.

A rig opens nodes on one broker and runs the test's coroutine on the event loop that it stands for. It refuses to know
what the tests expect.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Protocol

import uvloop
from tests.brokers import Broker

from shoal.bus import Bus, BusLimits, LogOptions, MemoryBus, MemoryHub, open_bus
from shoal.bus.base import BUFFER_BYTES

PATIENCE = 8.0  # seconds for anything that is expected to happen
TEST_TIME = 20.0  # seconds for a whole test: it fails, and does not hang

KINDS = ("memory", "redis-asyncio", "redis-uvloop", "streams-asyncio", "streams-uvloop")
"""Every bus, on each loop that it may run on: the fixtures `rig` and `fragile_rig` come in these."""

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def quick(
    *,
    buffer_bytes: int = BUFFER_BYTES,
    connect_timeout: float = 2.0,
    probe_interval: float = 0.5,
    probe_timeout: float = 4.0,
    backoff_first: float = 0.02,
    backoff_max: float = 0.1,
) -> BusLimits:
    """Limits for tests: short pauses, and probes that a busy test machine does not miss."""
    return BusLimits(
        buffer_bytes=buffer_bytes,
        connect_timeout=connect_timeout,
        probe_interval=probe_interval,
        probe_timeout=probe_timeout,
        backoff_first=backoff_first,
        backoff_max=backoff_max,
    )


class Ear:
    """One node's end of a bus, and what came out of it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[tuple[str, bytes]] = []
        self.states: list[bool] = []
        self._changed = asyncio.Event()

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.heard]

    def on_message(self, channel: str, payload: bytes) -> None:
        self.heard.append((channel, payload))
        self._changed.set()

    def on_state(self, up: bool) -> None:
        assert self.bus.up is up, "the attribute changes before the callback is called"
        self.states.append(up)
        self._changed.set()

    async def start(self) -> None:
        await self.bus.start(self.on_message, self.on_state)

    async def listen(self, *channels: str) -> None:
        for channel in channels:
            self.bus.subscribe(channel)
        assert await self.bus.settled(PATIENCE)

    async def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Return when `condition` holds; it is looked at after everything that this ear hears."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"not within {seconds:g} s: states {self.states}, {len(self.heard)} messages, the last "
                f"{[(channel, payload[:20]) for channel, payload in self.heard[-3:]]}, {self.bus.stats}"
            ) from None


def fresh(payloads: Iterable[bytes]) -> list[int]:
    """The numbers in what was heard, without what was repeated after the loss of a link: it has no greater ones."""
    found: list[int] = []
    for number in map(int, payloads):
        if not found or number > found[-1]:
            found.append(number)
    return found


class Rig(Protocol):
    """One kind of bus and its broker."""

    def open(self, limits: BusLimits | None = None) -> Bus:
        """A bus on the rig's broker, not started."""

    def cut(self) -> None:
        """Take the broker away from every bus."""

    def restore(self) -> None:
        """Bring it back."""

    @property
    def loop_factory(self) -> LoopFactory: ...


class MemoryRig:
    """Buses of one hub."""

    loop_factory: LoopFactory = staticmethod(asyncio.new_event_loop)

    def __init__(self) -> None:
        self._hub = MemoryHub()
        self._buses: list[MemoryBus] = []
        self._away = False

    def open(self, limits: BusLimits | None = None) -> Bus:
        bus = MemoryBus(self._hub, limits=limits or quick())
        self._buses.append(bus)
        if self._away:
            bus.cut()
        return bus

    def cut(self) -> None:
        self._away = True
        for bus in self._buses:
            bus.cut()

    def restore(self) -> None:
        self._away = False
        for bus in self._buses:
            bus.restore()


class RedisRig:
    """Buses of one broker process, which is killed and started again."""

    def __init__(self, broker: Broker, loop: str, streams: bool = False) -> None:
        self.broker = broker
        self.streams = streams
        self.loop_factory = LOOPS[loop]

    def open(self, limits: BusLimits | None = None) -> Bus:
        if not self.streams:
            return open_bus(self.broker.url, limits=limits or quick())
        options = LogOptions("shoal", secrets.token_hex(3), 1_000, 300.0)
        url = self.broker.url.replace("redis://", "redis+streams://")
        return open_bus(url, limits=limits or quick(), options=options)

    def cut(self) -> None:
        self.broker.kill()

    def restore(self) -> None:
        self.broker.start()


@contextlib.asynccontextmanager
async def node(rig: Rig, limits: BusLimits | None = None) -> AsyncIterator[Ear]:
    """A started node that is up; closed at the end."""
    async with new_node(rig, limits) as ear:
        await ear.start()
        await ear.until(lambda: ear.bus.up)
        yield ear


@contextlib.asynccontextmanager
async def new_node(rig: Rig, limits: BusLimits | None = None) -> AsyncIterator[Ear]:
    """A node that is not started; closed at the end."""
    ear = Ear(rig.open(limits))
    try:
        yield ear
    finally:
        await ear.bus.close()


def run(rig: Rig, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine on the rig's event loop; what it leaves behind is for tests/conftest.py to find."""

    async def bounded() -> None:
        async with asyncio.timeout(TEST_TIME):
            await main()

    with asyncio.Runner(loop_factory=rig.loop_factory) as runner:
        runner.run(bounded())
