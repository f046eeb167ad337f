"""Run many short coroutines without a task for each.

A coroutine handler that never waits should cost little more than a plain function, and a task costs more than the whole
rest of an event. So one standing task, the runner, awaits the turn's coroutines one after another. One that does wait
keeps its runner, which is then its task for good, and the others go on with another. Each coroutine thus runs inside
one real task from beginning to end, as ``asyncio.timeout`` and task groups need it; a context variable that it sets
retires the runner, so that nothing leaks into the next. Nothing here knows what is run.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

__all__ = ["Runners"]

log: Final = logging.getLogger("shoal.server")

Job = Coroutine[Any, Any, None]

# Idle runners kept for the next burst; each is a task that waits for nothing.
MAX_IDLE: Final = 64


class Runners:
    """A pool of runners. Belongs to one event loop."""

    __slots__ = ("_context", "_holder", "_idle", "_jobs", "_loop", "_tasks", "_watching")

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Of where the server was made: what middleware set for the first client is not for the handlers of all others.
        self._context = contextvars.copy_context()
        self._holder: object | None = None
        """The runner that takes jobs; it is woken already, or at work."""
        self._watching = False

    def __len__(self) -> int:
        """How many coroutines wait or run."""
        return len(self._jobs) + len(self._tasks) - len(self._idle)

    def coroutines(self) -> list[Any]:
        """Those of the runners, each with the job that it awaits. For looking at, where something takes too long."""
        return [task.get_coro() for task in self._tasks]

    def submit(self, job: Job) -> None:
        """Run a coroutine, soon. It must handle its own exceptions; one that escapes is logged."""
        self._jobs.append(job)
        if self._holder is None:
            self._wake()

    def interrupt(self) -> None:
        """Cancel what runs. What it submits at its end still runs."""
        self._holder = None
        self._idle.clear()
        for task in list(self._tasks):
            task.cancel()

    async def close(self) -> None:
        """Cancel everything and wait for it. What is submitted afterwards runs on the loop of that time."""
        while self._tasks or self._jobs:  # again for what a cancelled one submits at its end
            self._holder = self._loop = None
            while self._jobs:
                self._jobs.popleft().close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._idle.clear()
        self._holder = self._loop = None
        self._watching = False

    def _wake(self) -> None:
        """Give the jobs to a runner, and look a moment later whether it got stuck in one."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():  # a cancelled runner leaves a cancelled waiter
                self._holder = waiter
                waiter.set_result(None)
                break
        else:
            self._start()
        self._watch()

    def _start(self) -> None:
        assert self._loop is not None
        token = object()
        self._holder = token
        task = self._loop.create_task(self._run(token), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _watch(self) -> None:
        if not self._watching:
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
        if self._jobs:
            self._wake()

    async def _run(self, token: object) -> None:
        context = contextvars.copy_context()
        jobs = self._jobs
        while True:
            while jobs and self._holder is token:
                job = jobs.popleft()
                try:
                    await job
                except Exception:
                    log.exception("a coroutine failed")
                if contextvars.copy_context() != context:
                    self._retire(token)
                    return
            if self._holder is token:
                self._holder = None
            if self._loop is None or len(self._idle) >= MAX_IDLE:
                return  # closed, or one too many
            token = waiter = self._loop.create_future()
            self._idle.append(waiter)
            await waiter

    def _retire(self, token: object) -> None:
        """A job changed this task's context: no other job may see that."""
        if self._holder is token:
            self._holder = None
            if self._jobs:
                self._wake()
