"""The emitter over a hub in memory: events, orders and questions, and what it says when something cannot be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.cluster.nodes import Cluster, cluster

from shoal import BrokerError, ConfigurationError, Emitter, PayloadError, Server
from shoal.bus import MemoryBus, MemoryHub
from shoal.testing import async_test

BROKER = "memory://emitter"


def two_servers() -> list[Server]:
    servers = [Server(node=name, broker=BROKER) for name in ("a", "b")]
    for io in servers:
        io.of("/other")
    return servers


def peers(nodes: Cluster) -> list[list[str]]:
    return [list(node.link.peers.names().values()) for node in nodes]


@async_test
async def test_events_reach_the_selected_clients_of_every_node() -> None:
    """As events of a server would, in order; the program itself counts as no node."""
    async with cluster(*two_servers()) as nodes, Emitter(BROKER) as emitter:
        one, two = await nodes[0].connect("x"), await nodes[1].connect("y")
        other = await nodes[1].connect("x", namespace="/other")
        await emitter.emit("all", 1, {"b": b"\x00"})
        await emitter.to("x").emit("x")
        await emitter.to("x").in_("y").emit("x or y")
        await emitter.except_("x").volatile.emit("not x")
        await emitter.to(two.id).emit("two")
        await emitter.of("other").to("x").emit("other")
        await nodes.settle()
        assert one.received == [("all", 1, {"b": b"\x00"}), ("x",), ("x or y",)]
        assert two.received == [("all", 1, {"b": b"\x00"}), ("x or y",), ("not x",), ("two",)]
        assert other.received == [("other",)]
        assert peers(nodes) == [["b"], ["a"]]


@async_test
async def test_it_keeps_to_its_prefix() -> None:
    """Clusters that share a broker are told apart by it."""
    servers = [Server(broker=BROKER, channel_prefix=prefix) for prefix in ("one", "two")]
    async with cluster(*servers) as nodes, Emitter(BROKER, channel_prefix="two") as emitter:
        one, two = await nodes[0].connect(), await nodes[1].connect()
        await emitter.emit("x")
        await nodes.settle()
        assert (one.received, two.received) == ([], [("x",)])
        assert len(await emitter.fetch_sockets()) == 1


@async_test
async def test_it_speaks_msgpack_where_its_cluster_does() -> None:
    """The option `parser` is that of the servers."""
    async with cluster(Server(broker=BROKER, parser="msgpack")) as nodes, Emitter(BROKER, parser="msgpack") as emitter:
        client = await nodes[0].connect()
        await emitter.emit("x", b"\x00", 1)
        await nodes.settle()
        assert client.received == [("x", b"\x00", 1)]


@async_test
async def test_orders_reach_the_sockets_of_every_node() -> None:
    """Join, leave and disconnect, confirmed by all."""
    async with cluster(*two_servers()) as nodes, Emitter(BROKER) as emitter:
        one, two = await nodes[0].connect("x"), await nodes[1].connect("y")
        assert await emitter.to("x", "y").join("z", "zz") == []
        assert await emitter.to(one.id).leave("zz") == []
        found = {socket.id: socket for socket in await emitter.to("z").fetch_sockets()}
        assert {sid: (socket.node, socket.rooms) for sid, socket in found.items()} == {
            one.id: ("a", {one.id, "x", "z"}),
            two.id: ("b", {two.id, "y", "z", "zz"}),
        }
        assert await emitter.to("zz").disconnect() == []
        assert await two.disconnected() == "io server disconnect"
        assert [socket.id for socket in await emitter.fetch_sockets()] == [one.id]


@async_test
async def test_clients_are_asked() -> None:
    """Answers of all who answer; those who do not are named."""
    async with cluster(*two_servers()) as nodes, Emitter(BROKER) as emitter:
        one, two = await nodes[0].connect(), await nodes[1].connect()
        one.on("sum", lambda *numbers: sum(numbers))
        answers = await emitter.call("sum", 1, 2, timeout=1)
        assert (answers.responses, answers.missing) == ([3], [two.id])


@async_test
async def test_every_server_is_told() -> None:
    """What `on_server` is registered for, in its namespace."""
    told: list[Any] = []
    servers = two_servers()
    for io in servers:
        io.on_server("reload")(lambda *args: told.append(args))
    async with cluster(*servers) as nodes, Emitter(BROKER) as emitter:
        await emitter.server_side_emit("reload", "prices", 1)
        await emitter.of("/other").server_side_emit("reload", "elsewhere")
        await nodes.settle()
        assert told == [("prices", 1), ("prices", 1)]


@async_test
async def test_a_silent_node_is_named() -> None:
    """The others' answers are there all the same."""
    async with cluster(*two_servers()) as nodes, Emitter(BROKER) as emitter:
        one = await nodes[0].connect()
        await nodes[1].connect()
        nodes[1].bus.cut()
        found = await emitter.fetch_sockets(timeout=0.5)
        assert ([socket.id for socket in found], found.missing) == ([one.id], ["b"])
        assert await emitter.timeout(0.5).join("x") == ["b"]


