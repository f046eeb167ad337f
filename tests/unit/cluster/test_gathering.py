"""After a lost link messages wait for the nodes known before, and those that come twice are handled once."""

from __future__ import annotations

import asyncio
import logging

import pytest
from msgspec import structs
from tests.unit.cluster.nodes import Cluster, cluster

from shoal.bus import MemoryBus
from shoal.cluster.gathering import GATHERING_TIME, Gathering
from shoal.cluster.link import Link
from shoal.cluster.messages import Broadcast, Leave, Message, decode, encode
from shoal.testing import TestClient, async_test

TAG = "abcdef"


async def outage(nodes: Cluster, *texts: str) -> list[TestClient]:
    """A client on each node; the broker is away, and the first node has said something."""
    clients = [await node.connect("room") for node in nodes]
    for node in nodes:
        node.bus.cut()
    for text in texts:
        nodes[0].io.to("room").emit("said", text)
        await nodes.settle()
    return clients


def said(*texts: str) -> list[tuple[str, str]]:
    return [("said", text) for text in texts]


@async_test
async def test_what_waits_is_published_when_all_are_back() -> None:
    """Not before the last of those who were there hears it, and in front of what is said meanwhile."""
    async with cluster("a", "b", "c") as nodes:
        a, b, c = await outage(nodes, "1", "2")
        began = nodes[0].server.clock.now
        nodes[0].bus.restore()
        nodes[1].bus.restore()
        await nodes.settle()
        nodes[0].io.to("room").emit("said", "3")
        await nodes.settle()
        assert b.received == []
        nodes[2].bus.restore()
        await nodes.settle()
        assert list(a.received) == list(b.received) == list(c.received) == said("1", "2", "3")
        nodes[0].io.to("room").emit("said", "4")
        await nodes.settle()
        assert c.received[-1] == ("said", "4")
        assert nodes[0].server.clock.now == began
        assert nodes[0].bus.stats.unheard == 0


@async_test
async def test_a_single_link_that_was_cut_waits_for_no_time() -> None:
    """The others are there and answer at once; what was held goes to them."""
    async with cluster("a", "b", "c") as nodes:
        _, b, c = [await node.connect("room") for node in nodes]
        began = nodes[0].server.clock.now
        nodes[0].bus.cut()
        nodes[0].io.to("room").emit("said", "1")
        await nodes.settle()
        nodes[0].bus.restore()
        await nodes.settle()
        assert list(b.received) == list(c.received) == said("1")
        assert nodes[0].server.clock.now == began


@async_test
async def test_one_that_does_not_come_back_is_not_waited_for_longer(caplog: pytest.LogCaptureFixture) -> None:
    """After the time for it what waited is published and counted, and a line in the log names who is missing."""
    async with cluster("a", "b", "c") as nodes:
        _, b, _ = await outage(nodes, "1", "2")
        nodes[0].bus.restore()
        nodes[1].bus.restore()
        await nodes[0].server.clock.advance(GATHERING_TIME - 0.1)
        assert b.received == []
        with caplog.at_level(logging.WARNING, "shoal.cluster"):
            await nodes[0].server.clock.advance(0.2)
        assert list(b.received) == said("1", "2")
        waiting = nodes[0].bus.stats.unheard
        assert waiting >= 2
        assert f"c not back within 2 s: {waiting} messages that waited are published without" in caplog.text
        nodes[0].io.to("room").emit("said", "3")
        await nodes.settle()
        assert list(b.received) == said("1", "2", "3")


@async_test
async def test_one_that_has_left_is_not_waited_for() -> None:
    """A node that leaves while others wait for it says so."""
    async with cluster("a", "b", "c") as nodes:
        _, b, _ = await outage(nodes, "1")
        nodes[0].bus.restore()
        nodes[1].bus.restore()
        await nodes.settle()
        assert b.received == []
        nodes.spy.publish("shoal#", encode(Message(nodes[2].link.tag, [Leave()])))
        await nodes.settle()
        assert list(b.received) == said("1")


