"""After a lost link: who of the nodes known before is there again, so that what waited is published when they hear it.

A broker that brings a message at most once brings nothing to a node whose subscriptions are not placed again. A node
whose link is up asks the others to answer, and their answers, or their own questions, say that they hear it. It knows
no bus.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

__all__ = ["GATHERING_TIME", "Gathering"]

GATHERING_TIME: Final = 2.0
"""Seconds for the others: a broker that is back is found within half a second, and placing 100,000 subscriptions takes
another one. What waits for a node that died meanwhile is late by this, so it is no longer."""

log: Final = logging.getLogger("shoal.cluster")


class Gathering:
    """Waits for nodes.

    Args:
        over: Called once when all have been heard or the time is over, with the names of those who were not.
    """

    def __init__(self, over: Callable[[list[str]], None]) -> None:
        self._over = over
        self._missing: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, nodes: dict[str, str]) -> None:
        """Wait for nodes: their names by tag, at least one."""
        self.cancel()
        self._missing = dict(nodes)
        self._timer = asyncio.get_running_loop().call_later(GATHERING_TIME, self._end)

    def heard(self, tag: str) -> None:
        """A node hears what is published, or has left."""
        if self._missing.pop(tag, None) is not None and not self._missing:
            self._end()

    def cancel(self) -> None:
        """Wait no more, and tell nobody."""
        self._missing = {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        names = sorted(self._missing.values())
        self.cancel()
        self._over(names)
