"""Plain handlers that may block, in threads of their own: a database driver, a computation.

The pool is bounded. Who waits for a thread is bounded by others: a socket has one event under way, or as many
concurrent ones as may wait. Nothing here knows an event.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from ..errors import ConfigurationError
from .registry import is_async

__all__ = ["Threads"]


class Threads:
    """The pool of one server. Has no thread before the first call.

    Args:
        size: How many threads there may be.
    """

    __slots__ = ("_pool", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool: ThreadPoolExecutor | None = None

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A coroutine function that calls a plain one in a thread, and returns or raises what it does.

        Raises:
            ConfigurationError: It is a coroutine function.
        """
        if is_async(function):
            raise ConfigurationError(f"thread=True is for plain functions, and {function!r} is a coroutine function")

        @functools.wraps(function)
        async def call(*args: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(
                self._begin(), functools.partial(copy_context().run, function, *args)
            )

        return call

    def _begin(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._size, "shoal-handler")
        return self._pool

    def close(self) -> None:
        """Let the threads end; those at work when they are done, since nothing can interrupt them."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
