"""The link by itself: which channels it subscribes, which of them the broker has confirmed, and what it cannot read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.internals import link as link_of
from tests.unit.cluster.nodes import cluster

from shoal import Server
from shoal.bus import MemoryBus, MemoryHub
from shoal.cluster.link import Link
from shoal.cluster.messages import Broadcast, Message, Reply, decode, encode
from shoal.testing import async_test

TAG = "abcdef"
LIKE_AN_ID = "ABCDEF" + "x" * 14
"""A room's name of an id's length: it shares the channel `ABCDEF` with others that begin so."""


class SlowBus(MemoryBus):
    """A hub that confirms subscriptions when it is told to."""

    def __init__(self, hub: MemoryHub | None = None) -> None:
        super().__init__(hub)
        self.confirms = asyncio.Event()

    async def settled(self, timeout: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.confirms.wait()
                return self.up
        return False


@contextlib.asynccontextmanager
async def slow_link() -> AsyncIterator[tuple[Link, SlowBus]]:
    """A link that is up, in the namespace `/`, over a broker that has confirmed nothing since."""
    bus = SlowBus()
    link = Link(bus, TAG, "node", "shoal", lambda broadcast: None, lambda up: None)
    await link.start()
    link.open_namespace("/")
    try:
        yield link, bus
    finally:
        await link.close()


class TestConfirmation:
    """Whether a message that is published from now on will reach a room."""

    @async_test
    async def test_a_room_is_confirmed_when_the_broker_has_answered(self) -> None:
        """Not before, and neither by a wait that ran out; anew when it was closed in between."""
        async with slow_link() as (link, bus):
            link.open_room("/", "x")
            assert not link.is_confirmed("/", "x")
            await link.confirm("/", ["x"], 0.0)
            assert not link.is_confirmed("/", "x")
            waiting = asyncio.create_task(link.confirm("/", ["x"], 10.0))
            await asyncio.sleep(0)
            assert not waiting.done()
            bus.confirms.set()
            await waiting
            assert link.is_confirmed("/", "x")
            link.close_room("/", "x")
            link.open_room("/", "x")
            assert not link.is_confirmed("/", "x")
            link.close_room("/", "x")
            assert link.is_confirmed("/", "x")  # nothing is kept of a room that is closed

    @async_test
    async def test_another_room_stays_unconfirmed(self) -> None:
        """Of the same name in another namespace, too."""
        async with slow_link() as (link, bus):
            bus.confirms.set()
            for namespace, room in (("/", "x"), ("/", "y"), ("/other", "x")):
                link.open_room(namespace, room)
            await link.confirm("/", ["x"], 1.0)
            assert [link.is_confirmed(*room) for room in (("/", "x"), ("/", "y"), ("/other", "x"))] == [
                True,
                False,
                False,
            ]

    @async_test
    async def test_without_broker_nobody_waits(self) -> None:
        """And when it is back, every subscription has been placed before the link is up."""
        async with slow_link() as (link, bus):
            link.open_room("/", "x")
            bus.cut()
            assert link.is_confirmed("/", "x")
            link.open_room("/", "y")
            bus.restore()
            assert link.is_confirmed("/", "x")
            assert link.is_confirmed("/", "y")

    @async_test
    async def test_a_second_room_of_a_confirmed_channel_is_confirmed(self) -> None:
        """Rooms that look like ids share channels; the channel is unsubscribed with the last of them."""
        async with slow_link() as (link, bus):
            bus.confirms.set()
            other = LIKE_AN_ID[:-1] + "y"
            link.open_room("/", LIKE_AN_ID)
            await link.confirm("/", [LIKE_AN_ID], 1.0)
            link.open_room("/", other)
            assert link.is_confirmed("/", other)
            link.close_room("/", LIKE_AN_ID)
            assert link.is_confirmed("/", other)
            assert "shoal#/#ABCDEF#" in bus._channels
            link.close_room("/", other)
            assert "shoal#/#ABCDEF#" not in bus._channels

    @async_test
    async def test_the_channel_of_this_nodes_ids_was_subscribed_with_the_namespace(self) -> None:
        """A room that has this node's tag for its name shares it: nothing to wait for, and nothing to unsubscribe."""
        async with slow_link() as (link, bus):
            link.open_room("/", TAG)
            assert link.is_confirmed("/", TAG)
            link.close_room("/", TAG)
            assert f"shoal#/#{TAG}#" in bus._channels


@async_test
async def test_a_join_waits_until_the_broker_has_the_room() -> None:
    """The second member's too, as long as the first one's does; then nobody's, and never longer than allowed."""
    io = Server(broker="memory://slow", subscribe_timeout=5.0)
    bus = link_of(io).bus = SlowBus(MemoryHub.named("slow"))
    async with cluster(io) as nodes:
        clients = [await nodes[0].connect() for _ in range(3)]
        first, second, third = (io.sockets[client.id] for client in clients)
        began = nodes[0].server.clock.now
        joining = [asyncio.ensure_future(socket.join("x")) for socket in (first, second)]
        await nodes.settle()
        assert [join.done() for join in joining] == [False, False]
        bus.confirms.set()
        await asyncio.gather(*joining)
        bus.confirms.clear()
        await third.join("x")
        assert nodes[0].server.clock.now == began
        await third.join("y")
        assert nodes[0].server.clock.now - began == pytest.approx(5.0)


@async_test
async def test_only_its_own_messages_come_back_unread() -> None:
    """A node whose tag differs in the last character is another one."""
    received: list[str] = []
    bus = MemoryBus()
    link = Link(bus, TAG, "node", "shoal", lambda broadcast: received.append(broadcast.text.decode()), lambda up: None)
    await link.start()
    link.open_namespace("/")
    for tag in (TAG, TAG[:-1] + "x", "", TAG):
        envelope = Broadcast("/", (), (), f"42{tag!r}".encode(), [])
        bus.publish("shoal#/#", encode(Message(tag, [envelope])))
    for _ in range(3):
        await asyncio.sleep(0)
    assert received == [f"42{TAG[:-1] + 'x'!r}", "42''"]
    await link.close()


@async_test
async def test_an_answer_that_cannot_be_read_is_counted() -> None:
    """Its message can be read: what is wrong with the answer shows when that is unpacked. Its node has not answered."""
    async with cluster("a", "b") as nodes:
        nodes[1].link.requests.answers.clear()
        call = asyncio.create_task(nodes[0].io.call("vote", timeout=1.0))
        await nodes.settle()
        [question] = nodes[0].link.requests._pending
        no_utf8 = msgspec.Raw(b"\xa1\xff")
        message = encode(Message(nodes[1].link.tag, [Reply(question, no_utf8)]))
        assert decode(message).envelopes
        nodes[1].bus.publish(f"shoal#@{nodes[0].link.tag}", message)
        await nodes.settle()
        assert nodes[0].link.unreadable == 1
        assert (await call).missing == ["b"]
