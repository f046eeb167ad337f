"""One coarse timer for all deadlines of an engine: heartbeats, upgrades, closing handshakes.

A timer per connection would cost more than the connection; deadlines of seconds need no precision of microseconds.
Items sit in buckets of ``resolution`` seconds. The wheel turns only while it holds something. What is due it does not
know.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from .home import Home

__all__ = ["Timed", "Wheel"]

log: Final = logging.getLogger("shoal.engine")

# Actions in one turn of the loop. A crowd that came at once is due at once, and thousands of pings in a row, with the
# pongs that they bring, would hold up everybody. So many are worth one system call (`fanout/writer.py`), and hold up
# nobody for longer than a tenth of a millisecond or two.
AT_ONCE: Final = 16
# Twice as many for each bucket's width that they are late, up to 1,024. A loop that is busy with all its clients may
# make five turns in a second: 16 in each are the pings of 2,000 clients, and those of 20,000 would be minutes late.
DOUBLINGS: Final = 6
# A timer of uvloop's has milliseconds.
SHORTEST_PAUSE: Final = 0.001


class Timed(Protocol):
    """What can sit in a wheel: at most once, in the bucket ``slot`` (-1: in none)."""

    slot: int

    def on_due(self, now: float) -> None: ...


class Wheel:
    """A timer wheel. On another event loop it begins anew: what was placed on the one before is forgotten.

    Args:
        resolution: Width of a bucket in seconds. A deadline is met at most this much late; where many are due, up to
            twice as much, since they are spread over the time until the next bucket is.
        home: Told of each event loop that the wheel is used on.
    """

    __slots__ = ("_buckets", "_home", "_loop", "_next", "_timer", "resolution")

    def __init__(self, resolution: float, home: Home | None = None) -> None:
        self._home = home
        self.resolution: float = resolution
        self._buckets: dict[int, set[Timed]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._next = 0

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def now(self) -> float:
        """The loop's time, in seconds."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.close()
            self._loop = loop
            if self._home is not None:
                self._home.begin(loop)
        return loop.time()

    def place(self, item: Timed, when: float) -> None:
        """Call ``item.on_due`` at ``when``, or up to ``resolution`` later. Moves an item that is here already.

        ``when`` comes from :meth:`now`, which learns of another event loop.
        """
        slot = int(when / self.resolution) + 1
        if slot == item.slot:
            return
        if item.slot >= 0:
            self.remove(item)
        if self._timer is None:
            now = self.now()
            self._next = int(now / self.resolution)
            self._arm(now)
        if slot <= self._next:
            slot = self._next + 1
        item.slot = slot
        bucket = self._buckets.get(slot)
        if bucket is None:
            self._buckets[slot] = {item}
        else:
            bucket.add(item)

    def after(self, item: Timed, seconds: float) -> float:
        """As :meth:`place`, that long from now. Returns the deadline."""
        when = self.now() + seconds
        self.place(item, when)
        return when

    def remove(self, item: Timed) -> None:
        """Forget an item; one that is not here is ignored."""
        slot = item.slot
        if slot < 0:
            return
        item.slot = -1
        bucket = self._buckets.get(slot)
        if bucket is not None:
            bucket.discard(item)
            if not bucket:
                del self._buckets[slot]

    def close(self) -> None:
        """Stop turning and forget everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for bucket in self._buckets.values():
            for item in bucket:
                item.slot = -1
            bucket.clear()  # it may be the one that is at work
        self._buckets.clear()
        self._loop = None

    def _arm(self, now: float) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later((self._next + 1) * self.resolution - now, self._turn)

    def _turn(self) -> None:
        # At least one bucket: a division may fall short of the moment that the timer was set to, by the last digit.
        self._act(max(int(self.now() / self.resolution), self._next + 1))

    def _pause(self, count: int, last: int) -> None:
        """Go on later with the `count` that are left in a bucket: in equal steps until the next one is due."""
        assert self._loop is not None
        steps = -(-count // AT_ONCE) + 1
        seconds = ((self._next + 1) * self.resolution - self.now()) / steps
        if self._next < last or seconds < SHORTEST_PAUSE:
            self._timer = self._loop.call_soon(self._act, last)
        else:
            self._timer = self._loop.call_later(seconds, self._act, last)

    def _act(self, last: int) -> None:
        """Take what is due, up to the bucket ``last``: what is too much for one turn of the loop in parts."""
        now, timer = self.now(), self._timer
        left = AT_ONCE << min(max(0, int(now / self.resolution) - last), DOUBLINGS)
        while True:
            bucket = self._buckets.get(self._next)
            while bucket:
                if not left:
                    self._pause(len(bucket), last)
                    return
                left -= 1
                item = bucket.pop()
                item.slot = -1
                try:
                    item.on_due(now)
                except Exception:
                    log.exception("a deadline's action failed")
            if self._timer is not timer:
                return  # an action has closed the wheel; what was placed since then has a timer of its own
            self._buckets.pop(self._next, None)
            if self._next >= last:
                break
            self._next += 1  # before the actions: what they place belongs into a bucket that is still to come
        if self._buckets:
            self._arm(self.now())
        else:
            self._timer = None
