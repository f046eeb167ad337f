"""Runners: many coroutines in few tasks, and each of them cannot tell the difference."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fuzz import examples

from shoal.handlers.runners import AT_ONCE, MAX_IDLE, Runners
from shoal.testing import Clock, async_test, run

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


@settings(max_examples=examples(80))
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.0, 1.0]), st.booleans()), max_size=25))
def test_every_job_runs_once_begins_in_order_and_holds_up_no_other(jobs: list[tuple[int, float, bool]]) -> None:
    """Jobs that give way, that wait, that raise, submitted in bursts. Those that need no time end without any."""

    async def main() -> None:
        runners, clock = Runners(), Clock.running()
        begun: list[int] = []
        ended: dict[int, float] = {}
        start = clock.now

        async def job(number: int, turns: int, seconds: float, fails: bool) -> None:
            begun.append(number)
            task = asyncio.current_task()
            for _ in range(turns):
                await asyncio.sleep(0)
            if seconds:
                await asyncio.sleep(seconds)
            assert asyncio.current_task() is task
            ended[number] = clock.now - start
            if fails:
                raise ValueError

        for number, (turns, seconds, fails) in enumerate(jobs):
            runners.submit(job(number, turns, seconds, fails))
            if number % 4 == 3:
                await asyncio.sleep(0)
        await clock.settle()
        assert begun == list(range(len(jobs)))
        quick = {number for number, (_, seconds, _) in enumerate(jobs) if not seconds}
        assert {number for number, when in ended.items() if when == 0} >= quick
        await clock.advance(2)
        assert sorted(ended) == list(range(len(jobs)))
        assert len(runners) == 0
        await runners.close()

    run(main())


@settings(max_examples=examples(80))
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200), st.integers(1, 90))
def test_every_job_runs_once_in_a_task_to_itself(jobs: list[tuple[int, bool]], burst: int) -> None:
    """Some wait, some set a context variable. None is lost, none sees another's value, and they begin in order."""

    async def main() -> None:
        runners, clock = Runners(), Clock.running()
        begun: list[int] = []
        ended: list[int] = []
        at_work: set[Any] = set()

        async def job(number: int, turns: int, sets: bool) -> None:
            begun.append(number)
            assert name.get() == "nobody"
            task = asyncio.current_task()
            assert task not in at_work
            at_work.add(task)
            if sets:
                name.set("somebody")
            for _ in range(turns):
                await asyncio.sleep(0)
            assert asyncio.current_task() is task
            assert name.get() == ("somebody" if sets else "nobody")
            at_work.discard(task)
            ended.append(number)

        for number, (turns, sets) in enumerate(jobs):
            runners.submit(job(number, turns, sets))
            if number % burst == 0:
                await asyncio.sleep(0)
        await clock.settle()
        assert begun == list(range(len(jobs)))
        assert sorted(ended) == begun
        assert len(runners) == 0
        await runners.close()

    run(main())


@async_test
async def test_those_that_wait_do_not_hold_up_a_burst() -> None:
    """It begins in the next turn of the loop, whoever waits: up to a bound, and the rest in the turn after that."""
    runners, clock = Runners(), Clock.running()
    begun: list[int] = []
    wanted = list(range(AT_ONCE + 10))

    async def waits(number: int) -> None:
        begun.append(number)
        await asyncio.sleep(1)

    for turns in (2, 1):  # new runners begin a turn later than idle ones
        begun.clear()
        for number in wanted:
            runners.submit(waits(number))
        for _ in range(turns):
            assert begun == []
            await asyncio.sleep(0)
        assert begun[:AT_ONCE] == wanted[:AT_ONCE]
        assert len(begun) == AT_ONCE
        for _ in range(turns):
            await asyncio.sleep(0)
        assert begun == wanted
        await clock.advance(2)
    await runners.close()


