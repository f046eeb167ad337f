"""The ordering contract: one socket's events one at a time and in order; acknowledgements bypass the line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fuzz import examples

from shoal import NO_ACK, AckTimeout, NotConnected, Server, Socket
from shoal.testing import TestServer, async_test, run


@settings(max_examples=examples(40))
@given(st.lists(st.sampled_from([0.0, 0.0, 0.1, 1.0, -1.0]), max_size=12), st.integers(1, 6))
def test_events_are_handled_one_at_a_time_in_order(delays: list[float], burst: int) -> None:
    """Plain handlers, quick and slow coroutines and those that raise, mixed at will; acks come in that order too."""

    async def main() -> None:
        io = Server()
        log: list[tuple[str, int]] = []

        def plain(socket: Socket, number: int, delay: float) -> int:
            log.append(("begin", number))
            log.append(("end", number))
            if delay < 0:
                raise ValueError
            return number

        async def slow(socket: Socket, number: int, delay: float) -> int:
            log.append(("begin", number))
            if delay > 0:
                await asyncio.sleep(delay)
            log.append(("end", number))
            return number

        io.on("plain")(plain)
        io.on("slow")(slow)
        async with TestServer(io) as server:
            client = await server.connect()
            answers: list[Any] = []
            for number, delay in enumerate(delays):
                client.send("slow" if number % 3 else "plain", number, delay)
                if number % burst == 0:
                    await asyncio.sleep(0)
            await server.clock.advance(60)
            answers.append(await client.call("slow", len(delays), 0.0))
            assert answers == [len(delays)]
        expected = [(what, number) for number in range(len(delays) + 1) for what in ("begin", "end")]
        assert log == expected

    run(main())


@async_test
async def test_different_sockets_do_not_wait_for_each_other() -> None:
    io = Server()

    @io.on("wait")
    async def wait(socket: Socket, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async with TestServer(io) as server:
        slow, quick = await server.connect(), await server.connect()
        call = asyncio.create_task(slow.call("wait", 100, timeout=200))
        await server.settle()
        assert await quick.call("wait", 1) == 1
        assert not call.done()
        assert await call == 100


@async_test
async def test_a_handler_may_ask_its_own_client() -> None:
    """The answer does not wait in the line behind the event that asks."""
    io = Server()

    @io.on("ask me")
    async def ask(socket: Socket) -> Any:
        return "you said", await socket.call("question")

    async with TestServer(io) as server:
        client = await server.connect()
        client.on("question", lambda: 42)
        client.send("unknown")
        assert await client.call("ask me") == ("you said", 42)


@async_test
async def test_a_concurrent_handler_holds_nothing_up() -> None:
    """The next event is handled meanwhile; what it returns is the ack all the same."""
    io = Server()
    log: list[str] = []

    @io.on("long", concurrent=True)
    async def long(socket: Socket) -> str:
        log.append("long begins")
        await asyncio.sleep(10)
        log.append("long ends")
        return "done"

    io.on("short")(lambda socket: log.append("short"))
    async with TestServer(io) as server:
        client = await server.connect()
        call = asyncio.create_task(client.call("long", timeout=60))
        await server.settle()
        await client.emit("short")
        assert log == ["long begins", "short"]
        assert await call == "done"


@async_test
async def test_concurrent_handlers_are_bounded() -> None:
    """Beyond max_waiting_events of them the next one holds the line, so that reading pauses in the end."""
    io = Server(max_waiting_events=3)
    running = most = 0

    @io.on("long", concurrent=True)
    async def long(socket: Socket) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    async with TestServer(io) as server:
        client = await server.connect()
        for _ in range(20):
            client.send("long")
        await server.settle()
        assert most == 4
        await server.clock.advance(30)
        assert (running, most) == (0, 4)


class TestLeaving:
    @async_test
    async def test_the_disconnect_handler_comes_behind_the_events_that_wait(self) -> None:
        io = Server()
        log: list[Any] = []

        @io.on("slow")
        async def slow(socket: Socket, number: int) -> None:
            await asyncio.sleep(1)
            log.append(number)

        io.on("disconnect")(lambda socket, reason: log.append(reason))
        async with TestServer(io) as server:
            client = await server.connect()
            for number in range(3):
                client.send("slow", number)
            await client.disconnect()
            assert io.sockets == {}
            await server.clock.advance(10)
            assert log == [0, 1, 2, "client namespace disconnect"]

    @async_test
    async def test_of_one_that_is_sent_away_nothing_more_is_handled(self) -> None:
        """As in Node: only the handler that runs ends, then the disconnect handler."""
        io = Server()
        log: list[Any] = []

        @io.on("slow")
        async def slow(socket: Socket, number: int) -> None:
            log.append(number)
            await asyncio.sleep(1)
            log.append("end")

        io.on("disconnect")(lambda socket, reason: log.append(reason))
        async with TestServer(io) as server:
            client = await server.connect()
            for number in range(3):
                client.send("slow", number)
            await server.settle()
            await io.sockets[client.id].disconnect()
            await server.clock.advance(10)
            assert log == [0, "end", "server namespace disconnect"]

    @async_test
    async def test_rooms_are_there_while_disconnecting_and_gone_at_disconnect(self) -> None:
        """As Node has it. Both get the reason, if they take one."""
        io = Server()
        log: list[Any] = []

        @io.on("disconnecting")
        def leaving(socket: Socket, reason: str) -> None:
            log.append(("disconnecting", reason, socket.rooms == {socket.id, "a", "b"}))

        @io.on("disconnect")
        async def gone(socket: Socket) -> None:
            log.append(("disconnect", socket.rooms, socket.connected))

        async with TestServer(io) as server:
            client = await server.connect()
            socket = io.sockets[client.id]
            await socket.join("a", "b")
            client.connection.drop()
            await server.settle()
        assert log == [("disconnecting", "transport close", True), ("disconnect", set(), False)]

    @async_test
    async def test_a_failing_disconnect_handler_hurts_no_other(self) -> None:
        io = Server()
        log: list[str] = []
        io.on("disconnecting")(lambda socket: 1 / 0)
        io.on("disconnect")(lambda socket: log.append("gone"))
        async with TestServer(io) as server:
            client = await server.connect()
            await client.disconnect()
            assert log == ["gone"]
            assert io.stats.handler_errors == 1

    @async_test
    async def test_it_is_told_once(self) -> None:
        """However many things end a connection at the same time."""
        io = Server()
        log: list[str] = []
        io.on("disconnect")(lambda socket, reason: log.append(reason))
        async with TestServer(io) as server:
            client = await server.connect()
            socket = io.sockets[client.id]
            client.connection.drop()
            await socket.disconnect()
            await socket.disconnect(close=True)
            socket.conn.close()
            await server.settle()
        assert log == ["server namespace disconnect"]


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


class TestErrors:
    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_handler_that_raises_hurts_nobody(self, is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
        """Not its client's next event, nor another client. Logged with the event and the socket's id."""

        @async_test
        async def check() -> None:
            io = Server()

            def broken(socket: Socket) -> None:
                raise ZeroDivisionError("oops")

            async def broken_later(socket: Socket) -> None:
                await asyncio.sleep(0.1)
                raise ZeroDivisionError("oops")

            io.on("broken")(broken_later if is_async else broken)
            io.on("fine")(lambda socket: "fine")
            async with TestServer(io) as server:
                client, other = await server.connect(), await server.connect()
                client.send("broken")
                client.send("broken")
                assert await client.call("fine") == "fine"
                assert await other.call("fine") == "fine"
                assert io.stats.handler_errors == 2
                assert client.id in caplog.text
                assert "'broken'" in caplog.text
                assert "ZeroDivisionError: oops" in caplog.text

        check()

    @async_test
    async def test_one_that_awaits_something_cancelled_goes_on(self) -> None:
        """The socket's line does not stand still for ever."""
        io = Server()

        @io.on("cancelled")
        async def cancelled(socket: Socket) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        io.on("fine")(lambda socket: "fine")
        async with TestServer(io) as server:
            client = await server.connect()
            client.send("cancelled")
            assert await client.call("fine") == "fine"
            assert io.stats.handler_errors == 1

    @async_test
    async def test_a_concurrent_one_that_raises_is_counted_too(self) -> None:
        io = Server()

        @io.on("x", concurrent=True)
        async def x(socket: Socket) -> None:
            raise ZeroDivisionError

        async with TestServer(io) as server:
            client = await server.connect()
            await client.emit("x")
            assert io.stats.handler_errors == 1


