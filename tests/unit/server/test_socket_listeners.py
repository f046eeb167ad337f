"""A socket's own listeners: of events, of everything that comes in, of everything that goes out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.internals import outgoing
from tests.unit.server.sockets import pair, refuse

from shoal import Server, Socket
from shoal.testing import TestServer, async_test


class TestOwnListeners:
    @async_test
    async def test_on_once_and_off(self) -> None:
        """The arguments are the event's, without the socket; what they return is the ack."""
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            log: list[Any] = []

            @socket.on("x")
            def first(a: int) -> str:
                log.append(("first", a))
                return "first"

            @socket.on("x")
            async def second(a: int) -> None:
                await asyncio.sleep(0.1)
                log.append(("second", a))

            socket.once("x", lambda a: log.append(("once", a)))
            assert await client.call("x", 1) == "first"
            await server.clock.advance(1)
            assert log == [("first", 1), ("second", 1), ("once", 1)]
            socket.off("x", first)
            log.clear()
            await client.emit("x", 2)
            await server.clock.advance(1)
            assert log == [("second", 2)]
            socket.off("x")
            socket.off("never")
            await client.emit("x", 3)
            await server.clock.advance(1)
            assert log == [("second", 2)]

    @async_test
    async def test_once_is_once_even_in_a_burst(self) -> None:
        io = Server()
        log: list[int] = []
        async with TestServer(io) as server:
            client, socket = await pair(io, server)

            @socket.once("x")
            async def x(a: int) -> None:
                await asyncio.sleep(1)
                log.append(a)

            for number in range(3):
                client.send("x", number)
            await server.clock.advance(10)
            assert log == [0]

    @async_test
    async def test_they_come_before_the_namespaces_handlers(self) -> None:
        """Both are called; the star is not, since there was a handler."""
        io = Server()
        log: list[str] = []
        io.on("x")(lambda socket: log.append("namespace"))
        io.on("*")(lambda socket, event: log.append("star"))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.on("x", lambda: log.append("socket"))
            socket.on("y", lambda: log.append("y"))
            for event in ("x", "y", "z"):
                await client.emit(event)
        assert log == ["socket", "namespace", "y", "star"]

    @async_test
    async def test_their_order_is_kept(self) -> None:
        """A socket with listeners of its own handles one event after another too."""
        io = Server()
        log: list[int] = []
        async with TestServer(io) as server:
            client, socket = await pair(io, server)

            @socket.on("x")
            async def x(number: int, seconds: float) -> None:
                await asyncio.sleep(seconds)
                log.append(number)

            for number, seconds in enumerate([3, 0, 1]):
                client.send("x", number, seconds)
            await server.clock.advance(10)
            assert log == [0, 1, 2]

    @async_test
    async def test_disconnect_is_told_to_them(self) -> None:
        io = Server()
        log: list[str] = []

        @io.on("connect")
        def connect(socket: Socket) -> None:
            socket.on("disconnecting", lambda reason: log.append(f"-ing {reason}"))
            socket.once("disconnect", log.append)

        async with TestServer(io) as server:
            client, _ = await pair(io, server)
            client.connection.drop()
            await server.settle()
        assert log == ["-ing transport close", "transport close"]

    @async_test
    async def test_a_concurrent_handler_of_its_own_does_not_hold_the_line(self) -> None:
        io = Server()
        gate, log = asyncio.Event(), list[str]()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)

            async def slow() -> str:
                await gate.wait()
                log.append("slow")
                return "done"

            socket.on("slow", slow, concurrent=True)
            socket.on("next", lambda: log.append("next"))
            answer = asyncio.create_task(client.call("slow"))
            await server.settle()
            await client.call("next")
            gate.set()
            assert await answer == "done"
            assert log == ["next", "slow"]


class TestAnyListeners:
    @async_test
    async def test_an_ear_that_fails_is_no_middleware(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged as any handler is, and not told to the handlers of `error`."""
        io = Server()
        log: list[Any] = []
        io.on("error")(lambda socket, error: log.append(error))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.on_any(refuse)
            await client.emit("x")
            assert log == []
            assert io.stats.handler_errors == 1

    @async_test
    async def test_ears_for_everything_that_comes_and_goes(self) -> None:
        """on_any before the handlers, on_any_outgoing for direct emits and broadcasts; each can be taken back."""
        io = Server()
        log: list[Any] = []

        def outgoing(event: str, *args: Any) -> None:
            log.append(("out", event, *args))

        def incoming(event: str, *args: Any) -> None:
            log.append(("in", event, *args))

        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.on_any(incoming)
            socket.on_any_outgoing(outgoing)
            client.on("q", lambda: 1)
            await client.emit("x", 1)
            socket.emit("y", 2)
            await socket.call("q")
            io.emit("broadcast")
            assert log == [("in", "x", 1), ("out", "y", 2), ("out", "q"), ("out", "broadcast")]
            socket.off_any(incoming)
            socket.off_any_outgoing(outgoing)
            await client.emit("x")
            socket.emit("y")
            socket.on_any(incoming)
            socket.on_any_outgoing(outgoing)
            socket.off_any()
            socket.off_any_outgoing()
            await client.emit("x")
            socket.emit("y")
            io.emit("y")
            assert len(log) == 4

    @async_test
    async def test_an_outgoing_listener_that_raises_holds_nothing_up(self, caplog: pytest.LogCaptureFixture) -> None:
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.on_any_outgoing(refuse)
            client.on("vote", lambda: 1)
            socket.emit("x", 1)
            assert await client.receive() == ("x", 1)
            assert await socket.call("vote") == 1
            assert io.stats.handler_errors == 2
        assert "a listener of outgoing events failed" in caplog.text

    @async_test
    async def test_broadcasts_are_told_to_those_alone_who_get_them(self, caplog: pytest.LogCaptureFixture) -> None:
        """By room, exception and call; not to who has left; and one that raises keeps nothing from anybody."""
        io = Server()
        log: list[Any] = []
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            other, other_socket = await pair(io, server)
            await socket.join("room")
            socket.on_any_outgoing(lambda *event: log.append(("one", *event)))
            other_socket.on_any_outgoing(lambda *event: log.append(("other", *event)))
            other_socket.on_any_outgoing(refuse)
            client.on("vote", lambda: 1)
            io.to("room").emit("to", 1)
            io.except_("room").emit("except", 2)
            io.to("nowhere").emit("nowhere")
            socket.broadcast.emit("others", 3)
            socket.volatile.emit("volatile", 4)
            answers = await io.to("room").call("vote")
            assert answers.responses == [1]
            assert log == [
                ("one", "to", 1),
                ("other", "except", 2),
                ("other", "others", 3),
                ("one", "volatile", 4),
                ("one", "vote"),
            ]
            await server.settle()
            assert other.received == [("except", 2), ("others", 3)]
            assert io.stats.handler_errors == 2
            assert "not except" in caplog.text
            await client.disconnect()
            socket.on_any_outgoing(lambda *event: log.append(event))
            await other.disconnect()
            io.emit("afterwards")
            assert len(log) == 5
            assert not outgoing(io.of("/"))
