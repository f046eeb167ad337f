"""Signals that a server handles are heard on their way, and given back at the end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from shoal.engine.stop_sign import AGAIN, StopSign
from shoal.testing import Clock, async_test

Seen = list[int]


@pytest.fixture
def server() -> Iterator[Seen]:
    """A server's handlers of both signals, and what they saw."""
    seen: Seen = []

    def handle(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    yield seen
    for number, handler in before.items():
        assert signal.getsignal(number) is handle
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_and_passed_on(server: Seen, number: int) -> None:
    """Again and again, for those who come before the server has closed its ears; then the handler is the server's."""

    @async_test
    async def check() -> None:
        told: list[int] = []
        sign = StopSign(lambda: told.append(1))
        sign.watch()
        signal.raise_signal(number)
        assert server == [number]
        await Clock.running().advance(AGAIN / 2)
        assert len(told) == 1
        signal.raise_signal(number)
        await Clock.running().advance(AGAIN * 3)
        assert len(told) == 4
        await Clock.running().advance(1_000)
        assert len(told) == 100
        sign.forget()

    check()


def test_without_a_signal_nothing_happens(server: Seen) -> None:
    @async_test
    async def check() -> None:
        told: list[int] = []
        sign = StopSign(lambda: told.append(1))
        sign.watch()
        await Clock.running().advance(100)
        sign.forget()
        signal.raise_signal(signal.SIGTERM)
        await Clock.running().advance(100)
        assert told == []
        assert server == [signal.SIGTERM]

    check()


def test_two_of_them_end_in_any_order(server: Seen) -> None:
    """Two servers in one process: each signal comes to the handler once, whoever is still there."""

    @async_test
    async def check() -> None:
        told: list[str] = []
        first, second = StopSign(lambda: told.append("first")), StopSign(lambda: told.append("second"))
        first.watch()
        second.watch()
        first.forget()
        signal.raise_signal(signal.SIGTERM)
        await Clock.running().advance(AGAIN / 2)
        assert told == ["second"]
        assert server == [signal.SIGTERM]
        second.forget()
        first.forget()

    check()


def test_where_no_server_handles_signals_none_is_taken() -> None:
    """Ctrl-C stays what it is, on asyncio's own runner too."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    async def main() -> dict[int, Any]:
        at_first = signal.getsignal(signal.SIGINT)
        sign = StopSign(lambda: None)
        sign.watch()
        assert signal.getsignal(signal.SIGINT) is at_first
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
        sign.forget()
        return {}

    asyncio.run(main())
    assert {number: signal.getsignal(number) for number in before} == before


def test_in_another_thread_none_is_taken(server: Seen) -> None:
    async def main() -> None:
        sign = StopSign(lambda: None)
        sign.watch()
        sign.forget()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(10)
    signal.raise_signal(signal.SIGTERM)
    assert server == [signal.SIGTERM]


def test_a_loop_that_is_gone_does_not_stop_the_signal(server: Seen) -> None:
    async def main() -> StopSign:
        sign = StopSign(lambda: None)
        sign.watch()
        return sign

    sign = asyncio.run(main())
    signal.raise_signal(signal.SIGTERM)
    assert server == [signal.SIGTERM]
    sign.forget()


@async_test
async def test_a_server_that_tells_by_its_send_is_heard() -> None:
    """As Hypercorn does; other objects are not asked for long."""
    ended, told = asyncio.Event(), list[int]()

    class Stream:
        class context:
            terminated = ended

        async def send(self, message: Any) -> None: ...

    sign = StopSign(lambda: told.append(1))
    sign.watch()
    others: list[Callable[..., Any]] = [print, Stream.send, lambda message: None]
    for send in others:
        sign.listen(send)
    sign.listen(Stream().send)
    await Clock.running().advance(1)
    assert told == []
    ended.set()
    await Clock.running().advance(AGAIN / 2)
    assert told == [1]
    sign.forget()
