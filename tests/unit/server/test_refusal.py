"""Refusing a client: by middleware or a connect handler, on purpose or by an error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.internals import rooms
from tests.unit.server.connections import drain

from shoal import ConnectionRefused, Server, Socket
from shoal.testing import TestServer, async_test


class TestRefusal:
    @pytest.mark.parametrize("where", ["middleware", "connect"])
    @pytest.mark.parametrize("is_async", [False, True])
    def test_middleware_and_connect_handlers_may_refuse(self, where: str, is_async: bool) -> None:
        """The client gets message and data, nothing that was emitted, and is in no room; no disconnect handler runs."""

        @async_test
        async def check() -> None:
            io = Server()
            gone: list[str] = []
            io.on("disconnect")(lambda socket, reason: gone.append(reason))

            def refuse(socket: Socket) -> None:
                socket.emit("secret")
                socket.join("room")
                io.emit("secret too")
                raise ConnectionRefused("no", data={"code": 7})

            async def refuse_later(socket: Socket) -> None:
                await asyncio.sleep(1)
                refuse(socket)

            (io.use if where == "middleware" else io.on("connect"))(refuse_later if is_async else refuse)
            async with TestServer(io) as server:
                connection = await server.open()
                connection.send("40")
                await server.clock.advance(2)
                assert await drain(connection) == ['44{"message":"no","data":{"code":7}}']
                assert connection.open
                assert io.sockets == {}
                assert rooms(io.of("/")).names() == []
            assert gone == []

        check()

    @async_test
    async def test_an_exception_refuses_without_telling_why(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log has it."""
        io = Server()
        io.use(lambda socket: 1 / 0)
        async with TestServer(io) as server:
            with pytest.raises(ConnectionRefused, match="internal error") as caught:
                await server.connect()
            assert caught.value.data is None
            assert io.stats.handler_errors == 1
        assert "connecting to / failed; it is refused" in caplog.text
        assert "ZeroDivisionError" in caplog.text

    @async_test
    async def test_what_was_emitted_to_one_that_is_refused_is_dropped(self) -> None:
        """However much it is: the connection is not cut off, and the client may go elsewhere."""
        io = Server(max_outbox=10_000)
        io.of("/other")

        @io.on("connect")
        def refuse(socket: Socket) -> None:
            socket.emit("x", "y" * 20_000)
            raise ConnectionRefused("no")

        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            assert await drain(connection) == ['44{"message":"no"}']
            connection.send("40/other")
            assert str(await connection.receive()).startswith("40/other,")
            assert io.engine.outbox_stats.overflows == 0

    @async_test
    async def test_a_cancelled_await_in_a_handler_refuses_too(self) -> None:
        """The handler is not cancelled, something that it waited for is."""
        io = Server()

        @io.use
        async def middleware(socket: Socket) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        async with TestServer(io) as server:
            with pytest.raises(ConnectionRefused, match="internal error"):
                await server.connect()

    @pytest.mark.parametrize("data", [b"binary", {"deep": b"binary"}, object()])
    def test_data_that_cannot_be_sent_is_left_out(self, data: Any) -> None:
        """The client is refused all the same, with the message."""

        @async_test
        async def check() -> None:
            io = Server()

            @io.use
            def refuse(socket: Socket) -> None:
                raise ConnectionRefused("no", data=data)

            async with TestServer(io) as server:
                with pytest.raises(ConnectionRefused, match="no") as caught:
                    await server.connect()
                assert caught.value.data is None

        check()

    @async_test
    async def test_a_refused_client_may_try_again(self) -> None:
        """On the same connection, with better credentials."""
        io = Server()

        @io.use
        def check(socket: Socket) -> None:
            if socket.handshake.auth.get("token") != "good":
                raise ConnectionRefused("bad token")

        async with TestServer(io) as server:
            connection = await server.open()
            connection.send('40{"token":"bad"}')
            assert await connection.receive() == '44{"message":"bad token"}'
            connection.send('40{"token":"good"}')
            assert str(await connection.receive()).startswith("40")

    @async_test
    async def test_a_later_handler_is_not_asked_after_a_refusal(self) -> None:
        io = Server()
        asked: list[str] = []

        @io.use
        def first(socket: Socket) -> None:
            raise ConnectionRefused

        io.use(lambda socket: asked.append("middleware"))
        io.on("connect")(lambda socket: asked.append("connect"))
        async with TestServer(io) as server:
            with pytest.raises(ConnectionRefused, match="connection refused"):
                await server.connect()
        assert asked == []

    @async_test
    async def test_a_refusal_comes_behind_what_was_emitted_before(self) -> None:
        """To another namespace of the same connection, too: what a client gets is in the order of the calls."""
        io = Server()

        @io.of("/closed").use
        def refuse(socket: Socket) -> None:
            io.emit("before")
            raise ConnectionRefused("no")

        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await connection.receive()
            connection.send("40/closed")
            assert await drain(connection) == ['42["before"]', '44/closed,{"message":"no"}']
