"""The times of a message's way: when its server took it, and when each of the other servers had what was sent with it.

A note goes to the other servers through the broker, right behind the message; each one tells the time at which it came.
The module knows two functions to send with and a clock, and no server. A few messages a second are traced, however many
there are, so that load costs a comparison for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Traces", "now"]

PAUSE = 0.25
"""Least seconds between two traced messages of one server."""
SHOWN = 80
"""Characters of a message that its trace repeats, so that who saw it knows which one is meant."""


def now() -> float:
    """Milliseconds since the epoch. Servers on one machine share this clock."""
    return time.time_ns() / 1e6


class Traces:
    """The traces of one node.

    Args:
        node: The node's name.
        pass_on: Called with what the other servers are to give to :meth:`came`. It must not wait.
        publish: Called with the name and the content of an event for those who watch. It must not wait.
        pause: Least seconds between two traces.
    """

    def __init__(
        self,
        node: str,
        pass_on: Callable[[str], object],
        publish: Callable[[str, dict[str, object]], object],
        *,
        pause: float = PAUSE,
    ) -> None:
        self._node = node
        self._pass_on = pass_on
        self._publish = publish
        self._pause = pause
        self._next = 0.0
        self._number = 0

    @property
    def is_due(self) -> bool:
        """Whether the next message is to be traced."""
        return time.monotonic() >= self._next

    def sent(self, dot: str, text: str) -> None:
        """This node has taken ``text`` and sent it to all. Call it in the same turn of the loop.

        Args:
            dot: What the sender's dot is called.
            text: The message.
        """
        self._next = time.monotonic() + self._pause
        self._number += 1
        trace = f"{self._node}/{self._number}/{time.time_ns():x}"
        self._pass_on(trace)
        self._publish("trace", {"trace": trace, "node": self._node, "at": now(), "dot": dot, "text": text[:SHOWN]})

    def came(self, trace: object) -> None:
        """A note of another server has come: say when."""
        self._publish("passed", {"trace": trace, "node": self._node, "at": now()})
