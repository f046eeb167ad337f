"""What the memory bus has beyond the contract: hubs by name, cutting one node off, and a bound on what waits for it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from shoal.bus import BusLimits, MemoryBus, MemoryHub, open_bus


class Node:
    """A memory bus and what it hears."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.heard: list[bytes] = []
        self.states: list[bool] = []

    async def start(self, *channels: str) -> None:
        for channel in channels:
            self.bus.subscribe(channel)
        await self.bus.start(lambda channel, payload: self.heard.append(payload), self.states.append)


async def turns(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds; the memory bus needs a few turns and no time."""
    for _ in range(10):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("not within ten turns of the loop")


def test_a_hub_has_a_name() -> None:
    """Buses of one name hear one another, those of another name do not, and each plain memory:// is alone."""

    async def main() -> None:
        urls = ("memory://one", "memory://one", "memory://other", "memory://", "memory://")
        nodes = [Node(bus) for bus in map(open_bus, urls) if isinstance(bus, MemoryBus)]
        for node in nodes:
            await node.start("room")
        for number, node in enumerate(nodes):
            node.bus.publish("room", b"%d" % number)
        await turns(lambda: len(nodes[0].heard) == 2)
        await asyncio.sleep(0)
        assert [node.heard for node in nodes] == [[b"0", b"1"], [b"0", b"1"], [b"2"], [b"3"], [b"4"]]
        for node in nodes:
            await node.bus.close()

    asyncio.run(main())


def test_a_name_is_forgotten_with_its_buses() -> None:
    """A hub lives as long as a bus holds it: the next user of the name begins with nothing."""
    hub = MemoryHub.named("brief")
    assert MemoryHub.named("brief") is hub
    identity = id(hub)
    del hub
    gc.collect()
    assert "brief" not in MemoryHub._named, identity


def test_a_partition_cuts_one_node_off() -> None:
    """The others go on; the lost node hears nothing of what was said meanwhile, and what it said comes late."""

    async def main() -> None:
        hub = MemoryHub()
        here, there = Node(MemoryBus(hub)), Node(MemoryBus(hub))
        for node in (here, there):
            await node.start("room")
        there.bus.cut()
        there.bus.cut()
        assert there.states == [True, False]
        here.bus.publish("room", b"from here")
        there.bus.publish("room", b"from there")
        await turns(lambda: here.heard == [b"from here"])
        there.bus.restore()
        there.bus.restore()
        await turns(lambda: len(here.heard) == 2)
        assert here.heard == [b"from here", b"from there"]
        await turns(lambda: there.heard == [b"from there"])
        assert there.states == [True, False, True]
        assert here.states == [True]
        assert there.bus.stats.reconnects == 1

    asyncio.run(main())


def test_a_cut_loses_what_is_on_its_way() -> None:
    """A message that was published and not yet delivered when the link is cut does not arrive."""

    async def main() -> None:
        node = Node(MemoryBus())
        await node.start("room")
        node.bus.publish("room", b"lost")
        node.bus.cut()
        node.bus.restore()
        node.bus.publish("room", b"kept")
        await turns(lambda: node.heard)
        assert node.heard == [b"kept"]

    asyncio.run(main())


def test_a_callback_may_cut_the_link_again() -> None:
    """A link that is cut from within the callback that told it was up keeps what waits for the next time."""

    async def main() -> None:
        node = Node(MemoryBus())
        states: list[bool] = []

        def on_state(up: bool) -> None:
            states.append(up)
            if states == [True, False, True]:
                node.bus.cut()

        node.bus.subscribe("room")
        await node.bus.start(lambda channel, payload: node.heard.append(payload), on_state)
        node.bus.cut()
        node.bus.publish("room", b"patient")
        node.bus.restore()
        assert states == [True, False, True, False]
        assert not node.bus.up
        node.bus.restore()
        await turns(lambda: node.heard)
        assert node.heard == [b"patient"]
        assert states == [True, False, True, False, True]

    asyncio.run(main())


def test_what_waits_for_a_node_is_bounded() -> None:
    """A turn that publishes more than the bound costs the receiver its oldest messages, counted as dropped."""

    async def main() -> None:
        node = Node(MemoryBus(limits=BusLimits(buffer_bytes=1_000)))
        await node.start("room")
        for number in range(100):
            node.bus.publish("room", b"%096d" % number)
        await turns(lambda: node.heard)
        assert list(map(int, node.heard)) == list(range(90, 100))
        assert node.bus.stats.dropped == 90

    asyncio.run(main())