@async_test
async def test_those_that_do_not_wait_all_run_in_one_turn() -> None:
    """What they emit is written once: as many events as a turn brings, and no more writes than for plain functions."""
    log: list[Any] = []
    runners, clock = Runners(lambda: log.append("after")), Clock.running()

    async def job(number: int) -> None:
        log.append(number)

    runners.submit(job(-1))
    await clock.settle()
    log.clear()
    for number in range(3 * AT_ONCE):
        runners.submit(job(number))
    await clock.settle()
    assert log == [*range(3 * AT_ONCE), "after"]
    await runners.close()


@async_test
async def test_what_was_emitted_can_be_written_at_once() -> None:
    """By jobs that do not wait, when they have run; by those that wait for one turn, when all of them have gone on."""
    log: list[str] = []
    runners, clock = Runners(lambda: log.append("after")), Clock.running()

    async def job(name: str, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        log.append(name)

    for _ in range(3):
        runners.submit(job("first", 1))  # so that runners are there
    await clock.settle()
    for jobs, expected in (
        ([("a", 0), ("b", 0)], ["a", "b", "after"]),
        ([("a", 1), ("b", 0), ("c", 1)], ["b", "after", "a", "c", "after"]),
    ):
        log.clear()
        for submitted in jobs:
            runners.submit(job(*submitted))
        await clock.settle()
        assert log == expected
    await runners.close()


@pytest.mark.parametrize("warm", [False, True])
def test_what_was_emitted_fails_to_be_written_and_the_other_jobs_begin(warm: bool) -> None:
    """Those beyond the bound of a turn, and nobody submits another one."""

    async def main() -> None:
        failures: list[Any] = []
        fails = True

        def after() -> None:
            nonlocal fails
            if fails:
                fails = False
                raise ZeroDivisionError

        asyncio.get_running_loop().set_exception_handler(lambda _, told: failures.append(told["exception"]))
        runners, clock = Runners(after), Clock.running()
        log: list[int] = []

        async def job(number: int) -> None:
            log.append(number)
            await asyncio.sleep(1)

        if warm:
            fails = False
            runners.submit(job(-1))
            await clock.advance(2)
            log.clear()
            fails = True
        for number in range(AT_ONCE + 10):
            runners.submit(job(number))
        await clock.advance(2)
        assert log == list(range(AT_ONCE + 10))
        assert len(runners) == 0
        assert [type(failure) for failure in failures] == [ZeroDivisionError]
        await runners.close()

    run(main())


def test_jobs_behind_one_that_ends_the_process_still_begin() -> None:
    """SystemExit leaves the loop, which is run again to end what is under way."""
    runners = Runners()
    log: list[str] = []

    async def job(name: str) -> None:
        log.append(name)
        if name == "exit":
            raise SystemExit

    async def settle() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def submit() -> None:
        for name in ("before", "exit", "behind"):
            runners.submit(job(name))

    loop = asyncio.new_event_loop()
    loop.call_soon(runners.submit, job("first"))  # so that a runner is there
    loop.run_until_complete(settle())
    loop.call_soon(submit)
    with pytest.raises(SystemExit):
        loop.run_forever()
    loop.run_until_complete(settle())
    assert log == ["first", "before", "exit", "behind"]
    loop.run_until_complete(runners.close())
    loop.close()


@async_test
async def test_a_runner_that_was_cancelled_while_idle_is_not_taken() -> None:
    """Somebody has kept ``asyncio.current_task()`` of a job that has ended, and cancels it."""
    runners, clock = Runners(), Clock.running()
    tasks: list[Any] = []

    async def job() -> None:
        tasks.append(asyncio.current_task())

    for turns in range(3):
        runners.submit(job())
        await clock.settle()
        tasks[-1].cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        runners.submit(job())
        await clock.settle()
        assert len(set(tasks)) == len(tasks) == 2
        assert len(runners) == 0
        await runners.close()
        tasks.clear()


@async_test
async def test_a_job_that_swallowed_its_cancellation_takes_its_task_with_it() -> None:
    """A task counts its cancellations: the next job in it would be taken for cancelled, too."""
    runners, clock = Runners(), Clock.running()
    tasks: list[Any] = []

    async def swallows() -> None:
        tasks.append(asyncio.current_task())
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)

    async def job() -> None:
        tasks.append(asyncio.current_task())

    runners.submit(swallows())
    await clock.settle()
    tasks[0].cancel()
    await clock.settle()
    runners.submit(job())
    await clock.settle()
    assert len(set(tasks)) == len(tasks) == 2
    assert tasks[1].cancelling() == 0
    await runners.close()


