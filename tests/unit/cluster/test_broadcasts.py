"""Broadcasts in a cluster: they cross to the nodes that have members, in order, and to no other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.cluster.nodes import cluster
from tests.unit.fuzz import examples

from shoal import Server
from shoal.cluster.messages import Broadcast as Envelope
from shoal.cluster.messages import Message, encode
from shoal.engine.ids import new_socket_id
from shoal.errors import RoomRefused
from shoal.testing import async_test, run


@async_test
async def test_a_broadcast_reaches_the_clients_of_every_node() -> None:
    """From the server, from a socket, from a namespace; text and binary; the sender's own node once."""
    async with cluster("a", "b", "c") as nodes:
        clients = [await node.connect() for node in nodes]
        nodes[0].io.emit("one", {"b": b"\x00"})
        nodes[1].io.sockets[clients[1].id].broadcast.emit("two")
        await nodes.settle()
        nodes[2].io.local.emit("three")
        await nodes.settle()
        one, two, three = ("one", {"b": b"\x00"}), ("two",), ("three",)
        assert [client.received for client in clients] == [[one, two], [one], [one, two, three]]


@pytest.mark.parametrize("parser", ["json", "msgpack"])
def test_listeners_of_all_that_goes_out_hear_what_another_node_said(parser: str) -> None:
    """With text and binary, in the room alone."""

    @async_test
    async def check() -> None:
        log: list[Any] = []
        async with cluster("a", "b", parser=parser) as nodes:
            there, outside = await nodes[1].connect("room"), await nodes[1].connect()
            for client, name in ((there, "there"), (outside, "outside")):
                socket = nodes[1].io.sockets[client.id]
                socket.on_any_outgoing(lambda *event, name=name: log.append((name, *event)))
            nodes[0].io.to("room").emit("said", 1, {"b": [b"\x00"]})
            nodes[0].io.emit("all")
            await nodes.settle()
            assert there.received == [("said", 1, {"b": [b"\x00"]}), ("all",)]
            assert sorted(log) == [("outside", "all"), ("there", "all"), ("there", "said", 1, {"b": [b"\x00"]})]

    check()


@async_test
async def test_rooms_are_rooms_of_the_whole_cluster() -> None:
    """Members anywhere get it; several rooms reach each member once; exceptions hold on every node."""
    async with cluster("a", "b") as nodes:
        here, there = await nodes[0].connect("x"), await nodes[1].connect("x", "y")
        outside = await nodes[1].connect()
        nodes[0].io.to("x").emit("x")
        nodes[0].io.to("x", "y").emit("xy")
        nodes[0].io.to("x").except_("y").emit("x not y")
        nodes[0].io.except_("x").emit("not x")
        nodes[0].io.to("x").except_(there.id).emit("not there")
        await nodes.settle()
        assert [event.event for event in here.received] == ["x", "xy", "x not y", "not there"]
        assert [event.event for event in there.received] == ["x", "xy"]
        assert [event.event for event in outside.received] == ["not x"]


@async_test
async def test_a_socket_is_reached_by_its_id_on_any_node() -> None:
    async with cluster("a", "b") as nodes:
        there, other = await nodes[1].connect(), await nodes[1].connect()
        nodes[0].io.to(there.id).emit("hello")
        await nodes.settle()
        assert there.received == [("hello",)]
        assert other.received == []


