"""Run many short coroutines without a task for each.

To make a task costs more than most of what a coroutine handler does. So tasks are kept, the runners. What a turn of the
loop brings is begun at the start of the next one, in order: a runner awaits one coroutine after another, and where one
waits, that runner is its own until it ends, and another idle one goes on with the rest. So each coroutine runs inside
one real task from beginning to end, as ``asyncio.timeout`` and task groups need it, and none holds up those behind it.
A context variable that it sets retires the runner, and so does a cancellation: nothing leaks into the next. Nothing
here knows what is run.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

__all__ = ["Runners"]

log: Final = logging.getLogger("shoal.server")

Job = Coroutine[Any, Any, None]
Step = Callable[[asyncio.Future[Any]], object]
"""Goes on with a task that waits, given a future that is done."""

# Idle runners kept for the next burst; each is a task that waits for nothing.
MAX_IDLE: Final = 256
# So many jobs that wait are begun in one turn of the loop, the others in those that follow, in order. What more of them
# touch does not fit into a processor's caches, and fewer share the cost of a turn; docs/performance.md has the figures.
AT_ONCE: Final = 64


def nothing() -> None:
    """Nobody wants to know."""


class Runner:
    """A task that does one job after another, and awaits a future in between."""

    __slots__ = ("_pool", "context", "step", "waiter")

    step: Step
    waiter: asyncio.Future[None]
    """What it awaits while it is idle."""

    def __init__(self, pool: Runners, context: contextvars.Context) -> None:
        self._pool = pool
        self.context: contextvars.Context = context

    async def run(self) -> None:
        """What the task does."""
        await self._run()

    @types.coroutine
    def _run(self) -> Generator[asyncio.Future[None], None, None]:
        # A generator waits for its future by a yield alone, where an ``await`` would make an iterator of it each time.
        # And it goes on when the task does; that iterator would look first whether the future is done.
        pool, context, task = self._pool, self.context, asyncio.current_task()
        assert task is not None
        jobs, idle, create_future = pool.jobs, pool.idle, pool.loop.create_future
        before = context.copy()
        waiter: asyncio.Future[None] = FirstWaiter(self, pool.loop)
        while True:
            while jobs and pool.serving:
                try:
                    yield from jobs.popleft()
                except Exception:
                    log.exception("a coroutine failed")
                try:
                    if context != before or task.cancelling():
                        return
                except Exception:  # noqa: BLE001 - of a value's own comparison: an array's tells no truth
                    return
            if len(idle) >= MAX_IDLE:
                return
            self.waiter = waiter
            idle.append(self)
            waiter._asyncio_future_blocking = True
            yield waiter
            waiter = create_future()


class FirstWaiter(asyncio.Future[None]):
    """What a runner awaits when it is idle for the first time. Learns the task's step.

    A task leaves its step with the future that it awaits, and the loop calls it one turn after that is done. Whoever
    has it may do so, too, as long as the task waits and no other one runs.
    """

    def __init__(self, runner: Runner, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._runner = runner

    def add_done_callback(self, step: Callable[[Any], object], *, context: contextvars.Context | None = None) -> None:
        self._runner.step = step
        super().add_done_callback(step, context=context)


class Runners:
    """A pool of runners. Belongs to one event loop.

    Args:
        after: Called when the jobs of a turn have been begun, and once more when those that only let others go first
            have gone on: what they have emitted can be written.
    """

    __slots__ = ("_after", "_context", "_done", "_scheduled", "_tasks", "idle", "jobs", "loop", "serving")

    loop: asyncio.AbstractEventLoop
    _done: asyncio.Future[None]

    def __init__(self, after: Callable[[], None] = nothing) -> None:
        self._after = after
        self.jobs: deque[Job] = deque()
        """Those that have not begun."""
        self.idle: list[Runner] = []
        self.serving: bool = False
        """Whether runners shall take jobs. One that ends at another moment is idle until the next turn."""
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        # Of where the server was made: what middleware set for the first client is not for the handlers of all others.
        self._context = contextvars.copy_context()

    def __len__(self) -> int:
        """How many coroutines wait or run."""
        return len(self.jobs) + len(self._tasks) - len(self.idle)

    def coroutines(self) -> list[Any]:
        """Those of the runners, each with the job that it awaits. For looking at, where something takes too long."""
        return [task.get_coro() for task in self._tasks]

    def submit(self, job: Job) -> None:
        """Run a coroutine, soon. It must handle its own exceptions; one that escapes is logged."""
        self.jobs.append(job)
        if not self._scheduled:
            self._schedule()

    def interrupt(self) -> None:
        """Cancel what runs. What has not begun, and what is submitted at the end of the others, still runs."""
        self.idle.clear()
        for task in list(self._tasks):
            task.cancel()

    async def close(self) -> None:
        """Cancel everything and wait for it. What is submitted afterwards runs on the loop of that time."""
        while self._tasks or self.jobs:  # again for what a cancelled one submits at its end
            self.idle.clear()
            while self.jobs:
                self.jobs.popleft().close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._scheduled = False

    def _schedule(self) -> None:
        if not self._tasks:
            self.loop = asyncio.get_running_loop()
            self._done = self.loop.create_future()
            self._done.set_result(None)
        self._scheduled = True
        self.loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Let runners begin what was submitted."""
        self._scheduled = False
        idle, under_way = self.idle, len(self._tasks) - len(self.idle)
        self.serving = True
        try:
            for _ in range(AT_ONCE):
                if not self.jobs or not idle:
                    break
                runner = idle.pop()
                if not runner.waiter.done():  # it is if somebody has kept its task, and cancels it
                    runner.context.run(runner.step, self._done)  # until a job waits, or none is left
        except BaseException:  # SystemExit and KeyboardInterrupt pass a task, and the loop: it may be run again
            if self.jobs:
                self._schedule()
            raise
        finally:
            self.serving = False
        if not idle:
            for _ in range(min(len(self.jobs), AT_ONCE)):
                self._start()
        if len(self._tasks) - len(idle) > under_way:
            self.loop.call_soon(self._after)  # behind the next steps of what waits for one turn of the loop
        if self.jobs:
            self._schedule()
        self._after()  # last: it may raise

    def _start(self) -> None:
        context = self._context.copy()
        task = self.loop.create_task(Runner(self, context).run(), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self.idle[:] = [runner for runner in self.idle if not runner.waiter.done()]
