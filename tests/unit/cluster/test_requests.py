"""Questions to the whole cluster: every node answers for its sockets, and who keeps silent is named."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.unit.cluster.nodes import Cluster, cluster

from shoal import Server
from shoal.cluster.messages import Hello, Leave, Message, Reply, Request, encode
from shoal.cluster.peers import HELLO_INTERVAL, PEER_TIMEOUT
from shoal.cluster.requests import MAX_AT_WORK
from shoal.errors import RoomRefused
from shoal.testing import TestClient, async_test


async def voters(nodes: Cluster) -> list[TestClient]:
    """One client on each node, in the room `voters`, that answers with its node's number."""
    clients = [await node.connect("voters") for node in nodes]
    for number, client in enumerate(clients):
        client.on("vote", lambda number=number: number)
    return clients


def silence(nodes: Cluster, number: int) -> None:
    """A node that hears everything and answers no question, as one whose loop stands still."""
    nodes[number].link.requests.answers.clear()


class TestCalls:
    @async_test
    async def test_the_clients_of_all_nodes_answer(self) -> None:
        async with cluster("a", "b", "c") as nodes:
            await voters(nodes)
            answers = await nodes[0].io.to("voters").call("vote")
            assert sorted(answers.responses) == [0, 1, 2]
            assert answers.missing == []

    @async_test
    async def test_silent_clients_and_silent_nodes_are_named(self) -> None:
        """Ids of sockets, names of nodes; the answers of the others are there, and no longer than the timeout."""
        async with cluster("a", "b", "c") as nodes:
            clients = await voters(nodes)
            del clients[1]._handlers["vote"]
            silence(nodes, 2)
            began = nodes[0].server.clock.now
            answers = await nodes[0].io.to("voters").call("vote", timeout=3)
            assert answers.responses == [0]
            assert sorted(answers.missing) == sorted([clients[1].id, "c"])
            assert nodes[0].server.clock.now - began == pytest.approx(3)

    @async_test
    async def test_nobody_waits_for_nodes_that_have_left(self) -> None:
        """A node that leaves in order, and one that has been silent for too long."""
        async with cluster("a", "b", "c") as nodes:
            await voters(nodes)
            await nodes[1].io.close()
            await nodes.settle()
            assert sorted(nodes[0].link.peers.names().values()) == ["c"]
            nodes[2].bus.cut()
            answers = await nodes[0].io.to("voters").call("vote", timeout=1)
            assert (answers.responses, answers.missing) == ([0], ["c"])
            await nodes[0].server.clock.advance(PEER_TIMEOUT + HELLO_INTERVAL)
            began = nodes[0].server.clock.now
            answers = await nodes[0].io.to("voters").call("vote", timeout=100)
            assert (answers.responses, answers.missing) == ([0], [])
            assert nodes[0].server.clock.now == began

    @async_test
    async def test_a_node_that_leaves_while_it_is_asked_is_not_waited_for(self) -> None:
        """Its clients are gone with it."""
        async with cluster("a", "b") as nodes:
            clients = await voters(nodes)

            @clients[1].on("vote")
            async def never() -> None:
                await asyncio.sleep(1_000)

            call = asyncio.create_task(nodes[0].io.call("vote", timeout=500))
            await nodes.settle()
            await nodes[1].io.close()
            async with asyncio.timeout(10):
                answers = await call
            assert answers.responses == [0]

    @async_test
    async def test_an_asker_without_broker_names_everybody(self) -> None:
        """It cannot know, so it does not claim that the answer is complete."""
        async with cluster("a", "b") as nodes:
            await voters(nodes)
            nodes[0].bus.cut()
            await nodes[0].server.clock.advance(60)
            answers = await nodes[0].io.to("voters").call("vote", timeout=1)
            assert (answers.responses, answers.missing) == ([0], ["b"])

    @async_test
    async def test_what_an_event_may_carry_a_question_may_too(self) -> None:
        """Dates, decimals, binary; what cannot be sent is an error at the asker's."""
        async with cluster("a", "b") as nodes:
            client = await nodes[1].connect()
            client.on("q", lambda *args: args)
            moment = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
            [answer] = (await nodes[0].io.call("q", moment, Decimal("1.5"), b"\x00", {"s": {1}})).responses
            assert answer == ("2024-01-02T03:04:05.000Z", "1.5", b"\x00", {"s": [1]})

    @pytest.mark.parametrize("value", [None, 1, (1, 2), [1, 2], [], [[]], (None, None), {"a": b"x"}, False])
    def test_an_answer_is_the_same_from_every_node(self, value: Any) -> None:
        """None, one value, or a tuple of several, wherever the client is."""

        @async_test
        async def check() -> None:
            async with cluster("a", "b") as nodes:
                for node in nodes:
                    (await node.connect()).on("q", lambda: value)
                answers = await nodes[0].io.call("q")
                assert answers.responses == [value, value]

        check()


