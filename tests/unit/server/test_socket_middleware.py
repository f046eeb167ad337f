"""A socket's middleware, and the handlers of `error`, which get what it raises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.server.sockets import pair, refuse

from shoal import AckTimeout, Namespace, Server, Socket
from shoal.errors import SocketProtocolError
from shoal.testing import TestServer, async_test


class TestMiddleware:
    @async_test
    async def test_middleware_sees_each_event_and_can_stop_it(self) -> None:
        """In order, before the handlers; what it raises is the event's error, and the next event comes through."""
        io = Server()
        log: list[Any] = []
        io.on("x")(lambda socket, a: log.append(("handled", a)))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)

            @socket.use
            async def first(event: str, *args: Any) -> None:
                await asyncio.sleep(0.1)
                log.append(("first", event, *args))

            @socket.use
            def second(event: str, *args: Any) -> None:
                if args == (1,):
                    raise ValueError("not this one")

            client.send("x", 1)
            client.send("x", 2)
            await server.clock.advance(1)
            assert log == [("first", "x", 1), ("first", "x", 2), ("handled", 2)]

    @async_test
    async def test_what_middleware_raises_is_told_to_the_handlers_of_error(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Those of the socket, then those of its namespace; it is then no failure, and the event gets no ack."""
        io = Server()
        log: list[Any] = []

        @io.on("error")
        async def on_error(socket: Socket, error: Exception) -> None:
            log.append(("namespace", socket.id, str(error)))

        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.use(refuse)
            socket.on("error", lambda error: log.append(("socket", str(error))))
            call = asyncio.ensure_future(client.call("x", timeout=1.0))
            await server.clock.advance(2)
            with pytest.raises(AckTimeout):
                await call
            assert log == [("socket", "not x"), ("namespace", socket.id, "not x")]
            assert io.stats.handler_errors == 0
            assert caplog.records == []


class TestErrorHandlers:
    @async_test
    async def test_without_a_handler_of_error_it_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.use(refuse)
            await client.emit("x")
            assert io.stats.handler_errors == 1
            assert "handler of 'x' failed" in caplog.text
            assert "not x" in caplog.text

    @async_test
    async def test_a_handler_of_error_that_fails_hurts_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        io = Server()
        log: list[int] = []
        io.on("y")(lambda socket, number: log.append(number))

        @io.on("error")
        def on_error(socket: Socket, error: Exception) -> None:
            raise RuntimeError("on purpose")

        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.use(lambda event, *args: refuse(event) if event == "x" else None)
            await client.emit("x")
            await client.emit("y", 1)
            assert log == [1]
            assert io.stats.handler_errors == 1
            assert "on purpose" in caplog.text

    @async_test
    async def test_a_client_cannot_send_an_error(self) -> None:
        """Its event of that name goes to the star; those who wait for what middleware raised do not hear it."""
        io = Server()
        log: list[Any] = []
        io.on("error")(lambda socket, error: log.append(("namespace", error)))
        io.on("*")(lambda socket, event, *args: log.append(("star", event, *args)))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            await client.emit("error", 1)
            socket.on("error", lambda error: log.append(("socket", error)))
            await client.emit("error", 2)
            assert log == [("star", "error", 1), ("star", "error", 2)]

    @async_test
    async def test_a_broken_packet_is_told_to_the_handlers_of_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """Of every namespace that the client is in; behind its events, before it has left; one that fails is logged."""
        io = Server()
        log: list[Any] = []

        @io.on("x")
        async def x(socket: Socket, number: int) -> None:
            await asyncio.sleep(1)
            log.append(number)

        @io.on("error")
        def on_error(socket: Socket, error: Exception) -> None:
            log.append(type(error))
            raise RuntimeError("on purpose")

        io.on("disconnect")(lambda socket, reason: log.append(reason))
        io.of("/quiet")
        other = io.of("/other")
        async with TestServer(io) as server:
            client, _ = await pair(io, server)
            await client.enter("/quiet")
            elsewhere = await client.enter("/other")
            other.sockets[elsewhere.id].on("error", lambda error: log.append(("other", type(error))))
            client.send("x", 1)
            client.send("x", 2)
            client.connection.send("4nonsense")
            await server.clock.advance(5)
            assert log == [("other", SocketProtocolError), 1, 2, SocketProtocolError, "parse error"]
            assert io.stats.handler_errors == 1
            assert "on purpose" in caplog.text

    @async_test
    async def test_a_class_may_have_the_handler_of_error(self) -> None:
        io = Server()
        log: list[str] = []

        class Guarded(Namespace):
            def on_connect(self, socket: Socket) -> None:
                socket.use(refuse)

            def on_error(self, socket: Socket, error: Exception) -> None:
                log.append(str(error))

        io.of("/guarded", Guarded)
        async with TestServer(io) as server:
            client = await server.connect("/guarded")
            await client.emit("x")
            assert log == ["not x"]
