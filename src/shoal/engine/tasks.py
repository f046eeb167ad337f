"""The tasks of an engine: whoever starts one here need not await it, and the engine's end is theirs.

What a task does is not known here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

__all__ = ["Tasks", "is_cancelled"]

log: Final = logging.getLogger("shoal.engine")


class Tasks:
    """Owns tasks. One that fails is logged."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many are not done."""
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in a task; it is cancelled at :meth:`close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the engine failed", exc_info=task.exception())

    async def close(self, timeout: float) -> None:
        """Wait ``timeout`` seconds for all tasks, then cancel those that are left. More can be started afterwards."""
        if self._tasks:  # a task that is cancelled before its first step never runs: let those begin
            await asyncio.wait(set(self._tasks), timeout=timeout)
        while self._tasks:  # again for what a cancelled one begins at its end
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def is_cancelled(error: BaseException) -> bool:
    """Whether the running task itself is being cancelled. A handler that awaits something cancelled only fails."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