class TestFetching:
    @async_test
    async def test_the_sockets_of_all_nodes(self) -> None:
        """With node, rooms, data and handshake."""
        async with cluster("a", "b", "c") as nodes:
            clients = await voters(nodes)
            nodes[1].io.sockets[clients[1].id].data["x"] = [1, b"2"]
            found = {one.id: one for one in await nodes[0].io.fetch_sockets()}
            assert set(found) == {client.id for client in clients}
            assert [found[client.id].node for client in clients] == ["a", "b", "c"]
            remote = found[clients[1].id]
            assert remote.rooms == {clients[1].id, "voters"}
            assert remote.data == {"x": [1, b"2"]}
            assert remote.handshake.headers["host"] == "testserver"

    @async_test
    async def test_silent_nodes_are_named(self) -> None:
        async with cluster("a", "b", "c") as nodes:
            await voters(nodes)
            silence(nodes, 1)
            found = await nodes[0].io.fetch_sockets(timeout=2)
            assert {one.node for one in found} == {"a", "c"}
            assert found.missing == ["b"]

    @async_test
    async def test_of_a_namespace_that_another_node_does_not_know(self) -> None:
        async with cluster("a", "b") as nodes:
            nodes[0].io.of("/only-here")
            found = await nodes[0].io.of("/only-here").fetch_sockets()
            assert (list(found), found.missing) == ([], [])

    @async_test
    async def test_a_remote_socket_acts_through_its_node(self) -> None:
        async with cluster("a", "b") as nodes:
            client = await nodes[1].connect()
            [remote] = await nodes[0].io.fetch_sockets()
            remote.emit("hello", 1)
            assert await client.receive() == ("hello", 1)
            await remote.join("x")
            assert nodes[1].io.sockets[client.id].rooms == {client.id, "x"}
            nodes[0].io.to("x").emit("room")
            assert await client.receive() == ("room",)
            await remote.leave("x")
            assert nodes[1].io.sockets[client.id].rooms == {client.id}
            await remote.disconnect(close=True)
            await nodes.settle()
            assert not client.connection.open


class TestOrders:
    @async_test
    async def test_joining_leaving_and_sending_away_reach_every_node(self) -> None:
        async with cluster("a", "b", "c") as nodes:
            clients = await voters(nodes)

            def rooms() -> list[set[str]]:
                return [
                    node.io.sockets[client.id].rooms - {client.id} for node, client in zip(nodes, clients, strict=True)
                ]

            assert await nodes[0].io.in_("voters").join("x", "y") == []
            assert rooms() == [{"voters", "x", "y"}] * 3
            assert await nodes[1].io.except_(clients[0].id).leave("voters") == []
            assert rooms() == [{"voters", "x", "y"}, {"x", "y"}, {"x", "y"}]
            assert await nodes[2].io.in_("voters").disconnect() == []
            await nodes.settle()
            assert [client.connected for client in clients] == [False, True, True]

    @async_test
    async def test_nodes_that_do_not_confirm_are_named(self) -> None:
        async with cluster("a", "b", request_timeout=2.0) as nodes:
            await voters(nodes)
            silence(nodes, 1)
            assert await nodes[0].io.join("x") == ["b"]
            assert await nodes[0].io.timeout(1).leave("x") == ["b"]

    @async_test
    async def test_local_orders_stay_here(self) -> None:
        async with cluster("a", "b") as nodes:
            clients = await voters(nodes)
            await nodes[0].io.local.join("x")
            assert "x" not in nodes[1].io.sockets[clients[1].id].rooms
            await nodes[0].io.local.disconnect()
            await nodes.settle()
            assert [client.connected for client in clients] == [False, True]


