"""Has a client got each message once, and in the order in which its publisher sent them? Pure."""

from __future__ import annotations

__all__ = ["Order"]

MAX_HOLES = 10_000
"""Numbers that a client may miss before no more are remembered; a late one beyond counts as a duplicate."""


class Order:
    """What one client received, by publisher. Sequences of a publisher begin at 1.

    ``last`` is open to the hot path: where a sequence follows its publisher's last one, it may store it and count a
    ``unique`` itself, which is all that :meth:`record` would do.
    """

    __slots__ = ("_holes", "duplicates", "last", "reordered", "unique")

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        self.unique: int = 0
        self.duplicates: int = 0
        self.reordered: int = 0
        self._holes: set[tuple[int, int]] = set()

    def record(self, publisher: int, sequence: int) -> bool:
        """Record a message; False if it was received before."""
        last = self.last.get(publisher, 0)
        if sequence > last:
            self._skip(publisher, last + 1, sequence)
            self.last[publisher] = sequence
            self.unique += 1
            return True
        if (publisher, sequence) not in self._holes:
            self.duplicates += 1
            return False
        self._holes.discard((publisher, sequence))
        self.reordered += 1
        self.unique += 1
        return True

    def _skip(self, publisher: int, first: int, end: int) -> None:
        room = MAX_HOLES - len(self._holes)
        self._holes.update((publisher, sequence) for sequence in range(first, min(end, first + room)))
