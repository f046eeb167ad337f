"""An event loop in a daemon thread of its own, for code that has none: made at first use, anew after a fork.

It runs coroutines for any thread, and knows nothing of what they do.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

from ..errors import BrokerError

__all__ = ["LoopThreads"]

T = TypeVar("T")


class _Generation:
    """The processes since the last fork: this one. A thread that belongs to another is not here."""

    def __init__(self) -> None:
        self.current = object()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.current = object()


_generation: Final = _Generation()


class _LoopThread:
    """One loop, and the thread that runs it."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def stop(self, last: Callable[[], Awaitable[None]]) -> None:
        """Run ``last``, end what else runs, and wait for the end of the thread."""
        asyncio.run_coroutine_threadsafe(self._finish(last), self.loop)
        if threading.current_thread() is not self._thread:  # the garbage collector may call from there
            self._thread.join()

    async def _finish(self, last: Callable[[], Awaitable[None]]) -> None:
        try:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await last()  # what waits for the broker gets its chance, and an error else
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        finally:
            self.loop.stop()


class _Owned:
    """What one process has of a :class:`LoopThreads`: a lock that no fork can have left locked, and the thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: _LoopThread | None = None


class LoopThreads:
    """Runs coroutines in the thread of this process.

    Args:
        name: Of the thread.
        last: Awaited on the loop before the thread ends.
    """

    def __init__(self, name: str, last: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._last = last
        # Those of a parent are kept: their sockets and selectors are the parent's, and nothing must close them here.
        self._owned: dict[object, _Owned] = {}

    @property
    def _here(self) -> _Owned:
        # setdefault is one step: of two threads that come first, both get the same.
        return self._owned.get(_generation.current) or self._owned.setdefault(_generation.current, _Owned())

    def run(self, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run what ``coroutine`` gives, and return its result. An interrupt cancels it.

        Raises:
            BrokerError: :meth:`close` was called meanwhile.
        """
        here = self._here
        with here.lock:
            if here.thread is None:
                here.thread = _LoopThread(self._name)
            future = asyncio.run_coroutine_threadsafe(coroutine(), here.thread.loop)
        try:
            return future.result()
        except CancelledError:
            raise BrokerError("the emitter was closed meanwhile: nothing is known of what was under way") from None
        except BaseException:
            future.cancel()
            raise
        finally:
            del future  # it holds the exception, whose traceback holds this frame

    def close(self) -> None:
        """End the thread, if there is one. Idempotent; the next :meth:`run` makes another."""
        here = self._here
        with here.lock:
            thread, here.thread = here.thread, None
        if thread is not None:
            thread.stop(self._last)
