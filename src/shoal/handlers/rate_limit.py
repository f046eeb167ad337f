"""How many events a client may send: a token bucket. It knows no clock but its argument."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """Lets ``rate`` events a second through, on average, and a second's worth at once.

    Args:
        rate: Events per second.
        now: Seconds of any steady clock.
    """

    __slots__ = ("_capacity", "_rate", "_stamp", "_tokens", "last_refusal")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate)
        self._tokens = self._capacity
        self._stamp = now
        self.last_refusal: float = float("-inf")
        """When the client last got the event ``error`` for it."""

    def take(self, now: float) -> bool:
        """Whether one more event may pass now."""
        self._tokens = min(self._capacity, self._tokens + (now - self._stamp) * self._rate)
        self._stamp = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
