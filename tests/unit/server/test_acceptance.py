"""Coming in: nothing reaches a client before it is accepted, nothing of it reaches a handler, and both may refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.internals import rooms
from tests.unit.server.connections import drain

from shoal import Server, Socket
from shoal.testing import TestServer, async_test


@async_test
async def test_held_messages_follow_connect_in_order() -> None:
    """Direct emits, broadcasts to a room it joined, to everyone and to its id, text and binary: none comes before."""
    io = Server()

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        socket.emit("one")
        await socket.join("room")
        io.to("room").emit("two", b"x")
        await asyncio.sleep(1)
        io.emit("three")
        io.to(socket.id).emit("four")
        socket.emit("five")
        io.to("elsewhere").emit("never")

    async with TestServer(io) as server:
        connection = await server.open()
        connection.send("40")
        await server.settle()
        with pytest.raises(TimeoutError):
            await connection.receive(timeout=0.5)
        await server.clock.advance(1)
        packets = await drain(connection)
        assert str(packets[0]).startswith('40{"sid":')
        placeholder = '{"_placeholder":true,"num":0}'
        assert packets[1:] == [
            '42["one"]',
            f'451-["two",{placeholder}]',
            b"x",
            '42["three"]',
            '42["four"]',
            '42["five"]',
        ]


@async_test
async def test_a_message_of_the_same_turn_stays_behind_connect() -> None:
    """A broadcast that is still being gathered when the socket is accepted."""
    io = Server()
    io.on("connect")(lambda socket: io.emit("hello", socket.id))
    async with TestServer(io) as server:
        first = await server.connect()
        second = await server.connect()
        assert await first.receive() == ("hello", first.id)
        assert await second.receive() == ("hello", second.id)
        assert await first.receive() == ("hello", second.id)


@async_test
async def test_connect_is_the_first_packet_of_a_namespace() -> None:
    """Also where the connect handler emits and returns at once: to everyone, to its room, to several, directly."""
    io = Server()

    @io.on("connect")
    def connect(socket: Socket) -> None:
        socket.join("room")
        for number, target in enumerate([io, io.to("room"), io.to("room", "x"), io, socket, io]):
            target.emit("hello", number)

    async with TestServer(io) as server:
        connection = await server.open()
        connection.send("40")
        await server.settle()
        packets = await drain(connection)
        assert str(packets[0]).startswith('40{"sid":')
        assert packets[1:] == [f'42["hello",{number}]' for number in range(6)]


@async_test
async def test_the_order_is_middleware_connect_handler_acceptance() -> None:
    """Middleware in the order of registration, plain and async; the socket is in no room before the last one."""
    io = Server()
    steps: list[Any] = []

    @io.use
    async def first(socket: Socket) -> None:
        await asyncio.sleep(0.1)
        steps.append(("first", len(io.sockets), socket.connected))

    @io.use
    def second(socket: Socket) -> None:
        steps.append(("second", len(io.sockets), socket.connected))

    @io.on("connect")
    def connect(socket: Socket) -> None:
        steps.append(("connect", len(io.sockets), socket.connected))

    @io.on("connection")  # Node's other name
    def connection(socket: Socket) -> None:
        steps.append(("connection", len(io.sockets), socket.connected))

    async with TestServer(io) as server:
        client = await server.connect()
        assert io.sockets[client.id].connected
    assert steps == [("first", 0, False), ("second", 0, False), ("connect", 1, False), ("connection", 1, False)]


class TestImpatience:
    """A client that speaks or leaves before it is accepted."""

    def slow_server(self) -> tuple[Server, list[Any], asyncio.Event]:
        io = Server()
        seen: list[Any] = []
        go_on = asyncio.Event()

        @io.use
        async def middleware(socket: Socket) -> None:
            await go_on.wait()

        io.use(lambda socket: seen.append("second middleware"))
        io.on("connect")(lambda socket: seen.append("connect"))
        io.on("x")(lambda socket, *args: seen.append(("x", *args)))
        io.on("disconnect")(lambda socket, reason: seen.append(reason))
        return io, seen, go_on

    @async_test
    async def test_its_events_wait_and_follow(self) -> None:
        """In order, behind the connect handler."""
        io, seen, go_on = self.slow_server()
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await server.settle()
            for number in range(3):
                connection.send(f'42["x",{number}]')
            await server.settle()
            assert seen == []
            go_on.set()
            await server.settle()
            assert seen == ["second middleware", "connect", ("x", 0), ("x", 1), ("x", 2)]

    @pytest.mark.parametrize("way", ["packet", "drop"])
    def test_events_of_one_that_left_are_never_handled(self, way: str) -> None:
        """Not even if what was left of the middleware is never asked: it could have refused."""

        @async_test
        async def check() -> None:
            io, seen, go_on = self.slow_server()
            async with TestServer(io) as server:
                connection = await server.open()
                connection.send("40")
                await server.settle()
                connection.send('42["x",1]')
                if way == "packet":
                    connection.send("41")
                else:
                    connection.drop()
                await server.settle()
                go_on.set()
                await server.clock.advance(1)
                assert seen == []
                assert io.sockets == {}
                if way == "packet":
                    assert await drain(connection) == []

        check()

    @async_test
    async def test_one_that_leaves_during_its_connect_handler_is_told_goodbye(self) -> None:
        """The handler saw it come, so the disconnect handler sees it go; no CONNECT is sent."""
        io = Server()
        seen: list[Any] = []
        go_on = asyncio.Event()

        @io.on("connect")
        async def connect(socket: Socket) -> None:
            await socket.join("room")
            await go_on.wait()
            seen.append(("connect", socket.connected))

        io.on("disconnect")(lambda socket, reason: seen.append((reason, socket.connected)))
        io.on("x")(lambda socket: seen.append("x"))
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await server.settle()
            connection.send('42["x"]')
            connection.send("41")
            await server.settle()
            assert rooms(io.of("/")).names() == []
            go_on.set()
            await server.settle()
            assert seen == [("connect", False), ("client namespace disconnect", False)]
            assert await drain(connection) == []

    @async_test
    async def test_one_that_comes_again_replaces_itself(self) -> None:
        """The official client forgets a CONNECT that was not answered; its second one gets a socket of its own."""
        io, seen, go_on = self.slow_server()
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await server.settle()
            connection.send("40")
            await server.settle()
            go_on.set()
            await server.settle()
            answers = await drain(connection)
            assert len(answers) == 1
            assert len(io.sockets) == 1
            assert seen.count("connect") == 1

    @async_test
    async def test_too_many_events_pause_reading_until_it_is_accepted(self) -> None:
        """The bound on waiting events holds before acceptance too."""
        io, seen, go_on = self.slow_server()
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await server.settle()
            for number in range(400):
                connection.send(f'42["x",{number}]')
            await server.settle()
            [session] = io.engine.sessions.values()
            assert session.paused
            go_on.set()
            await server.settle()
            assert not session.paused
            assert [entry[1] for entry in seen if entry[0] == "x"] == list(range(400))


class TestConnectTimeout:
    @async_test
    async def test_a_connection_that_enters_nothing_is_closed(self) -> None:
        io = Server(connect_timeout=10)
        async with TestServer(io) as server:
            silent, client = await server.open(), await server.connect()
            await server.clock.advance(9.9)
            assert silent.open
            await server.clock.advance(0.7)
            assert not silent.open
            assert client.connected
            await server.clock.advance(30)
            assert client.connected

    @async_test
    async def test_one_that_is_only_refused_is_closed_too(self) -> None:
        io = Server(connect_timeout=10)
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40/none")
            await server.clock.advance(11)
            assert not connection.open

    @async_test
    async def test_one_whose_acceptance_takes_too_long_is_closed(self) -> None:
        io = Server(connect_timeout=10)

        @io.use
        async def slow(socket: Socket) -> None:
            await asyncio.sleep(100)

        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await server.clock.advance(11)
            assert not connection.open


@async_test
async def test_a_held_outbox_has_its_bound() -> None:
    """A connect handler that emits without end to a client that is not accepted: the connection is cut off."""
    io = Server(max_outbox=100_000)
    closed: list[str] = []

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        socket.conn.on("close", closed.append)
        for _ in range(100):
            socket.emit("x", "y" * 10_000)
            await asyncio.sleep(0)

    async with TestServer(io) as server:
        connection = await server.open()
        connection.send("40")
        await server.settle()
        assert closed == ["transport error"]
        assert io.engine.outbox_stats.overflows == 1
        assert not connection.open


@async_test
async def test_the_payload_of_connect_is_the_sockets_auth() -> None:
    """`{}` when there is none."""
    io = Server()
    seen: list[Any] = []
    io.on("connect")(lambda socket: seen.append(socket.handshake.auth))
    async with TestServer(io) as server:
        await server.connect()
        await server.connect(auth={})
        await server.connect(auth={"a": [1]})
    assert seen == [{}, {}, {"a": [1]}]
