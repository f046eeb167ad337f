"""Run many short coroutines without a task for each.

A coroutine handler that never waits should cost little more than a plain function, and a task costs more than the whole
rest of an event. So one standing task, the runner, awaits the turn's coroutines one after another. One that does wait
keeps its runner, which is then its task for good, and the others go on with another. To see that takes turns of the
loop; so what is of a kind that was seen to wait gets a runner of its own at once, an idle one as a rule. Each coroutine
thus runs inside one real task from beginning to end, as ``asyncio.timeout`` and task groups need it; a context variable
that it sets retires the runner, so that nothing leaks into the next. Nothing here knows what is run.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

__all__ = ["Kind", "Runners"]

log: Final = logging.getLogger("shoal.server")

Job = Coroutine[Any, Any, None]

# Idle runners kept for the next burst; each is a task that waits for nothing.
MAX_IDLE: Final = 256
# So many jobs get a runner of their own once one of their kind has waited; then one shows whether they still do.
ALONE: Final = 32


class Kind:
    """What jobs have in common: the same function is called, so they wait, or they do not."""

    __slots__ = ("alone",)

    def __init__(self) -> None:
        self.alone: int = 0
        """How many more get a runner of their own."""


class Runners:
    """A pool of runners. Belongs to one event loop."""

    __slots__ = ("_context", "_holder", "_idle", "_jobs", "_kind", "_loop", "_tasks", "_watching")

    def __init__(self) -> None:
        self._jobs: deque[tuple[Job, Kind | None]] = deque()
        self._idle: list[asyncio.Future[Job | None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Of where the server was made: what middleware set for the first client is not for the handlers of all others.
        self._context = contextvars.copy_context()
        self._holder: object | None = None
        """The runner that takes jobs; it is woken already, or at work."""
        self._kind: Kind | None = None
        """Of the job that the holder took last."""
        self._watching = False

    def __len__(self) -> int:
        """How many coroutines wait or run."""
        return len(self._jobs) + len(self._tasks) - len(self._idle)

    def coroutines(self) -> list[Any]:
        """Those of the runners, each with the job that it awaits. For looking at, where something takes too long."""
        return [task.get_coro() for task in self._tasks]

    def submit(self, job: Job, kind: Kind | None = None) -> None:
        """Run a coroutine, soon. It must handle its own exceptions; one that escapes is logged."""
        if kind is not None and kind.alone:
            kind.alone -= 1
            if not self._wake_idle(job):
                self._start(object(), job)
        else:
            self._jobs.append((job, kind))
            if self._holder is None:
                self._wake()

    def interrupt(self) -> None:
        """Cancel what runs. What waits for its turn, and what is submitted at the end of the others, still runs."""
        self._holder = None
        self._idle.clear()
        for task in list(self._tasks):
            task.cancel()
        if self._jobs:
            self._wake()

    async def close(self) -> None:
        """Cancel everything and wait for it. What is submitted afterwards runs on the loop of that time."""
        while self._tasks or self._jobs:  # again for what a cancelled one submits at its end
            self._holder = self._loop = None
            while self._jobs:
                self._jobs.popleft()[0].close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._idle.clear()
        self._holder = self._loop = self._kind = None
        self._watching = False

    def _wake(self) -> None:
        """Give the jobs to a runner, and look a moment later whether it got stuck in one."""
        self._holder = self._wake_idle(None)
        if self._holder is None:
            self._holder = object()
            self._start(self._holder)
        if not self._watching:
            self._watch()

    def _wake_idle(self, job: Job | None) -> asyncio.Future[Job | None] | None:
        """Let an idle runner do a job of its own, or take those that wait. Returns its token, if there is one."""
        idle = self._idle
        while idle:
            waiter = idle.pop()
            if not waiter.done():  # a cancelled runner leaves a cancelled waiter
                waiter.set_result(job)
                return waiter
        return None

    def _start(self, token: object, job: Job | None = None) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        task = self._loop.create_task(self._run(token, job), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if job is not None:
            task.add_done_callback(lambda _: job.close())  # cancelled before it began

    def _watch(self) -> None:
        self._watching = True
        assert self._loop is not None
        # Behind the runner's own wake-up in the loop's queue, so it finds the runner idle or stuck. A future's
        # callback is scheduled by set_result, and the task's step by that: hence two turns.
        self._loop.call_soon(self._loop.call_soon, self._relieve, self._holder)

    def _relieve(self, holder: object) -> None:
        """If the runner that was woken waits inside a job, let another one take the rest."""
        self._watching = False
        if self._holder is None:
            return
        if self._holder is not holder:
            self._watch()  # another one took over meanwhile, and has not been looked at
            return
        self._holder = None
        if self._kind is not None:
            self._kind.alone = ALONE
        if self._jobs:
            self._wake()

    async def _run(self, token: object, job: Job | None) -> None:
        context = contextvars.copy_context()
        jobs = self._jobs
        while True:
            if job is None:
                if not jobs or self._holder is not token:
                    if self._holder is token:
                        self._holder = None
                    if self._loop is None or len(self._idle) >= MAX_IDLE:
                        return  # closed, or one too many
                    token = waiter = self._loop.create_future()
                    self._idle.append(waiter)
                    try:
                        job = await waiter
                    except asyncio.CancelledError:
                        if waiter.done() and not waiter.cancelled() and (given := waiter.result()) is not None:
                            given.close()  # cancelled before it began
                        raise
                    continue
                job, self._kind = jobs.popleft()
            try:
                await job
            except Exception:
                log.exception("a coroutine failed")
            job = None
            if contextvars.copy_context() != context:
                self._retire(token)
                return

    def _retire(self, token: object) -> None:
        """A job changed this task's context: no other job may see that."""
        if self._holder is token:
            self._holder = None
            if self._jobs:
                self._wake()
