"""A handler that holds the event loop is named by a thread that watches, with its event and where it is."""

from __future__ import annotations

import asyncio
import functools
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from shoal import Server, Socket
from shoal.handlers.watchdog import Watchdog
from shoal.testing import TestServer

LIMIT = 0.1
HELD = 0.5


def hold() -> None:
    time.sleep(HELD)


def held(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "has held the event loop" in record.getMessage()]


def on_a_real_clock(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[[pytest.LogCaptureFixture], None]:
    @functools.wraps(test)
    def runs(caplog: pytest.LogCaptureFixture) -> None:
        asyncio.run(test(caplog))

    return runs


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """The server's end is the thread's, too."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "shoal-watchdog"] == []


@on_a_real_clock
async def test_each_kind_of_handler_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Plain or async, of clients or of the library: with its event and its lines, and none of ours above them."""
    io = Server(slow_handler=LIMIT)

    @io.use
    def authenticate(socket: Socket) -> None:
        if socket.handshake.auth:
            hold()

    @io.on("plain")
    def plain(socket: Socket) -> None:
        hold()

    @io.on("async")
    async def asynchronous(socket: Socket) -> None:
        await asyncio.sleep(0)
        hold()

    @io.on("disconnect")
    def gone(socket: Socket) -> None:
        hold()

    @io.on("create_room")
    def create_room(room: str) -> None:
        if room == "slow":
            hold()

    @io.on("join")
    def join(socket: Socket) -> None:
        socket.join("slow")

    async with TestServer(io) as server:
        client = await server.connect()
        for event in ("plain", "async", "join"):
            await client.call(event, timeout=30)
        await server.connect(auth={"user": 1})
        await client.disconnect()
        await server.settle()
    found = [re.findall(r"a handler of '(\w+)' .* for 0\.1 s|, in (\w+)$", message, re.M) for message in held(caplog)]
    names = [[first or second for first, second in entry] for entry in found]
    assert names == [
        ["plain", "plain", "hold"],
        ["async", "asynchronous", "hold"],
        ["join", "join", *names[2][2:]],
        ["connect", "authenticate", "hold"],
        ["disconnect", "gone", "hold"],
    ]
    assert names[2][-2:] == ["create_room", "hold"]
    assert all(__file__ in message for message in held(caplog))
    assert "the event loop turns again after 0." in caplog.text


@on_a_real_clock
async def test_what_is_no_handler_is_shown_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """A route of another application, or a task, stops our clients just the same; the same line is told once."""
    io = Server(slow_handler=LIMIT)
    async with TestServer(io):
        for _ in range(2):
            hold()
            await asyncio.sleep(LIMIT)
    [message] = held(caplog)
    assert message.startswith("something has held")
    assert "in hold" in message


@on_a_real_clock
async def test_quick_handlers_and_waiting_ones_are_not(caplog: pytest.LogCaptureFixture) -> None:
    io = Server(slow_handler=10)

    @io.on("wait")
    async def wait(socket: Socket) -> None:
        await asyncio.sleep(0.3)

    async with TestServer(io) as server:
        client = await server.connect()
        await client.call("wait", timeout=30)
    assert held(caplog) == []


@pytest.mark.parametrize(
    ("debug", "option", "watched"), [(True, None, 1), (False, None, 0), (True, 0, 0), (False, 1, 1)]
)
def test_it_watches_in_debug_mode_or_where_it_is_told_to(debug: bool, option: float | None, watched: int) -> None:
    async def main() -> int:
        async with TestServer(Server(slow_handler=option)):
            return sum(thread.name == "shoal-watchdog" for thread in threading.enumerate())

    assert asyncio.run(main(), debug=debug) == watched


def test_a_loop_that_is_closed_without_a_word_ends_it() -> None:
    loop = asyncio.new_event_loop()
    watchdog = Watchdog(loop, 0.01)
    loop.close()
    watchdog._thread.join(10)
    assert not watchdog._thread.is_alive()
    watchdog.stop()