@async_test
async def test_a_link_that_is_lost_again_waits_anew() -> None:
    """What waited goes on waiting, and its time begins with the link."""
    async with cluster("a", "b", "c") as nodes:
        _, b, c = await outage(nodes, "1")
        nodes[0].bus.restore()
        nodes[1].bus.restore()
        await nodes[0].server.clock.advance(GATHERING_TIME - 0.5)
        nodes[0].bus.cut()
        await nodes[0].server.clock.advance(1.0)
        nodes[0].bus.restore()
        await nodes[0].server.clock.advance(GATHERING_TIME - 0.5)
        assert b.received == []
        nodes[2].bus.restore()
        await nodes.settle()
        assert list(b.received) == list(c.received) == said("1")


@async_test
async def test_questions_of_others_are_answered_while_all_is_held() -> None:
    """Two that wait for a third hear one another: who is there shows ahead of what waits."""
    async with cluster("a", "b", "c") as nodes:
        await outage(nodes, "1")
        nodes.spy.subscribe("shoal#")
        one, other = nodes[0].link.tag, nodes[1].link.tag
        nodes.spy.subscribe(f"shoal#@{other}")
        nodes[0].bus.restore()
        nodes[1].bus.restore()
        await nodes.settle()
        assert [(channel, message.sender, list(message.envelopes)) for channel, message in nodes.messages()] == [
            ("shoal#", one, [structs.replace(nodes[0].link.peers.hello, asks=True)]),
            ("shoal#", other, [structs.replace(nodes[1].link.peers.hello, asks=True)]),
            (f"shoal#@{other}", one, [structs.replace(nodes[0].link.peers.hello, answers=True)]),
        ]


@async_test
async def test_it_is_over_once() -> None:
    """With the last one heard, or with the time; a cancelled one never."""
    over: list[list[str]] = []
    gathering = Gathering(over.append)
    gathering.begin({"1": "a", "2": "b"})
    for tag in ("1", "3", "1", "2", "2"):
        gathering.heard(tag)
    await asyncio.sleep(2 * GATHERING_TIME)
    assert over == [[]]
    gathering.begin({"1": "a", "2": "b"})
    gathering.heard("2")
    await asyncio.sleep(2 * GATHERING_TIME)
    assert over == [[], ["a"]]
    gathering.begin({"1": "a"})
    gathering.cancel()
    gathering.heard("1")
    await asyncio.sleep(2 * GATHERING_TIME)
    assert over == [[], ["a"]]


@async_test
async def test_what_comes_twice_is_handled_once() -> None:
    """A sender's numbers grow; what has none, as a program that is no node sends it, always counts as new."""
    received: list[str] = []
    bus = MemoryBus()
    link = Link(bus, TAG, "node", "shoal", lambda broadcast: received.append(broadcast.text.decode()), lambda up: None)
    await link.start()
    link.open_namespace("/")
    for sender, number in (("one", 4), ("one", 5), ("two", 4), ("one", 4), ("one", 5), ("one", 9), ("", 0), ("", 0)):
        bus.publish("shoal#/#", encode(Message(sender, [Broadcast("/", (), (), b"%d" % number, [])], number)))
    for _ in range(3):
        await asyncio.sleep(0)
    assert received == ["4", "5", "4", "9", "0", "0"]
    assert link.repeated == 2
    await link.close()


@async_test
async def test_what_a_node_publishes_is_numbered() -> None:
    """From 1 on, across channels, in the order of the calls."""
    async with cluster("a") as nodes:
        nodes.spy.subscribe("shoal#/#")
        nodes.spy.subscribe("shoal#/#x#")
        for rooms in ([], ["x"], []):
            nodes[0].io.to(rooms).emit("said")
        await nodes.settle()
        numbers = [message.group for _, message in nodes.messages()]
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        assert numbers[0] > 0
        assert decode(nodes.heard[0][1]).sender == nodes[0].link.tag