class TestServerSide:
    @async_test
    async def test_emitting_reaches_the_other_servers_once(self) -> None:
        """Not this one; in its namespace; plain and async handlers."""
        heard: list[Any] = []
        async with cluster("a", "b", "c") as nodes:
            for node in nodes:

                @node.io.on_server("reload")
                async def reload(*args: Any, name: str = node.io.node) -> None:
                    await asyncio.sleep(0)
                    heard.append((name, *args))

                node.io.of("/x").on_server("reload")(lambda: heard.append("wrong namespace"))
            nodes[0].io.server_side_emit("reload", 1, b"x")
            await nodes.settle()
            assert sorted(heard) == [("b", 1, b"x"), ("c", 1, b"x")]

    @async_test
    async def test_calling_gathers_what_they_return(self) -> None:
        """None of those without a handler; a silent one is named."""
        async with cluster("a", "b", "c", "d") as nodes:
            for node in nodes[:3]:
                node.io.on_server("count")(lambda x, node=node: f"{node.io.node}{x}")
            answers = await nodes[0].io.server_side_call("count", 1)
            assert {"b1", "c1"} <= set(answers.responses) <= {"b1", "c1", None}
            assert answers.missing == []
            silence(nodes, 2)
            answers = await nodes[0].io.server_side_call("count", 1, timeout=1)
            assert "b1" in answers.responses
            assert answers.missing == ["c"]

    @async_test
    async def test_a_handler_that_raises_is_a_silent_node(self, caplog: pytest.LogCaptureFixture) -> None:
        async with cluster("a", "b") as nodes:
            nodes[1].io.on_server("x")(lambda: 1 / 0)
            with caplog.at_level(logging.ERROR):
                answers = await nodes[0].io.server_side_call("x", timeout=1)
            assert (answers.responses, answers.missing) == ([], ["b"])
            assert "ZeroDivisionError" in caplog.text


class TestPresence:
    @async_test
    async def test_all_know_each_other_after_one_round(self) -> None:
        """A newcomer is greeted at once."""
        async with cluster("a", "b", "c") as nodes:
            for node in nodes:
                assert sorted([*node.link.peers.names().values(), node.io.node]) == ["a", "b", "c"]

    @async_test
    async def test_one_that_dies_is_forgotten_and_one_that_comes_back_is_known(self) -> None:
        async with cluster("a", "b") as nodes:
            nodes[1].bus.cut()
            await nodes[0].server.clock.advance(PEER_TIMEOUT + HELLO_INTERVAL)
            assert nodes[0].link.peers.names() == {}
            assert list(nodes[1].link.peers.names().values()) == ["a"]  # it cannot hear: nobody counts as gone
            nodes[1].bus.restore()
            await nodes.settle()
            assert list(nodes[0].link.peers.names().values()) == ["b"]
            await nodes[0].server.clock.advance(60)
            assert list(nodes[0].link.peers.names().values()) == ["b"]
            assert list(nodes[1].link.peers.names().values()) == ["a"]

    @async_test
    async def test_a_node_that_is_at_work_on_a_question_leaves_in_order(self) -> None:
        """Nobody waits for its answer."""
        async with cluster("a", "b") as nodes:
            nodes[1].io.on_server("slow")(lambda: asyncio.sleep(1_000))
            call = asyncio.create_task(nodes[0].io.server_side_call("slow", timeout=500))
            await nodes.settle()
            await nodes[1].io.close()
            async with asyncio.timeout(10):
                assert (await call).responses == []
            assert nodes[0].link.peers.names() == {}

    @async_test
    async def test_a_node_may_miss_two_hellos_but_not_three(self) -> None:
        """Then its clients' ids are free, whether or not anybody asks which nodes there are."""
        async with cluster("a", "b") as nodes:
            client, other = await nodes[1].connect(), await nodes[0].connect()
            nodes[1].bus.cut()
            socket = nodes[0].io.sockets[other.id]
            await nodes[0].server.clock.advance(5.0)
            with pytest.raises(RoomRefused):
                socket.join(client.id)
            await nodes[0].server.clock.advance(3.1)
            await socket.join(client.id)

    @async_test
    async def test_goodbye_is_said_and_heard(self) -> None:
        async with cluster("a", "b") as nodes:
            nodes.spy.subscribe("shoal#")
            tag = nodes[1].link.tag
            await nodes[1].io.close()
            await nodes.settle()
            assert nodes[0].link.peers.names() == {}
            said = [
                envelope for _, message in nodes.messages() if message.sender == tag for envelope in message.envelopes
            ]
            assert said[-1] == Leave()


