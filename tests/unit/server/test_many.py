"""Questions and orders to many sockets of one node: partial answers, never all or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal import Server, Socket
from shoal.testing import TestClient, TestServer, async_test


async def crowd(server: TestServer, count: int) -> list[TestClient]:
    """Clients that answer `vote` with their number; all are in the room `voters`."""
    clients = [await server.connect(query={"number": str(number)}) for number in range(count)]
    for number, client in enumerate(clients):
        client.on("vote", lambda number=number: number)
        await server.app.sockets[client.id].join("voters")
    return clients


class TestCall:
    @async_test
    async def test_everybody_answers(self) -> None:
        """Answers in the order in which they came; None, one value, several."""
        io = Server()
        async with TestServer(io) as server:
            clients = await crowd(server, 3)

            @clients[0].on("vote")
            async def late() -> tuple[int, bytes]:
                await asyncio.sleep(1)
                return 0, b"x"

            clients[1].on("vote", lambda: None)
            answers = await io.to("voters").call("vote", timeout=5)
            assert set(answers.responses[:2]) == {None, 2}  # both at once: in either order
            assert answers.responses[2:] == [(0, b"x")]
            assert answers.missing == []

    @async_test
    async def test_the_silent_ones_are_named(self) -> None:
        """After the timeout, with the answers of the others; nobody is named for leaving but the one who left."""
        io = Server()
        async with TestServer(io) as server:
            clients = await crowd(server, 4)
            for client in clients[:2]:
                del client._handlers["vote"]
            began = server.clock.now
            call = asyncio.create_task(io.call("vote", timeout=3))
            await server.settle()
            await clients[1].disconnect()
            answers = await call
            assert sorted(answers.responses) == [2, 3]
            assert sorted(answers.missing) == sorted([clients[0].id, clients[1].id])
            assert server.clock.now - began == pytest.approx(3)
            assert all(not socket._acks for socket in io.sockets.values())

    @async_test
    async def test_nobody_there_is_an_empty_answer_at_once(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            began = server.clock.now
            answers = await io.to("nobody").call("vote", timeout=100)
            assert (answers.responses, answers.missing) == ([], [])
            assert server.clock.now == began

    @async_test
    async def test_one_that_is_being_accepted_is_missing(self) -> None:
        """It would not answer before its connect handler is done, and nobody waits for it."""
        io = Server()
        go_on = asyncio.Event()
        io.on("connect")(lambda socket: go_on.wait())
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await server.settle()
            [waiting] = io.sockets
            answers = await io.call("vote", timeout=100)
            assert (answers.responses, answers.missing) == ([], [waiting])
            go_on.set()
            await server.settle()

    @async_test
    async def test_the_patience_is_that_of_the_call_then_the_builders_then_the_option(self) -> None:
        io = Server(request_timeout=7)
        async with TestServer(io) as server:
            await server.connect()
            for call, seconds in [
                (io.call("x"), 7),
                (io.timeout(3).call("x"), 3),
                (io.timeout(3).to("nobody").except_("x").call("x", timeout=1), 0),
                (io.timeout(3).call("x", timeout=1), 1),
                (io.local.volatile.timeout(2).call("x"), 2),
            ]:
                began = server.clock.now
                await call
                assert server.clock.now - began == pytest.approx(seconds)

    @async_test
    async def test_a_call_that_is_cancelled_leaves_nothing_behind(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client = await server.connect()
            call = asyncio.create_task(io.call("x", timeout=100))
            await server.settle()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert not io.sockets[client.id]._acks


class TestFetch:
    @async_test
    async def test_a_description_is_a_copy_and_acts_on_the_socket(self) -> None:
        """id, node, rooms, data, handshake; emit, join, leave and disconnect go to the socket itself."""
        io = Server(node="n1")
        async with TestServer(io) as server:
            [client, other] = await crowd(server, 2)
            socket = io.sockets[client.id]
            socket.data["a"] = [1]
            found = await io.in_(client.id).fetch_sockets()
            assert found.missing == []
            [remote] = found
            assert (remote.id, remote.node, remote.rooms) == (client.id, "n1", {client.id, "voters"})
            assert remote.data == {"a": [1]}
            assert remote.handshake.query["number"] == "0"
            assert remote.handshake.address == "127.0.0.1"
            remote.data["a"].append(2)
            assert socket.data == {"a": [1]}
            remote.emit("hello")
            await remote.join("x")
            await remote.leave("voters")
            assert socket.rooms == {client.id, "x"}
            await remote.disconnect()
            await server.settle()
            assert client.received == [("hello",)]
            assert client.reason == "io server disconnect"
            assert other.connected

    @async_test
    async def test_data_that_cannot_travel_is_left_out(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client = await server.connect()
            io.sockets[client.id].data["lock"] = asyncio.Lock()
            [remote] = await io.fetch_sockets()
            assert remote.data == {}

    @async_test
    async def test_selections(self) -> None:
        """Rooms, exceptions, several rooms; each socket once."""
        io = Server()
        async with TestServer(io) as server:
            clients = await crowd(server, 3)
            await io.sockets[clients[0].id].join("first")

            async def ids(broadcast: Any) -> set[str]:
                found = await broadcast.fetch_sockets()
                assert len(found) == len({one.id for one in found})
                return {one.id for one in found}

            everyone = {client.id for client in clients}
            assert await ids(io) == await ids(io.to("voters", "first")) == everyone
            assert await ids(io.to("first")) == {clients[0].id}
            assert await ids(io.except_("first")) == everyone - {clients[0].id}
            assert await ids(io.to("nobody")) == set()


class TestOrders:
    @async_test
    async def test_joining_and_leaving(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            clients = await crowd(server, 3)
            assert await io.in_("voters").join("a", "b") == []
            assert await io.except_(clients[0].id).leave("a") == []
            assert [sorted(io.sockets[c.id].rooms - {c.id}) for c in clients] == [
                ["a", "b", "voters"],
                ["b", "voters"],
                ["b", "voters"],
            ]

    @async_test
    async def test_one_that_may_not_join_does_not_stop_the_others(self, caplog: pytest.LogCaptureFixture) -> None:
        io = Server(max_rooms=2)
        async with TestServer(io) as server:
            clients = await crowd(server, 3)
            await io.sockets[clients[1].id].join("full")
            await io.join("a")
            assert [len(io.sockets[c.id].rooms) for c in clients] == [3, 3, 3]
            assert "a" not in io.sockets[clients[1].id].rooms
            assert clients[1].id in caplog.text

    @pytest.mark.parametrize("close", [False, True])
    def test_sending_away(self, close: bool) -> None:
        """The selected ones, with or without their connections."""

        @async_test
        async def check() -> None:
            io = Server()
            io.of("/other")
            async with TestServer(io) as server:
                clients = await crowd(server, 3)
                other = await clients[0].enter("/other")
                io.emit("bye")
                assert await io.except_(clients[2].id).disconnect(close) == []
                await server.settle()
                assert [client.connected for client in clients] == [False, False, True]
                assert all(client.received == [("bye",)] for client in clients)
                assert other.connected is not close
                assert clients[0].connection.open is not close

        check()


@async_test
async def test_server_side_talk_of_a_node_alone_reaches_nobody() -> None:
    """Its own handlers are for what others say."""
    io = Server()
    heard: list[Any] = []
    io.on_server("x")(lambda *args: heard.append(args))
    async with TestServer(io):
        io.server_side_emit("x", 1)
        answers = await io.server_side_call("x", 1)
        assert (answers.responses, answers.missing, heard) == ([], [], [])


@async_test
async def test_the_surface_of_a_namespace_is_that_of_the_server() -> None:
    """emit, to, in_, except_, local, volatile, timeout, call, fetch_sockets, join, leave, disconnect."""
    io = Server()
    chat = io.of("/chat")
    async with TestServer(io) as server:
        root = await server.connect()
        client = await root.enter("/chat")
        client.on("q", lambda: "a")
        for emit in (chat.emit, chat.except_("x").emit, chat.local.emit, chat.volatile.emit, chat.compress().emit):
            emit("e")
        assert (await chat.call("q")).responses == ["a"]
        assert [one.id for one in await chat.fetch_sockets()] == [client.id]
        await chat.join("a")
        chat.to("a").emit("e")
        chat.in_("a").emit("e")
        await chat.leave("a")
        chat.to("a").emit("e")
        await server.settle()
        assert len(client.received) == 7
        await chat.disconnect()
        assert await client.disconnected() == "io server disconnect"
        assert root.received == []
        assert root.connected


def test_sockets_is_a_copy() -> None:
    io = Server()
    sockets: dict[str, Socket] = io.sockets
    sockets["x"] = None  # type: ignore[assignment]
    assert io.sockets == io.of("/").sockets == {}
