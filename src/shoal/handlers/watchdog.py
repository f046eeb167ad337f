"""Sees from outside whether the event loop turns, and says which handler holds it.

A handler that computes or sleeps without ``await`` stops every client of its process, and nothing fails. A thread asks
the loop for a sign of life; when none comes in time it looks at the stack of the loop's own thread. So handlers are
called as they are, and watching costs the loop a callback now and then.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from typing import Final

from .stacks import event_of, thread_frames, written

__all__ = ["IN_DEBUG", "Watchdog"]

log: Final = logging.getLogger("shoal.server")

IN_DEBUG: Final = 0.1
"""Seconds that a handler may take where asyncio's debug mode is on: asyncio's own ``slow_callback_duration``."""
# The same line is told once in this time: it may hold the loop with each event.
SILENCE: Final = 10.0
MAX_TOLD: Final = 1_000


class Watchdog:
    """Watches one loop, from the thread of that loop until :meth:`stop`.

    Args:
        loop: The running one.
        limit: Seconds that a callback may take.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: float) -> None:
        self._loop = loop
        self._limit = limit
        self._loop_thread = threading.get_ident()
        self._sign = threading.Event()
        self._stopped = threading.Event()
        self._told: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, name="shoal-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._stopped.set()
        self._sign.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(self._limit / 4):
            self._sign.clear()
            asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._sign.set)
            except RuntimeError:  # the loop was closed without a word
                return
            if self._sign.wait(self._limit) or self._stopped.is_set():
                continue
            told = self._tell()
            while not self._sign.wait(self._limit) and not self._stopped.is_set():
                pass
            if told:
                log.warning("the event loop turns again after %.2f s", time.monotonic() - asked)

    def _tell(self) -> bool:
        frames = thread_frames(sys._current_frames().get(self._loop_thread))
        found = event_of(frames)
        stack = written(frames if found is None else found[1])
        now = time.monotonic()
        if not stack or now - self._told.get(stack, -SILENCE) < SILENCE:
            return False
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told[stack] = now
        who = "something" if found is None else f"a handler of {found[0]!r}"
        log.warning(
            "%s has held the event loop for %g s, and nobody else is served meanwhile. It is here:\n%s",
            who,
            self._limit,
            stack,
        )
        return True