class TestStrangers:
    """Whatever else speaks on the channels."""

    @async_test
    async def test_answers_to_nothing_are_ignored(self, caplog: pytest.LogCaptureFixture) -> None:
        """Late ones, double ones, those of nodes that were not asked."""
        async with cluster("a", "b") as nodes:
            await voters(nodes)
            nodes.spy.subscribe("shoal#")
            silence(nodes, 1)
            call = asyncio.create_task(nodes[0].io.fetch_sockets(timeout=2))
            await nodes.settle()
            [request] = [e for _, m in nodes.messages() for e in m.envelopes if isinstance(e, Request)]
            channel = f"shoal#@{nodes[0].link.tag}"
            reply = Reply(request.id, msgspec.Raw(b"\x90"))
            for sender, answer in [("nobody", reply), (nodes[1].link.tag, Reply("unknown", reply.body))]:
                nodes.spy.publish(channel, encode(Message(sender, [answer])))
            await nodes.settle()
            assert not call.done()
            for _ in range(2):
                nodes.spy.publish(channel, encode(Message(nodes[1].link.tag, [reply])))
            found = await call
            assert (len(found), found.missing) == (1, [])
            assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

    @async_test
    async def test_questions_of_an_unknown_kind_or_shape_are_not_answered(self) -> None:
        """The asker names this node; the node goes on."""
        async with cluster("a") as nodes:
            client = await nodes[0].connect()
            raw = msgspec.Raw(b"\xc0")
            for kind in ("unknown", "call", "fetch", "join", "disconnect", "server_side"):
                request = Request("id", kind, raw, 1.0)
                nodes.spy.publish("shoal#", encode(Message("stranger", [request])))
            await nodes.settle()
            nodes[0].io.emit("fine")
            assert await client.receive() == ("fine",)

    @async_test
    async def test_a_question_that_cannot_be_read_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """In one line: it is the other node's fault."""
        async with cluster("a") as nodes:
            no_utf8 = Request("id", "fetch", msgspec.Raw(b"\xa1\xff"), 1.0)
            nodes.spy.publish("shoal#", encode(Message("stranger", [no_utf8])))
            await nodes.settle()
        [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage().startswith("request 'fetch' of another node: not a message of a node")
        assert record.exc_info is None

    @async_test
    async def test_questions_at_work_are_bounded(self) -> None:
        """A stranger cannot make a node work on more than so many at a time."""
        async with cluster("a") as nodes:
            client = await nodes[0].connect()
            body = msgspec.Raw(msgspec.msgpack.encode([["/", [], []], ["question", []]]))
            for number in range(MAX_AT_WORK + 50):
                nodes.spy.publish("shoal#", encode(Message("stranger", [Request(str(number), "call", body, 100.0)])))
            await nodes.settle()
            assert len(client.received) == MAX_AT_WORK

    @async_test
    async def test_a_hello_of_a_program_makes_it_no_node(self) -> None:
        async with cluster("a") as nodes:
            nodes.spy.publish("shoal#", encode(Message("", [Hello("emitter")])))
            await nodes.settle()
            assert nodes[0].link.peers.names() == {}


@async_test
async def test_a_server_alone_asks_nobody() -> None:
    """memory:// without a name has no other nodes, and answers at once."""
    io = Server()
    began = asyncio.get_running_loop().time()
    assert (await io.fetch_sockets()).missing == []
    assert (await io.call("x", timeout=100)).responses == []
    assert asyncio.get_running_loop().time() == began
