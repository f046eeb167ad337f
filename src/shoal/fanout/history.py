"""The recent messages of a server: clients that lost their connection and come back are sent again what they missed.

Messages are numbered in the order in which they were emitted; a client says the number of the last one that it got,
its offset. Kept are the encoded bytes and for whom they were, within a bound of bytes and of time. Who the clients are
is not known here.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence, Set
from typing import Final, NamedTuple

__all__ = ["Entry", "History"]

# What a message costs beside its bytes, its rooms and its attachments: 242 on CPython 3.11, by tracemalloc.
OVERHEAD: Final = 250


class Entry(NamedTuple):
    """One message."""

    offset: int
    time: float
    namespace: str
    rooms: tuple[str, ...]
    """None: everyone in the namespace."""
    excluded: tuple[str, ...]
    text: bytes
    attachments: Sequence[bytes]

    @property
    def size(self) -> int:
        """Bytes that it takes on the wire, without frames."""
        return len(self.text) + sum(map(len, self.attachments))

    @property
    def cost(self) -> int:
        """Bytes that it takes here, near enough. The names of rooms are often a client's choice, so they count."""
        parts = (*self.rooms, *self.excluded, *self.attachments)
        return OVERHEAD + len(self.text) + sum(map(sys.getsizeof, parts)) + 8 * len(parts)

    def was_for(self, rooms: Set[str]) -> bool:
        """Whether it went to a member of these rooms, its own id among them."""
        if self.rooms and rooms.isdisjoint(self.rooms):
            return False
        return rooms.isdisjoint(self.excluded)


class History:
    """The recent messages of a server.

    Args:
        limit: Bytes that they may take together; beyond it the oldest are forgotten.
        lifetime: Seconds after which nobody can have missed one: so long that whoever comes back had got it, or its
            loss would have been noticed earlier.
    """

    __slots__ = ("_entries", "_lifetime", "_limit", "forgotten", "last", "size")

    def __init__(self, limit: int, lifetime: float) -> None:
        self._limit = limit
        self._lifetime = lifetime
        self._entries: deque[Entry] = deque()
        self.last: int = 0
        """Offset of the newest message."""
        self.forgotten: int = 0
        """Offset of the newest message that had to make room, so that somebody may have missed it."""
        self.size: int = 0
        """Bytes that all of them take."""

    def __len__(self) -> int:
        return len(self._entries)

    def next_offset(self) -> int:
        """The offset of the message that comes next. Whoever takes it may :meth:`add` the message, or leave a gap."""
        self.last += 1
        return self.last

    def add(self, entry: Entry) -> None:
        """Remember a message, whose offset is the newest."""
        self.expire(entry.time)
        self._entries.append(entry)
        self.size += entry.cost
        while self.size > self._limit:
            self.forgotten = self._drop().offset

    def expire(self, now: float) -> None:
        """Forget what nobody can have missed."""
        while self._entries and self._entries[0].time + self._lifetime < now:
            self._drop()

    def _drop(self) -> Entry:
        oldest = self._entries.popleft()
        self.size -= oldest.cost
        return oldest

    def since(self, offset: int, namespace: str, rooms: Set[str], limit: int) -> list[Entry] | None:
        """What a client missed.

        Args:
            offset: Of the last message that it got.
            namespace: Where it was.
            rooms: The rooms that it was in, its own id among them.
            limit: Bytes that it may have missed.

        Returns:
            The messages in their order; ``None`` if some had to make room, if it missed more than the limit, or if
            the offset is none.
        """
        if not self.forgotten <= offset <= self.last:
            return None
        missed: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.offset <= offset:
                break
            if entry.namespace == namespace and entry.was_for(rooms):
                limit -= entry.size
                if limit < 0:
                    return None
                missed.append(entry)
        missed.reverse()
        return missed
