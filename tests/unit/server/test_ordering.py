"""The ordering contract: one socket's events one at a time and in order; acknowledgements bypass the queue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fuzz import examples

from shoal import AckTimeout, ConnectionRefused, Server, Socket
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


@async_test
async def test_who_leaves_and_comes_again_is_seen_to_leave_first() -> None:
    """Whatever others' handlers wait for: first the disconnect handler is called, then the connect handler."""
    io = Server()
    log: list[str] = []

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        log.append("connect")
        await asyncio.sleep(0.1)

    io.on("disconnect")(lambda socket: log.append("disconnect"))

    @io.on("slow")
    async def slow(socket: Socket) -> None:
        await asyncio.sleep(1)

    async with TestServer(io) as server:
        client, other = await server.connect(), await server.connect()
        log.clear()
        other.send("slow")
        client.connection.send("41")
        client.connection.send("40")
        await server.settle()
        assert log == ["disconnect", "connect"]


@async_test
async def test_a_handler_that_is_cancelled_alone_does_not_end_its_socket() -> None:
    """By the application, that is: the events behind it are handled, and then the disconnect handlers."""
    io = Server()
    log: list[str] = []
    tasks: list[Any] = []

    @io.on("long")
    async def long(socket: Socket) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(100)

    io.on("next")(lambda socket: log.append("next"))
    io.on("disconnect")(lambda socket: log.append("disconnect"))
    async with TestServer(io) as server:
        client = await server.connect()
        for waits in (True, False):
            client.send("long")
            if waits:
                client.send("next")
            await server.settle()
            tasks.pop().cancel()
            await server.settle()
            client.send("next")
            await server.settle()
        assert log == ["next"] * 3
        client.connection.drop()
        await server.settle()
        assert log == ["next"] * 3 + ["disconnect"]


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
    async def test_a_socket_does_not_read_on_for_another_one_of_its_connection(self) -> None:
        """One namespace takes events again, while in another as many wait as may."""
        io = Server(max_waiting_events=8)
        gate = asyncio.Event()
        handled: list[int] = []

        @io.on("stuck")
        async def stuck(socket: Socket, number: int) -> None:
            await gate.wait()
            handled.append(number)

        @io.of("/other").on("slow")
        async def slow(socket: Socket) -> None:
            await asyncio.sleep(1)

        async with TestServer(io) as server:
            client = await server.connect()
            other = await client.enter("/other")
            socket = io.sockets[client.id]
            for _ in range(7):
                other.send("slow")
            for number in range(30):
                client.send("stuck", number)
                if number >= 8:
                    for _ in range(5):
                        other.send("slow")
            for _ in range(60):
                await server.clock.advance(1)
                assert len(socket._waiting or ()) <= 8
            gate.set()
            await server.clock.advance(200)
            assert handled == list(range(30))
            assert not socket.conn.paused

    @pytest.mark.parametrize("end", ["refused", "left in middleware", "disconnected"])
    def test_reading_goes_on_when_the_events_that_wait_are_dropped(self, end: str) -> None:
        """The connection outlives the socket: it may connect again."""

        @async_test
        async def check() -> None:
            io = Server(max_waiting_events=4)
            gate = asyncio.Event()

            @io.use
            async def middleware(socket: Socket) -> None:
                if end != "disconnected" and not gate.is_set():
                    await gate.wait()
                    if end == "refused":
                        raise ConnectionRefused
                    await socket.disconnect()

            io.on("slow")(lambda socket: gate.wait())
            async with TestServer(io) as server:
                connection = await server.open()
                [session] = io.engine.sessions.values()
                connection.send("40")
                await server.settle()
                for _ in range(5 if end == "disconnected" else 4):
                    connection.send('42["slow"]')
                await server.settle()
                assert session.paused
                for socket in io.sockets.values():
                    await socket.disconnect()
                gate.set()
                await server.settle()
                assert not session.paused
                connection.send("40")
                await server.settle()
                assert len(io.sockets) == 1

        check()

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
