"""Acknowledgements, both ways: what a handler returns, and what a client answers to a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal import NO_ACK, AckTimeout, NotConnected, Server, Socket
from shoal.testing import TestServer, async_test


class TestAcks:
    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize(
        ("result", "answer"),
        [
            (None, None),
            (1, 1),
            ((1, 2), (1, 2)),
            ((), None),
            ((1,), 1),
            ([1, 2], [1, 2]),
            ({"a": b"x"}, {"a": b"x"}),
            (False, False),
            ((None, None), (None, None)),
        ],
    )
    def test_what_a_handler_returns_is_the_ack(self, is_async: bool, result: Any, answer: Any) -> None:
        """None acks with no argument, a tuple with several, anything else with one."""

        @async_test
        async def check() -> None:
            io = Server()

            async def later(socket: Socket) -> Any:
                return result

            handler: Callable[..., Any] = later if is_async else (lambda socket: result)
            io.on("x")(handler)
            async with TestServer(io) as server:
                client = await server.connect()
                assert await client.call("x") == answer
                await client.emit("x")
                assert client.received == []

        check()

    @async_test
    async def test_what_the_coroutine_of_a_plain_function_returns_is_the_ack(self) -> None:
        """A lambda may return one; the next event waits for it."""
        io = Server()
        log: list[float] = []

        async def later(seconds: float) -> float:
            await asyncio.sleep(seconds)
            log.append(seconds)
            return seconds

        io.on("x")(lambda socket, seconds: later(seconds))
        async with TestServer(io) as server:
            client = await server.connect()
            answers = await asyncio.gather(client.call("x", 2), client.call("x", 1))
            assert (answers, log) == ([2, 1], [2, 1])

    @async_test
    async def test_no_ack_sends_none(self) -> None:
        io = Server()
        io.on("x")(lambda socket: NO_ACK)

        @io.on("y")
        async def y(socket: Socket) -> Any:
            return NO_ACK

        async with TestServer(io) as server:
            client = await server.connect()
            for event in ("x", "y"):
                with pytest.raises(AckTimeout):
                    await client.call(event, timeout=1)
        assert repr(NO_ACK) == "NO_ACK"

    @async_test
    async def test_of_several_handlers_the_first_answers(self) -> None:
        """One acknowledgement for one event."""
        io = Server()
        calls: list[int] = []
        io.on("x")(lambda socket: calls.append(1) or "first")
        io.on("x")(lambda socket: calls.append(2) or "second")
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await connection.receive()
            connection.send('425["x"]')
            assert await connection.receive() == '435["first"]'
            with pytest.raises(TimeoutError):
                await connection.receive(timeout=1)
        assert calls == [1, 2]

    @async_test
    async def test_an_unsendable_result_is_the_handlers_error(self) -> None:
        """The client waits in vain, but goes on."""
        io = Server()
        io.on("bad")(lambda socket: object())
        io.on("good")(lambda socket: 1)
        async with TestServer(io) as server:
            client = await server.connect()
            with pytest.raises(AckTimeout):
                await client.call("bad", timeout=1)
            assert await client.call("good") == 1
            assert io.stats.handler_errors == 1


class TestCalls:
    @async_test
    async def test_a_client_that_does_not_answer_is_an_ack_timeout(self) -> None:
        """With the event and the seconds in it; a late answer is ignored."""
        io = Server()
        async with TestServer(io) as server:
            client = await server.connect()
            with pytest.raises(AckTimeout, match="'question' within 2 s"):
                await io.sockets[client.id].call("question", timeout=2)
            event = await client.receive()
            assert event.ack is not None
            event.ack("late")
            await server.settle()
            assert client.connected

    @async_test
    async def test_a_client_that_leaves_ends_the_calls(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client = await server.connect()
            call = asyncio.create_task(io.sockets[client.id].call("question", timeout=100))
            await server.settle()
            await client.disconnect()
            with pytest.raises(NotConnected):
                await call

    @async_test
    async def test_who_is_not_connected_cannot_be_asked(self) -> None:
        """Before acceptance, since it would not answer; and after it has left."""
        io = Server()
        errors: list[Exception] = []

        @io.on("connect")
        async def connect(socket: Socket) -> None:
            try:
                await socket.call("question")
            except NotConnected as error:
                errors.append(error)

        async with TestServer(io) as server:
            client = await server.connect()
            socket = io.sockets[client.id]
            await client.disconnect()
            with pytest.raises(NotConnected):
                await socket.call("question")
        assert len(errors) == 1

    @async_test
    async def test_answers_to_nothing_are_ignored(self) -> None:
        """Unknown ids, ids that were answered, no id at all."""
        io = Server()
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await connection.receive()
            call = asyncio.create_task(next(iter(io.sockets.values())).call("q"))
            assert await connection.receive() == '420["q"]'
            for packet in ("4399[1]", "43[1]", '430["yes"]', "430[2]"):
                connection.send(packet)
            assert await call == "yes"
            await server.settle()
            assert connection.open

    @async_test
    async def test_a_timeout_of_the_caller_is_its_own(self) -> None:
        """asyncio.timeout around a call raises TimeoutError, not AckTimeout."""
        io = Server()
        async with TestServer(io) as server:
            client = await server.connect()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await io.sockets[client.id].call("question", timeout=10)