class TestSubscriptions:
    """A node hears the rooms that have members on it, and no others."""

    @async_test
    async def test_a_room_is_heard_while_it_has_members(self) -> None:
        async with cluster("a", "b") as nodes:
            quiet = nodes.channels(nodes[0])
            one, two = await nodes[0].connect("x"), await nodes[0].connect()
            await nodes[0].io.sockets[two.id].join("x")
            assert nodes.channels(nodes[0]) - quiet == {"shoal#/#x#"}
            assert "shoal#/#x#" not in nodes.channels(nodes[1])
            await nodes[0].io.sockets[one.id].leave("x")
            assert "shoal#/#x#" in nodes.channels(nodes[0])
            await two.disconnect()
            assert nodes.channels(nodes[0]) == quiet
            three = await nodes[0].connect("x")
            await nodes[0].io.sockets[three.id].leave("x")
            assert nodes.channels(nodes[0]) == quiet

    @async_test
    async def test_a_broadcast_to_a_room_goes_to_nodes_with_members_only(self) -> None:
        """The others do not even receive it."""
        async with cluster("a", "b", "c") as nodes:
            await nodes[1].connect("x")
            await nodes[2].connect("y")
            before = [node.bus.stats.received for node in nodes]
            for _ in range(10):
                nodes[0].io.to("x").emit("x")
                await nodes.settle()
            received = [node.bus.stats.received - count for node, count in zip(nodes, before, strict=True)]
            assert received == [0, 10, 0]

    @async_test
    async def test_what_concerns_nobody_else_is_not_published(self) -> None:
        """local, and events for a socket of this node: not a byte leaves."""
        async with cluster("a", "b") as nodes:
            client = await nodes[0].connect("x")
            published = nodes[0].bus.stats.published
            socket = nodes[0].io.sockets[client.id]
            nodes[0].io.local.to("x").emit("x")
            nodes[0].io.to(client.id).emit("x")
            socket.emit("x")
            socket.volatile.emit("x")
            client.on("q", lambda: 1)
            assert await socket.call("q") == 1
            await nodes[0].io.local.fetch_sockets()
            await nodes.settle()
            assert nodes[0].bus.stats.published == published

    @async_test
    async def test_a_namespace_is_heard_from_its_creation(self) -> None:
        """A dynamic one until it is forgotten."""
        io = Server(broker="memory://dynamic", cleanup_empty_namespaces=True)
        io.of(lambda name, auth: name == "/dyn")
        async with cluster(io, Server(broker="memory://dynamic")) as nodes:
            hub = nodes[0].bus._hub

            def heard() -> set[str]:
                return {channel for channel, listeners in hub._listeners.items() if nodes[0].bus in listeners}

            before = heard()
            client = await nodes[0].connect("room", namespace="/dyn")
            assert "shoal#/dyn#" in heard()
            assert "shoal#/dyn#room#" in heard()
            nodes[1].io.of("/dyn").to("room").emit("x")
            assert await client.receive() == ("x",)
            await client.disconnect()
            assert heard() == before

    @async_test
    async def test_a_join_that_is_awaited_is_heard_by_the_others(self) -> None:
        """Whatever is published after `await socket.join` reaches the socket."""
        async with cluster("a", "b") as nodes:
            client = await nodes[0].connect()
            await nodes[0].io.sockets[client.id].join("x")
            nodes[1].io.to("x").emit("x")
            assert await client.receive() == ("x",)

    @pytest.mark.parametrize("length", [6, 19, 20, 21])
    def test_rooms_that_look_like_ids_or_tags_work(self, length: int) -> None:
        """A name of 20 characters travels on another channel, which its members hear all the same."""

        @async_test
        async def check() -> None:
            async with cluster("a", "b") as nodes:
                rooms = ["r" * length, "r" * (length - 1) + "s"]
                one, two = await nodes[0].connect(rooms[0]), await nodes[0].connect(rooms[1])
                nodes[1].io.to(rooms[0]).emit("first")
                nodes[1].io.to(rooms[1]).emit("second")
                await nodes.settle()
                assert (one.received, two.received) == ([("first",)], [("second",)])
                await two.disconnect()
                nodes[1].io.to(rooms[0]).emit("third")
                assert [(await one.receive()).event, (await one.receive()).event] == ["first", "third"]
                await one.disconnect()
                assert not any("r" * 5 in channel for channel in nodes.channels(nodes[0]))

        check()

    @async_test
    async def test_a_room_named_like_a_tag_of_a_node_works(self) -> None:
        """It shares the channel of that node's ids, and filtering tells them apart."""
        async with cluster("a", "b") as nodes:
            for tag in (nodes[0].link.tag, nodes[1].link.tag):
                client = await nodes[0].connect(tag)
                other = await nodes[1].connect()
                nodes[1].io.to(tag).emit("tag")
                await nodes.settle()
                assert client.received == [("tag",)]
                nodes[0].io.to(other.id).emit("id")
                await nodes.settle()
                assert other.received == [("id",)]
                await client.disconnect()
                again = await nodes[0].connect()
                nodes[1].io.to(again.id).emit("still heard")
                assert await again.receive() == ("still heard",)

    @async_test
    async def test_a_room_named_like_a_socket_of_another_node_is_refused(self) -> None:
        """It would read what is meant for that client."""
        async with cluster("a", "b") as nodes:
            victim, spy = await nodes[0].connect(), await nodes[1].connect()
            with pytest.raises(RoomRefused, match="id of another socket"):
                await nodes[1].io.sockets[spy.id].join(victim.id)
            nodes[1].io.to(victim.id).emit("secret")
            await nodes.settle()
            assert (victim.received, spy.received) == ([("secret",)], [])
            free = new_socket_id("abcdef")
            await nodes[1].io.sockets[spy.id].join(free)
            nodes[0].io.to(free).emit("room")
            assert await spy.receive() == ("room",)