@async_test
async def test_quick_jobs_share_a_task() -> None:
    """That is what runners are for."""
    runners = Runners()
    tasks: set[Any] = set()

    async def job() -> None:
        tasks.add(asyncio.current_task())

    runners.submit(job())
    await Clock.running().settle()
    for _ in range(100):
        for _ in range(10):
            runners.submit(job())
        await Clock.running().settle()
    assert len(tasks) == 1
    await runners.close()


@async_test
async def test_a_job_that_waits_keeps_its_task() -> None:
    """asyncio.timeout and task groups work in it, as in any task."""
    runners, clock = Runners(), Clock.running()
    log: list[str] = []

    async def with_timeout() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(10)
        log.append("timeout")

    async def with_group() -> None:
        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(asyncio.sleep(0.5)).add_done_callback(lambda _, name=name: log.append(name))
        log.append("group")

    async def with_immediate_timeout() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(10)
        log.append("immediate")

    runners.submit(with_timeout())
    runners.submit(with_group())
    runners.submit(with_immediate_timeout())
    await clock.advance(3)
    assert log == ["immediate", "a", "b", "group", "timeout"]
    await runners.close()


@async_test
async def test_a_waiting_job_does_not_hold_up_the_others() -> None:
    """Nor do a hundred of them; those behind go on in the same moment."""
    runners, clock = Runners(), Clock.running()
    began, log = clock.now, []

    async def stuck() -> None:
        await asyncio.sleep(100)

    async def quick(number: int) -> None:
        log.append((number, clock.now))

    for number in range(100):
        runners.submit(stuck())
        runners.submit(quick(number))
    await clock.settle()
    assert log == [(number, began) for number in range(100)]
    assert len(runners) == 100
    await runners.close()
    assert len(runners) == 0


@async_test
async def test_a_job_that_is_woken_at_once_does_not_lose_the_line() -> None:
    """One that waits for a future of the next turn, over and over, still lets the others run."""
    runners, clock = Runners(), Clock.running()
    log: list[int] = []

    async def restless() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def quick(number: int) -> None:
        log.append(number)

    for number in range(20):
        runners.submit(restless())
        runners.submit(quick(number))
    await clock.settle()
    assert log == list(range(20))
    await runners.close()


@async_test
async def test_context_variables_do_not_leak_from_job_to_job() -> None:
    """A job's own value is there through its awaits, and nowhere else."""
    runners, clock = Runners(), Clock.running()
    seen: list[str] = []

    async def job(own: str | None, wait: bool) -> None:
        seen.append(name.get())
        if own is not None:
            name.set(own)
        if wait:
            await asyncio.sleep(1)
        seen.append(name.get())

    name.set("submitter")  # of this task, which is none of the jobs' business
    for own, wait in [("a", False), (None, False), ("b", True), (None, True), (None, False)]:
        runners.submit(job(own, wait))
    await clock.advance(2)
    assert sorted(seen) == sorted(["nobody"] * 5 + ["a", "nobody", "nobody", "b", "nobody"])
    await runners.close()


def test_a_context_variable_may_hold_what_cannot_be_compared() -> None:
    """As an array of numbers: the runner ends as it does after any other value."""

    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = object.__hash__

    async def main() -> None:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: failures.append(told))
        runners, clock = Runners(), Clock.running()
        seen: list[Any] = []

        async def job() -> None:
            seen.append(array.get())
            array.set(Array())

        for _ in range(3):
            runners.submit(job())
            await clock.settle()
        assert len(seen) == 3
        assert {id(value) for value in seen} == {id(ours)}
        assert len(runners) == 0
        await runners.close()
        gc.collect()
        assert failures == []

    array: contextvars.ContextVar[Array] = contextvars.ContextVar("array")
    ours = Array()

    def within() -> None:
        array.set(ours)  # where the server is made
        run(main())

    contextvars.copy_context().run(within)


