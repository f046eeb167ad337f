"""What does not wait may be called from any thread, and plain handlers may run in one."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal import ConfigurationError, ConnectionRefused, Engine, Namespace, PayloadError, Server, Socket, event
from shoal.engine.connection import Connection
from shoal.testing import TestServer

WAIT = 20.0


def on_a_real_clock(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """In asyncio's debug mode, in which ``call_soon`` from another thread is an error."""

    @functools.wraps(test)
    def runs() -> None:
        asyncio.run(test(), debug=True)

    return runs


def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    return asyncio.to_thread(function, *args)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.01)


@on_a_real_clock
async def test_emits_of_one_thread_come_in_its_order() -> None:
    """Whatever the way that they take, and while other threads and the loop itself emit."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        [socket] = io.sockets.values()
        [remote] = await io.fetch_sockets()

        def emit(name: str) -> None:
            emits = [io.emit, io.to(socket.id).emit, socket.emit, remote.emit, io.of("/").emit, io.local.emit]
            for number in range(300):
                emits[number % len(emits)]("x", name, number)

        threads = [in_thread(emit, name) for name in ("a", "b", "c")]
        for number in range(300):
            io.emit("x", "loop", number)
            await asyncio.sleep(0)
        await asyncio.gather(*threads)
        await until(lambda: len(client.received) == 1200)
        for name in ("a", "b", "c", "loop"):
            assert [entry[2] for entry in client.received if entry[1] == name] == list(range(300))


@on_a_real_clock
async def test_an_event_that_cannot_be_sent_is_an_error_where_it_was_emitted() -> None:
    """And not in the loop, where nobody would see it; what is changed after the emit is not sent changed."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        [socket] = io.sockets.values()

        def emit() -> None:
            for sender in (io, io.to("x"), socket):
                with pytest.raises(PayloadError):
                    sender.emit("x", object())
            message = {"text": "as it was"}
            held = threading.Event()
            io.engine.context.home.move(held.wait, WAIT)  # the loop does nothing until the text is another one
            io.emit("x", message, b"1")
            socket.emit("y", message, memoryview(b"2"))
            message["text"] = "changed"
            held.set()

        await in_thread(emit)
        await until(lambda: len(client.received) == 2)
        assert client.received[0] == ("x", {"text": "as it was"}, b"1")


@on_a_real_clock
async def test_rooms_and_departures_from_a_thread() -> None:
    io = Server()
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))
    async with TestServer(io) as server:
        client = await server.connect()
        [socket] = io.sockets.values()
        await in_thread(socket.join, "a", "b")
        await in_thread(socket.leave, "a")
        await until(lambda: socket.rooms == {socket.id, "b"})
        await in_thread(io.to("b").emit, "hello")
        await until(lambda: client.received == [("hello",)])
        await in_thread(socket.disconnect)
        await until(lambda: reasons == ["server namespace disconnect"])


@on_a_real_clock
async def test_a_session_of_an_engine_from_a_thread() -> None:
    engine, sessions = Engine(), list[Connection]()
    engine.on("connect")(sessions.append)
    async with TestServer(engine, path="/engine.io/") as server:
        connection = await server.open()
        await until(lambda: bool(sessions))
        await in_thread(lambda: [sessions[0].send(str(number)) for number in range(100)])
        assert [await connection.receive() for _ in range(100)] == [f"4{number}" for number in range(100)]
        await in_thread(sessions[0].close)
        await until(lambda: not connection.open)


