"""Latencies in buckets of about 3 % width: any number of them takes the same memory. Pure; microseconds go in."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Latencies"]

_SUB = 32  # buckets for each power of two, and as many exact ones for the smallest values
_BUCKETS = 40 * _SUB


class Latencies:
    """A histogram. ``count`` values were added, the greatest of them ``max_us``."""

    __slots__ = ("_buckets", "count", "max_us")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count: int = 0
        self.max_us: int = 0

    def add_all(self, values: Iterable[int]) -> None:
        """Add microseconds. A negative one, from a clock that was set back, counts as none."""
        buckets, highest, count = self._buckets, self.max_us, 0
        for us in values:
            if us < _SUB:
                index = max(us, 0)
            else:
                shift = us.bit_length() - 6
                index = min((shift + 1) * _SUB + (us >> shift) - _SUB, _BUCKETS - 1)
            buckets[index] += 1
            count += 1
            highest = max(highest, us)
        self.max_us = highest
        self.count += count

    def milliseconds(self, share: float) -> float | None:
        """The value that this share (0 to 1) of all values does not exceed, in ms; None where nothing was added."""
        if not self.count:
            return None
        wanted, seen = int(share * (self.count - 1)) + 1, 0
        for index, number in enumerate(self._buckets):
            seen += number
            if seen >= wanted:
                return min(_middle(index), self.max_us) / 1000
        return self.max_us / 1000

    def summary(self) -> dict[str, float | int | None]:
        """The percentiles that a report shows, in ms, and how many values they come from."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
        found: dict[str, float | int | None] = {name: self.milliseconds(share) for name, share in shares.items()}
        return {**found, "max": self.max_us / 1000 if self.count else None, "samples": self.count}


def _middle(index: int) -> float:
    if index < _SUB:
        return index
    octave, part = divmod(index, _SUB)
    width = 1 << (octave - 1)
    return (part + _SUB) * width + width / 2
