"""The test clock: time passes only when nothing else can happen, in order, and a test cannot hang on it."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from shoal.testing import Clock, ClockLoop, async_test, run


def test_an_hour_takes_no_time() -> None:
    """Sleeping moves the loop's time by exactly what was asked for, and nobody waits."""

    async def main() -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(3_000)
        return asyncio.get_running_loop().time() - began

    began = time.monotonic()
    assert run(main()) == pytest.approx(3_000)
    assert time.monotonic() - began < 5


@async_test
async def test_time_stands_still_while_anything_can_run() -> None:
    """A thousand turns of the loop take no time."""
    clock = Clock.running()
    began = clock.now
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert clock.now == began


@async_test
async def test_timers_fire_in_the_order_of_their_deadlines() -> None:
    """Sleepers wake one after another, each at its own time, whoever began first."""
    clock = Clock.running()
    began, woke = clock.now, []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woke.append((seconds, clock.now - began))

    await asyncio.gather(*map(sleeper, [3, 1, 2.5, 2]))
    assert woke == [(1, pytest.approx(1)), (2, pytest.approx(2)), (2.5, pytest.approx(2.5)), (3, pytest.approx(3))]


@async_test
async def test_advance_lets_everything_happen_that_is_due() -> None:
    """After advance, what was due has run to its end; what is due later has not begun."""
    clock = Clock.running()
    done: list[str] = []

    async def later(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await asyncio.sleep(0)
        done.append(name)

    tasks = [asyncio.create_task(later("early", 9.99)), asyncio.create_task(later("late", 10.01))]
    await clock.advance(10)
    assert done == ["early"]
    await clock.advance(10)
    assert done == ["early", "late"]
    await asyncio.gather(*tasks)


@async_test
async def test_settle_waits_for_chains_of_tasks_but_lets_no_time_pass() -> None:
    """Everything that can happen without time has happened, however many turns it took."""
    clock = Clock.running()
    began, steps = clock.now, 0

    async def chain() -> None:
        nonlocal steps
        for _ in range(50):
            await asyncio.sleep(0)
            steps += 1
        await asyncio.sleep(1)
        steps += 1_000

    task = asyncio.create_task(chain())
    await clock.settle()
    assert steps == 50
    assert clock.now == began
    await task


@async_test
async def test_several_can_wait_until_it_is_idle() -> None:
    """All who settle are woken."""
    clock = Clock.running()
    await asyncio.gather(clock.settle(), clock.settle(), clock.settle())


@async_test
async def test_a_restless_loop_is_an_error_not_a_hang() -> None:
    """settle() gives up on tasks that give way without end."""
    clock = Clock.running()

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    task = asyncio.create_task(spin())
    with pytest.raises(RuntimeError, match="was never idle"):
        await clock.settle()
    task.cancel()


def test_waiting_for_nothing_is_a_deadlock() -> None:
    """Where no timer is set and every task waits, the test ends with an error that says so."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    loop = ClockLoop()
    task = loop.create_task(main())
    with pytest.raises(RuntimeError, match="deadlock"):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def test_a_test_that_never_ends_is_cut_off() -> None:
    """The limit counts in the loop's time, and its error says what happened."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"did not end within 60 s"):
        run(main(), limit=60)


def test_a_timeout_of_the_test_itself_is_passed_on() -> None:
    """Only the limit is reworded."""

    async def main() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        run(main())


@async_test
async def test_a_thread_is_waited_for_in_real_time() -> None:
    """While a thread works, timeouts do not jump: its result comes first."""
    go = threading.Event()
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(asyncio.to_thread(go.wait, 30))
    threading.Timer(0.05, go.set).start()
    assert await asyncio.wait_for(work, 20) is True
    assert loop.time() < 1_020


@async_test
async def test_settle_waits_for_a_thread() -> None:
    """A thread's work needs no time of the loop, so the loop is not idle before it is done."""
    done: list[int] = []
    task = asyncio.create_task(asyncio.to_thread(lambda: (time.sleep(0.02), done.append(1))))
    await Clock.running().settle()
    assert done == [1]
    await task


@async_test
async def test_file_descriptors_are_waited_for_in_real_time() -> None:
    """A pipe that another thread writes to is read before a timeout of the loop's time ends."""
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    loop.add_reader(reading, lambda: arrived.done() or arrived.set_result(os.read(reading, 1)))
    threading.Timer(0.05, os.write, (writing, b"x")).start()
    try:
        assert await asyncio.wait_for(arrived, 20) == b"x"
    finally:
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)


def test_a_real_loop_has_no_clock() -> None:
    """Asking for the clock of a real loop says what to do."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"shoal\.testing\.run"):
            Clock.running()

    asyncio.run(main())


def test_the_decorator_keeps_name_and_arguments() -> None:
    """A test runner sees a plain function with the name, and the parameters, of the async one."""

    @async_test
    async def add(one: int, other: int = 2) -> int:
        return one + other

    assert add.__name__ == "add"
    assert add(1) == 3
    assert add(1, other=5) == 6