@async_test
async def test_a_room_that_cannot_be_named_on_the_wire_hurts_no_other() -> None:
    """Half a character in a room's name: local members get it, and what else the turn said reaches the others."""
    async with cluster("a", "b") as nodes:
        here, there = await nodes[0].connect("\ud800"), await nodes[1].connect("x")
        nodes[0].io.to("\ud800").emit("half")
        nodes[0].io.to("x").emit("x")
        await nodes.settle()
        assert (here.received, there.received) == ([("half",)], [("x",)])


class TestOrder:
    @settings(max_examples=examples(25))
    @given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=25))
    def test_across_rooms_it_is_the_order_of_the_calls(self, emits: list[tuple[int, bool]]) -> None:
        """One node's broadcasts to any mix of rooms, everyone and ids arrive in the order in which they were made."""

        async def main() -> None:
            async with cluster("a", "b") as nodes:
                client = await nodes[1].connect("x", "y")
                io = nodes[0].io
                targets: list[Any] = [io, io.to("x"), io.to("x", "y"), io.to(client.id)]
                for number, (target, turn) in enumerate(emits):
                    targets[target].emit("n", number)
                    if turn:
                        await asyncio.sleep(0)
                await nodes.settle()
                assert [event.args[0] for event in client.received] == list(range(len(emits)))

        run(main())

    @async_test
    async def test_a_turn_to_one_channel_is_one_message(self) -> None:
        """Neighbours travel together; what comes between parts them, or the order would be lost."""
        async with cluster("a", "b") as nodes:
            await nodes[1].connect("x", "y")
            published = nodes[0].bus.stats.published
            io = nodes[0].io
            for _ in range(10):
                io.to("x").emit("x")
            await nodes.settle()
            assert nodes[0].bus.stats.published - published == 1
            for _ in range(3):
                io.to("x").emit("x")
                io.to("y").emit("y")
            await nodes.settle()
            assert nodes[0].bus.stats.published - published == 7

    @async_test
    async def test_a_large_turn_is_sent_early(self) -> None:
        """No message to the broker is without bound."""
        async with cluster("a", "b") as nodes:
            client = await nodes[1].connect("x")
            nodes.spy.subscribe("shoal#/#x#")
            for _ in range(20):
                nodes[0].io.to("x").emit("x", "y" * 50_000)
            await nodes.settle()
            assert len(client.received) == 20
            assert len(nodes.heard) > 2
            assert max(len(payload) for _, payload in nodes.heard) < 400_000


