"""What the server gives to all that it is made of: one frozen object, so that nobody has to ask the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import InitVar, dataclass, field
from typing import Any

from ..bus.base import BusStats
from ..engine.home import Home
from ..fanout.ticker import Ticker
from ..handlers.runners import Runners
from ..handlers.threads import Threads
from ..settings import ServerSettings
from .codec import Codec

__all__ = ["Context", "ServerStats"]


class FanoutStats:
    """What the fan-out counts by itself, where a counter costs least."""

    __slots__ = ("_ticker",)

    def _count_by(self, ticker: Ticker) -> None:
        self._ticker = ticker

    @property
    def broadcasts(self) -> int:
        """Events sent to the members of rooms, or to everyone, on this node."""
        return self._ticker.broadcasts

    @property
    def deliveries(self) -> int:
        """Events given to connections of this node."""
        return self._ticker.deliveries


@dataclass(slots=True)
class ServerStats(FanoutStats):
    """What a server has counted since it was made."""

    connections: int = 0
    """Connections opened."""
    parse_errors: int = 0
    """Connections closed for bytes that were no Socket.IO, or exceeded ``max_attachments``, ``max_attachment_bytes`` or
    ``max_depth``."""
    handler_errors: int = 0
    """Handlers that raised."""
    bad_events: int = 0
    """Events whose arguments their handler does not take."""
    rate_limited: int = 0
    """Events refused because their client sent more than ``max_events_per_second``."""
    connect_timeouts: int = 0
    """Connections closed because they entered no namespace within ``connect_timeout``."""
    slow_connects: int = 0
    """Clients that waited longer than ``slow_connect`` to be let in."""
    namespaces_refused: int = 0
    """Namespaces refused because their client is in ``max_namespaces``."""
    recovered: int = 0
    """Clients that came back to their state."""
    not_recovered: int = 0
    """Clients that came back too late for it, or to less than they missed, and began anew."""
    states_dropped: int = 0
    """States forgotten because more than ``recovery_states`` clients were away."""
    log_gaps: int = 0
    """Times that messages were lost to this node, since the broker no longer had them when the link was back."""
    epochs: int = 0
    """Times that the broker was found to have lost its memory, or the end of it."""
    rooms_refused: int = 0
    """Rooms refused: their socket is in ``max_rooms``, or the name is another socket's id."""
    broker: BusStats = field(default_factory=BusStats)
    """Of the link to the broker."""
    ticker: InitVar[Ticker] = field(kw_only=True)

    def __post_init__(self, ticker: Ticker) -> None:
        self._count_by(ticker)


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one server that its namespaces, clients, sockets and adapters share."""

    node: str
    """Name of this node."""
    tag: str
    """What the ids of its sessions and sockets begin with: new with each process."""
    settings: ServerSettings
    codec: Codec
    stats: ServerStats
    ticker: Ticker
    """Collects what a turn of the loop emits."""
    runners: Runners
    """Await the coroutines of events."""
    threads: Threads
    """Run the handlers that want a thread."""
    home: Home
    """The thread of the server's loop."""
    now: Callable[[], float]
    """The loop's time in seconds."""
    spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
    """Runs a coroutine in a task that is cancelled when the server closes."""
    log_once: Callable[..., None]
    """``(key, message, *args)``: logs a warning the first time that something of its kind happens."""