class TestBackPressure:
    @async_test
    async def test_reading_pauses_at_the_bound_and_goes_on_at_half_of_it(self) -> None:
        """Nothing is lost; the pause is felt by the connection, not by others."""
        io = Server(max_waiting_events=8)
        handled: list[int] = []
        waiting: list[int] = []

        @io.on("slow")
        async def slow(socket: Socket, number: int) -> None:
            await asyncio.sleep(1)
            handled.append(number)

        io.on("quick")(lambda socket: "quick")
        async with TestServer(io) as server:
            client, other = await server.connect(), await server.connect()
            session = io.sockets[client.id].conn
            for number in range(50):
                client.send("slow", number)
            await server.settle()
            assert session.paused
            for _ in range(60):
                waiting.append(len(io.sockets[client.id]._waiting or ()))
                await server.clock.advance(1)
                assert await other.call("quick") == "quick"
            assert handled == list(range(50))
            assert max(waiting) <= 8
            assert not session.paused

    @async_test
    async def test_an_answer_that_was_not_read_is_a_timeout_of_that_call_only(self) -> None:
        """While reading is paused, acks of that client wait too; its calls end by their own timeouts."""
        io = Server(max_waiting_events=2)
        results: list[str] = []

        @io.on("ask")
        async def ask(socket: Socket) -> None:
            try:
                results.append(await socket.call("question", timeout=2))
            except AckTimeout:
                results.append("timeout")

        async with TestServer(io) as server:
            client = await server.connect()
            client.on("question", lambda: "answer")
            for _ in range(4):
                client.send("ask")
            await server.clock.advance(30)
            assert len(results) == 4


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