@async_test
async def test_an_exception_is_logged_and_the_next_job_runs(caplog: pytest.LogCaptureFixture) -> None:
    runners = Runners()
    log: list[str] = []

    async def broken() -> None:
        raise ZeroDivisionError("oops")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def fine() -> None:
        log.append("fine")

    for job in (broken(), fine(), cancelled(), fine()):
        runners.submit(job)
    await Clock.running().settle()
    assert log == ["fine", "fine"]
    assert "oops" in caplog.text
    await runners.close()


@async_test
async def test_an_interruption_holds_up_nobody_who_waits() -> None:
    """What runs is cancelled; what has not begun has its turn."""
    runners = Runners()
    log: list[str] = []

    async def stuck() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            log.append("cancelled")

    async def quick() -> None:
        log.append("quick")

    runners.submit(stuck())
    await Clock.running().settle()
    runners.submit(quick())
    runners.interrupt()
    await Clock.running().settle()
    assert log == ["cancelled", "quick"]
    assert len(runners) == 0
    await runners.close()


class TestClosing:
    @async_test
    async def test_it_cancels_what_runs_and_drops_what_waits(self) -> None:
        """Every coroutine is closed: none is left to be warned about."""
        runners = Runners()
        log: list[str] = []

        async def stuck(number: int) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                log.append(f"cancelled {number}")

        async def never() -> None:
            log.append("never")

        for number in range(3):
            runners.submit(stuck(number))
        await Clock.running().settle()
        runners.submit(never())
        await runners.close()
        assert sorted(log) == ["cancelled 0", "cancelled 1", "cancelled 2"]

    @async_test
    async def test_a_job_that_swallows_its_cancellation_does_not_keep_it_open(self) -> None:
        runners = Runners()
        log: list[str] = []

        async def stubborn() -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                log.append("swallowed")

        runners.submit(stubborn())
        await Clock.running().settle()
        async with asyncio.timeout(5):
            await runners.close()
        assert log == ["swallowed"]

    @async_test
    async def test_what_a_cancelled_job_submits_is_ended_too(self) -> None:
        runners = Runners()
        depths: list[int] = []

        async def again(depth: int) -> None:
            depths.append(depth)
            try:
                await asyncio.sleep(100)
            finally:
                if depth:
                    runners.submit(again(depth - 1))

        runners.submit(again(3))
        await Clock.running().settle()
        await runners.close()
        assert len(runners) == 0
        assert depths[0] == 3

    @async_test
    async def test_it_closes_what_was_to_begin(self) -> None:
        """In an idle runner, in a new one, in one that has its job already: none is left to be warned about."""
        for idle in (0, 1):
            for turns in (0, 1):
                runners = Runners()
                log: list[str] = []

                async def never() -> None:
                    log.append("never")  # noqa: B023

                async def quick() -> None:
                    pass

                for _ in range(idle):
                    runners.submit(quick())
                    await Clock.running().settle()
                runners.submit(never())
                if turns and not idle:
                    await asyncio.sleep(0)
                await runners.close()
                assert log == []
                assert len(runners) == 0

    @async_test
    async def test_idle_runners_are_few(self) -> None:
        """A burst of waiting jobs leaves no crowd of tasks behind."""
        runners, clock = Runners(), Clock.running()
        before = len(asyncio.all_tasks())

        async def job() -> None:
            await asyncio.sleep(1)

        for _ in range(2 * MAX_IDLE):
            runners.submit(job())
        await clock.advance(2)
        assert len(asyncio.all_tasks()) - before <= MAX_IDLE
        await runners.close()
        assert len(asyncio.all_tasks()) == before

    def test_they_can_be_used_on_the_next_loop(self) -> None:
        runners = Runners()
        log: list[int] = []

        async def job(number: int) -> None:
            await asyncio.sleep(1)
            log.append(number)

        async def main(number: int) -> None:
            runners.submit(job(number))
            await Clock.running().advance(2)
            await runners.close()

        for number in range(3):
            run(main(number))
        assert log == [0, 1, 2]