class TestBroken:
    @pytest.mark.parametrize("payload", [b"", b"\xc1", b"nonsense", b"\x92\xa1a\x91\x97\x01", b"\x92\xa1a\x90" * 100])
    def test_a_broken_message_is_ignored_and_counted(self, payload: bytes) -> None:
        """On any channel; the next one is heard."""

        @async_test
        async def check() -> None:
            async with cluster("a", "b") as nodes:
                client = await nodes[0].connect("x")
                for channel in ("shoal#/#", "shoal#/#x#", "shoal#", f"shoal#@{nodes[0].link.tag}"):
                    before = nodes[0].link.unreadable
                    nodes.spy.publish(channel, payload)
                    await nodes.settle()
                    assert nodes[0].link.unreadable == before + 1
                nodes[1].io.to("x").emit("x")
                assert await client.receive() == ("x",)

        check()

    @async_test
    async def test_a_broadcast_to_an_unknown_namespace_is_ignored(self) -> None:
        async with cluster("a") as nodes:
            client = await nodes[0].connect()
            nodes.spy.publish("shoal#/#", encode(Message("other", [Envelope("/none", (), (), b"42x", [])])))
            nodes.spy.publish("shoal#/#", encode(Message("other", [Envelope("/", (), (), b'42["x"]', [])])))
            assert await client.receive() == ("x",)

    @async_test
    async def test_a_program_that_is_no_node_may_emit(self) -> None:
        """Its sender is empty: it is heard like a node, and is none."""
        async with cluster("a") as nodes:
            client = await nodes[0].connect("x")
            nodes.spy.publish("shoal#/#x#", encode(Message("", [Envelope("/", ("x",), (), b'42["x"]', [])])))
            assert await client.receive() == ("x",)
            assert nodes[0].link.peers.names() == {}


class TestBrokerAway:
    @async_test
    async def test_the_node_serves_its_own_clients_and_catches_up(self) -> None:
        """What it said meanwhile is kept and sent; what others said is lost; rooms that it opened are heard again."""
        async with cluster("a", "b") as nodes:
            here, there = await nodes[0].connect("x"), await nodes[1].connect("x")
            nodes[0].bus.cut()
            assert nodes[0].io.not_ready() is not None
            nodes[0].io.to("x").emit("from a")
            nodes[1].io.to("x").emit("from b")
            late = await nodes[0].connect("late")
            await nodes.settle()
            assert here.received == [("from a",)]
            assert there.received == [("from b",)]
            nodes[0].bus.restore()
            await nodes.settle()
            assert there.received == [("from b",), ("from a",)]
            nodes[1].io.to("late").emit("late")
            assert await late.receive() == ("late",)
            assert nodes[0].io.not_ready() is None

    @async_test
    async def test_a_join_does_not_wait_for_a_broker_that_is_away(self) -> None:
        async with cluster("a", "b") as nodes:
            client = await nodes[0].connect()
            nodes[0].bus.cut()
            began = nodes[0].server.clock.now
            await nodes[0].io.sockets[client.id].join("x")
            assert nodes[0].server.clock.now == began


@async_test
async def test_two_clusters_can_share_a_broker() -> None:
    """By their channel_prefix."""
    broker = "memory://shared-by-two"
    servers = [Server(node=n, broker=broker, channel_prefix=p) for n, p in [("a", "one"), ("b", "one"), ("c", "two")]]
    async with cluster(*servers) as nodes:
        clients = [await node.connect("x") for node in nodes]
        nodes[0].io.emit("everyone")
        nodes[0].io.to("x").emit("room")
        await nodes.settle()
        assert [len(client.received) for client in clients] == [2, 2, 0]


@async_test
async def test_the_msgpack_parser_crosses_nodes() -> None:
    async with cluster("a", "b", parser="msgpack") as nodes:
        client = await nodes[1].connect("x")
        nodes[0].io.to("x").emit("x", b"\x00", {"a": 1})
        assert await client.receive() == ("x", b"\x00", {"a": 1})
