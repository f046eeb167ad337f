"""The states of one Engine.IO session: which transport carries it, its heartbeat, its upgrade and its end.

A ``Session`` decides and remembers; it sends nothing. Its legal moves are the table ``MOVES``. Time is an argument, in
seconds of any steady clock. How a transport works is not known here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from ..errors import EngineProtocolError

__all__ = ["MOVES", "Heartbeat", "Move", "Session", "State"]

# A ping that leaves this much late, because the loop was busy, does not move the deadline of its pong; one that leaves
# later does, so that a process that stood still does not cut off clients which it never asked.
LATENESS: Final = 0.1


class State(Enum):
    """Where a session is in its life."""

    POLLING = "polling"
    PROBING = "probing"  # polling, while a WebSocket has asked to take over
    WEBSOCKET = "websocket"
    CLOSED = "closed"


class Move(Enum):
    """What can happen to a session."""

    PROBE = "probe"
    UPGRADE = "upgrade"
    PROBE_LOST = "probe lost"
    CLOSE = "close"


MOVES: Final[dict[tuple[State, Move], State]] = {
    (State.POLLING, Move.PROBE): State.PROBING,
    (State.PROBING, Move.UPGRADE): State.WEBSOCKET,
    (State.PROBING, Move.PROBE_LOST): State.POLLING,
    (State.POLLING, Move.CLOSE): State.CLOSED,
    (State.PROBING, Move.CLOSE): State.CLOSED,
    (State.WEBSOCKET, Move.CLOSE): State.CLOSED,
}


class Heartbeat(Enum):
    """What a look at the clock calls for."""

    NOTHING = 0
    PING = 1
    TIMEOUT = 2


class Session:
    """One session.

    Args:
        sid: Its secret id.
        state: ``POLLING`` or ``WEBSOCKET``.
        now: When its OPEN packet was made.
        ping_interval: Seconds from a pong, or from the start, to the next ping.
        ping_timeout: Seconds that a pong may take.
    """

    __slots__ = ("due", "ping_interval", "ping_timeout", "pinged", "sid", "state")

    def __init__(self, sid: str, state: State, now: float, ping_interval: float, ping_timeout: float) -> None:
        self.sid: str = sid
        self.state: State = state
        self.ping_interval: float = ping_interval
        self.ping_timeout: float = ping_timeout
        self.pinged: bool = False
        self.due: float = now + ping_interval
        """When to look at the heartbeat next: the next ping, or the end of the wait for a pong."""

    @property
    def transport(self) -> str:
        """Name of the transport that carries messages: ``polling`` or ``websocket``."""
        return "websocket" if self.state is State.WEBSOCKET else "polling"

    def move(self, move: Move) -> None:
        """Make a move.

        Raises:
            EngineProtocolError: It is not legal in this state.
        """
        state = MOVES.get((self.state, move))
        if state is None:
            raise EngineProtocolError(f"{move.value} is not possible while {self.state.value}")
        self.state = state

    def check_heartbeat(self, now: float) -> Heartbeat:
        """Look at the clock. ``PING`` means that a ping must be sent now; ``TIMEOUT`` that the peer is gone."""
        if self.state is State.CLOSED or now < self.due:
            return Heartbeat.NOTHING
        if self.pinged:
            return Heartbeat.TIMEOUT
        self.pinged = True
        # Counted from when the ping was due: late timers must not add up.
        self.due = max(self.due, now - LATENESS) + self.ping_timeout
        return Heartbeat.PING

    def pong(self, now: float) -> None:
        """The peer answered, so the next ping is an interval away. A pong that nobody asked for is ignored."""
        if self.pinged:
            self.pinged = False
            self.due = now + self.ping_interval
