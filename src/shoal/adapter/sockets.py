"""Sockets as an adapter knows them, and what becomes of them: answers, and the state that a client comes back to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import Future
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..fanout.outbox import Outbox

__all__ = ["Answers", "ClientState", "HistoryEntry", "LocalSocket", "Selection"]


class LocalSocket(ABC):
    """A socket of this node, as its adapter knows it."""

    __slots__ = ()

    id: str
    joined: set[str]
    outbox: Outbox
    connected: bool
    recovered: bool

    @property
    @abstractmethod
    def data(self) -> Any: ...

    @property
    @abstractmethod
    def rooms(self) -> set[str]: ...

    @abstractmethod
    def join(self, *rooms: str) -> Awaitable[None]: ...

    @abstractmethod
    def leave(self, *rooms: str) -> Awaitable[None]: ...

    @abstractmethod
    def disconnect(self, close: bool = False) -> Awaitable[None]: ...

    @abstractmethod
    def connection_lost(self) -> None:
        """Its connection is broken, though nobody has noticed yet."""

    @abstractmethod
    def expect_ack(self) -> tuple[Future[Any], int]: ...

    @abstractmethod
    def forget_ack(self, ack_id: int) -> None: ...

    @abstractmethod
    def notify_outgoing(self, event: str, args: Sequence[Any]) -> None: ...

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What other nodes may know of it."""


Selection = tuple[tuple[str, ...], tuple[str, ...]]
"""Rooms (none: everyone in the namespace), and excluded rooms."""


@dataclass(slots=True)
class Answers:
    """Acknowledgements of many clients, or answers of many nodes."""

    responses: list[Any] = field(default_factory=list)
    """In the order in which they came, as far as that is known."""
    missing: list[str] = field(default_factory=list)
    """Ids of the sockets, and names of the nodes, that did not answer in time."""


class HistoryEntry(NamedTuple):
    """An event that a room's log still has."""

    offset: str
    """Where it stands; give it back as ``since``."""
    event: str
    args: tuple[Any, ...]


class ClientState(ABC):
    """What a client in a namespace comes back to after a lost connection."""

    __slots__ = ("data", "pid", "previous_done", "replayed", "sid")

    def __init__(self, pid: str, sid: str) -> None:
        self.pid: str = pid
        """The secret that it shows when it comes back."""
        self.sid: str = sid
        """Its socket's id."""
        self.data: Any = None
        """What its socket's ``data`` was when it left."""
        self.previous_done: Future[None] | None = None
        """Done when the disconnect handlers of its earlier socket have run."""
        self.replayed: int = 0
        """Bytes that it had missed when it came back."""

    @abstractmethod
    def emit(self, event: str, args: tuple[Any, ...]) -> None:
        """An event for this client, after its socket has left: it may be back already, or still come back."""

    @abstractmethod
    def leave(self, socket: LocalSocket, rooms: frozenset[str], reason: str) -> bool:
        """The socket has left these rooms, or was refused. Returns whether its client may come back."""

    @abstractmethod
    def handlers_done(self, socket: LocalSocket) -> None:
        """The disconnect handlers of a socket that left have run."""

    @abstractmethod
    def leave_rooms(self, rooms: Iterable[str]) -> None:
        """The client, which is away, shall not come back to these rooms."""

    @abstractmethod
    def forget(self) -> None:
        """The client, which is away, shall not come back."""

    def track(self, data: Any) -> Any:
        """The socket's ``data`` in a form that knows when it was changed, if the state has to know."""
        return data

    def save(self) -> None:  # noqa: B027 - nothing to do where all is in memory
        """The socket's ``data`` has changed."""

    async def saved(self, timeout: float) -> None:  # noqa: B027 - as above
        """Wait until it is sure to be there when the client comes back, at most ``timeout`` seconds."""