def test_a_call_that_fails_on_its_way_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A room too many: the thread that asked has gone on."""

    async def main() -> None:
        io = Server(max_rooms=1)
        async with TestServer(io) as server:
            await server.connect()
            [socket] = io.sockets.values()
            await in_thread(socket.join, "a", "b")
            await until(lambda: "a call from another thread failed" in caplog.text)

    asyncio.run(main())
    assert "RoomRefused" in caplog.text


def test_before_and_after_a_loop_nothing_happens() -> None:
    """There is nobody to emit to, and no error."""
    io = Server()

    async def main() -> None:
        async with TestServer(io) as server:
            await server.connect()

    for _ in range(2):
        thread = threading.Thread(target=io.emit, args=("x",))
        thread.start()
        thread.join(WAIT)
        asyncio.run(main())
    io.emit("x")


# ---- handlers in threads


@on_a_real_clock
async def test_a_handler_in_a_thread_is_ordered_like_any_other() -> None:
    """One client's events come one at a time, what it emits comes before its answer, and the loop turns meanwhile."""
    io = Server()
    names: set[str] = set()
    seen: list[Any] = []

    @io.on("slow", thread=True)
    def slow(socket: Socket, number: int) -> int:
        names.add(threading.current_thread().name)
        socket.emit("begun", number)
        time.sleep(0.1 if number == 0 else 0)
        seen.append(number)
        socket.join(f"room {number}")
        socket.emit("ended", number)
        return number * 2

    @io.on("quick")
    def quick(socket: Socket) -> None:
        seen.append("quick")

    async with TestServer(io) as server:
        client, other = await server.connect(), await server.connect()
        for number in range(3):
            await client.emit("slow", number)
        await client.emit("quick")
        await other.emit("quick")
        await until(lambda: len(seen) == 5)
        assert seen == ["quick", 0, 1, 2, "quick"]
        assert await client.call("slow", 7, timeout=WAIT) == 14
        assert client.received == [(name, number) for number in (0, 1, 2, 7) for name in ("begun", "ended")]
        assert all(name.startswith("shoal-handler") for name in names)
        [socket] = [socket for socket in io.sockets.values() if socket.id == client.id]
        assert {f"room {number}" for number in (0, 1, 2, 7)} < socket.rooms
    await until(lambda: not any(thread.name.startswith("shoal-handler") for thread in threading.enumerate()))


@on_a_real_clock
async def test_it_connects_refuses_and_fails_like_any_other() -> None:
    io = Server()
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    @io.on("connect", thread=True)
    def connect(socket: Socket) -> None:
        if not socket.handshake.auth:
            raise ConnectionRefused("who are you?")
        user.set("somebody")

    @io.on("fails", thread=True)
    def fails(socket: Socket) -> None:
        raise ValueError(user.get())

    @io.on("user", thread=True)
    def whose(socket: Socket) -> str:
        return user.get()

    class Chat(Namespace):
        @event("chat-message", thread=True)
        def chat_message(self, socket: Socket, text: str) -> str:
            return text + threading.current_thread().name[:5]

    io.of("/chat", Chat)
    async with TestServer(io) as server:
        with pytest.raises(ConnectionRefused, match="who are you"):
            await server.connect()
        client = await server.connect(auth={"user": 1})
        await client.emit("fails")
        assert await client.call("user", timeout=WAIT) == "nobody"  # what one handler sets is not for the next
        assert io.stats.handler_errors == 1
        chat = await server.connect("/chat")
        assert await chat.call("chat-message", "in ", timeout=WAIT) == "in shoal"


@on_a_real_clock
async def test_the_pool_is_bounded() -> None:
    """Beyond ``handler_threads`` the others wait."""
    io = Server(handler_threads=2)
    at_work, most, lock = 0, 0, threading.Lock()

    @io.on("x", thread=True)
    def work(socket: Socket) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        with lock:
            at_work -= 1

    async with TestServer(io) as server:
        clients = [await server.connect() for _ in range(6)]
        await asyncio.gather(*[client.call("x", timeout=WAIT) for client in clients])
    assert most == 2


def test_it_is_for_plain_functions_and_can_be_forgotten() -> None:
    io = Server()

    async def asynchronous(socket: Socket) -> None: ...

    def plain(socket: Socket) -> None: ...

    with pytest.raises(ConfigurationError, match="thread=True is for plain functions"):
        io.on("x", thread=True)(asynchronous)
    assert io.on("x", thread=True)(plain) is plain
    io.off("x", plain)
    assert not io._root._handlers.incoming.events
    with pytest.raises(ConfigurationError, match=r"it is called as <lambda>\(socket\)"):
        io.on("connect", thread=True)(lambda: None)
    with pytest.raises(ConfigurationError, match="handler_threads"):
        Server(handler_threads=0)