@async_test
async def test_no_server_at_all_is_an_error() -> None:
    """Nobody can be named, so that an empty answer would look like an empty cluster."""
    spy = MemoryBus(MemoryHub.named("emitter"))
    await spy.start(lambda channel, payload: None, lambda up: None)
    async with Emitter(BROKER) as emitter:
        await emitter.emit("x")
        with pytest.raises(BrokerError, match="no server of the cluster has answered within 5 s"):
            await emitter.fetch_sockets()
    await spy.close()


@async_test
async def test_it_connects_at_first_use_and_anew_after_its_end() -> None:
    """Nothing happens when it is made; `close` may be repeated."""
    async with cluster(*two_servers()) as nodes:
        client = await nodes[0].connect()
        emitter = Emitter(BROKER)
        await emitter.close()
        for number in range(2):
            await emitter.emit("x", number)
            await emitter.close()
            await emitter.close()
        await nodes.settle()
        assert client.received == [("x", 0), ("x", 1)]


@async_test
async def test_answers_of_strangers_are_ignored() -> None:
    """Bytes that are no message, and a list of nodes that is none; what else that node answers counts."""
    hub = MemoryHub.named("emitter")
    async with cluster(*two_servers()) as nodes, Emitter(BROKER) as emitter:
        await emitter.emit("x")
        [channel] = [
            channel for channel in hub._listeners if channel.startswith("shoal#@") and not known(nodes, channel)
        ]
        hub.carry(channel, b"\xc1")
        nodes[1].link.requests.answers["nodes"] = wrong
        found = await emitter.fetch_sockets(timeout=1)
        assert (list(found), found.missing) == ([], [])


async def wrong(body: Any, timeout: float) -> Any:
    return [1, 2]


def known(nodes: Cluster, channel: str) -> bool:
    return any(channel.endswith(node.link.tag) for node in nodes)


@async_test
async def test_what_cannot_be_sent_is_an_error() -> None:
    """The value, the event's name, or the namespace's: nothing is connected for it."""
    emitter = Emitter(BROKER)
    with pytest.raises(PayloadError):
        await emitter.emit("x", object())
    with pytest.raises(PayloadError):
        await emitter.call("connect")
    with pytest.raises(ConfigurationError, match="comma"):
        emitter.of("/a,b")
    with pytest.raises(ConfigurationError, match="confirms nothing"):
        await emitter.emit_confirmed("x")
    await emitter.close()


@pytest.mark.parametrize(
    ("broker", "options", "words"),
    [
        ("memory://", {}, "need a broker in common"),
        ("gopher://nowhere", {}, "unknown scheme"),
        ("redis://host/x", {}, "database number"),
        (BROKER, {"channel_prefix": "a b"}, "channel_prefix"),
        (BROKER, {"parser": "xml"}, "parser"),
        (BROKER, {"broker_buffer": 0}, "buffer"),
    ],
)
def test_what_is_wrong_with_its_options_shows_when_it_is_made(broker: str, options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Emitter(broker, **options)


def test_each_event_loop_has_a_link_of_its_own() -> None:
    """One emitter serves one `asyncio.run` after another."""
    emitter = Emitter("memory://emitter-loops")

    async def use() -> None:
        await emitter.emit("x")
        await emitter.close()

    asyncio.run(use())
    asyncio.run(use())
