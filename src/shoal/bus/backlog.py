"""A bounded queue of messages that wait for a link: when it is full the oldest go, are counted, and it is logged once.

It knows sizes and counts. It refuses to know what a message is or where it goes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from .base import BusStats

__all__ = ["Backlog"]

Item = TypeVar("Item")

logger: Final = logging.getLogger("shoal.bus")


class Backlog(Generic[Item]):
    """Messages in order, with a bound in bytes.

    Args:
        limit: Bytes that may wait.
        measure: Gives the bytes of one message.
        stats: Where ``dropped`` is counted.
        label: Names the link in the log.
    """

    __slots__ = ("_dropped", "_items", "_label", "_measure", "_stats", "limit", "size")

    def __init__(self, limit: int, measure: Callable[[Item], int], stats: BusStats, label: str) -> None:
        self.limit: int = limit
        self.size: int = 0
        self._items: deque[Item] = deque()
        self._measure = measure
        self._stats = stats
        self._label = label
        self._dropped = 0  # in this outage

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add one message. The caller then looks at ``size`` and sends, or calls :meth:`drop_oldest`."""
        self._items.append(item)
        self.size += self._measure(item)

    def put_back(self, items: list[Item]) -> None:
        """Add messages that were taken before, in front of all others, and drop what is too much."""
        self._items.extendleft(reversed(items))
        self.size += sum(map(self._measure, items))
        self.drop_oldest()

    def take(self, size: int) -> list[Item]:
        """Remove and return the oldest messages, up to ``size`` bytes, and at least one if there is one."""
        taken: list[Item] = []
        items, measure = self._items, self._measure
        if self.size <= size:
            taken.extend(items)
            items.clear()
            self.size = 0
            return taken
        while items and size > 0:
            length = measure(items[0])
            taken.append(items.popleft())
            size -= length
            self.size -= length
        return taken

    def drop_oldest(self) -> None:
        """Drop the oldest messages until the rest fits. The first one of an outage is logged."""
        before = self._dropped
        while self.size > self.limit:
            self.size -= self._measure(self._items.popleft())
            self._dropped += 1
        self._stats.dropped += self._dropped - before
        if self._dropped and not before:
            logger.warning(
                "%s: more than %d bytes wait to be published, the oldest are dropped", self._label, self.limit
            )

    def outage_over(self) -> None:
        """The outage is over: log what it cost. The next one is logged anew."""
        if self._dropped:
            logger.warning("%s: %d messages were dropped meanwhile", self._label, self._dropped)
            self._dropped = 0

    def discard(self) -> None:
        """Drop everything, now and from now on; counted, not logged."""
        self._stats.dropped += len(self._items)
        self._items.clear()
        self.size = 0
        self.limit = 0
        self._dropped += 1  # what follows is counted silently
