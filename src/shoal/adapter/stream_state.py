"""What one client comes back to on any node: its form with the broker, and the ``data`` that knows when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, Final, Protocol

import msgspec

from .sockets import ClientState, LocalSocket

__all__ = ["ExpiredState", "StreamState", "expired_states", "unpack_state"]

log: Final = logging.getLogger("shoal.server")


class Keeper(Protocol):
    """What a state needs of those who keep it."""

    def changed(self, state: StreamState) -> None: ...

    def leave(self, state: StreamState, socket: LocalSocket, reason: str) -> bool: ...

    def handlers_done(self, socket: LocalSocket) -> None: ...

    def forget(self, state: StreamState) -> None: ...


class Sender(Protocol):
    """What a state needs of its namespace."""

    name: str

    def broadcast(self, event: str, args: tuple[Any, ...], rooms: tuple[str, ...] = ()) -> None: ...


class ExpiredState(msgspec.Struct, frozen=True):
    """What is left of a client that did not come back."""

    namespace: str
    id: str
    rooms: list[str]
    data: Any


class Data(dict[Any, Any]):
    """A socket's ``data`` that knows when it was changed. What lies deeper needs :meth:`.Socket.save`."""

    __slots__ = ("_changed",)

    def __init__(self, values: MutableMapping[Any, Any], changed: Callable[[], None]) -> None:
        super().__init__(values)
        self._changed = changed

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._changed()

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._changed()

    def __ior__(self, other: Any) -> Data:  # type: ignore[misc]
        super().update(other)
        self._changed()
        return self

    def update(self, *args: Any, **more: Any) -> None:
        super().update(*args, **more)
        self._changed()

    def pop(self, *args: Any) -> Any:
        value = super().pop(*args)
        self._changed()
        return value

    def popitem(self) -> tuple[Any, Any]:
        item = super().popitem()
        self._changed()
        return item

    def setdefault(self, key: Any, default: Any = None) -> Any:
        value = super().setdefault(key, default)
        self._changed()
        return value

    def clear(self) -> None:
        super().clear()
        self._changed()


class StreamState(ClientState):
    """What one client in one namespace comes back to."""

    __slots__ = ("_states", "epoch", "is_new", "rooms", "sender", "since", "socket", "until", "waiters")

    def __init__(self, states: Keeper, sender: Sender, pid: str, sid: str, epoch: str, since: int) -> None:
        super().__init__(pid, sid)
        self.epoch: str = epoch
        """What ``since`` belongs to: in another one nobody can tell what it missed."""
        self._states = states
        self.sender: Sender = sender
        self.since: int = since
        """The newest number before it came: what it says was not for this client."""
        self.rooms: dict[str, int] = {}
        """Its rooms, and for each the newest number when it joined."""
        self.socket: LocalSocket | None = None
        """The client, while it is here."""
        self.until: float = 0.0
        """The time up to which it may come back, once it has left."""
        self.is_new: bool = True
        """Whether the broker has never had it."""
        self.waiters: list[asyncio.Future[None]] = []

    # ---- for the socket

    def emit(self, event: str, args: tuple[Any, ...]) -> None:
        self.sender.broadcast(event, args, (self.sid,))

    def leave(self, socket: LocalSocket, rooms: frozenset[str], reason: str) -> bool:
        return self._states.leave(self, socket, reason)

    def handlers_done(self, socket: LocalSocket) -> None:
        self._states.handlers_done(socket)

    def leave_rooms(self, rooms: Iterable[str]) -> None:
        for room in rooms:
            self.rooms.pop(room, None)
        self._states.changed(self)

    def forget(self) -> None:
        self._states.forget(self)

    def track(self, data: Any) -> Any:
        return Data(data, self.save) if type(data) is dict else data

    def save(self) -> None:
        self._states.changed(self)

    async def saved(self, timeout: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        self._states.changed(self)
        await asyncio.wait({waiter}, timeout=timeout)

    # ---- for the states

    def pack(self) -> bytes:
        """As the broker keeps it. The script ``CLAIM`` reads its first part; of msgpack Redis knows no bytes."""
        data = self.socket.data if self.socket is not None else self.data
        rooms = [[room, number] for room, number in self.rooms.items() if _is_text(room)]
        head = _pack([self.sender.name, self.sid, rooms, self.epoch, self.since])
        return len(head).to_bytes(4, "big") + head + _pack_data(data)

    def release(self) -> None:
        """Whoever waits for it to be saved waits no longer."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


_pack: Final = msgspec.msgpack.Encoder().encode


def _is_text(room: str) -> bool:
    try:
        room.encode()
    except UnicodeEncodeError:  # half a character of JavaScript's: no other node can have such a room
        return False
    return True


def _pack_data(data: Any) -> bytes:
    try:
        return _pack(data)
    except (TypeError, ValueError, OverflowError, RecursionError):
        log.warning("a socket's data cannot be kept: msgpack does not hold %s", type(data).__name__)
        return b"\xc0"


def unpack_state(value: bytes) -> tuple[str, str, dict[str, int], Any, str, int]:
    """Namespace, socket's id, rooms, data, epoch and beginning of a state that was packed."""
    end = 4 + int.from_bytes(value[:4], "big")
    namespace, sid, rooms, epoch, since, *_ = msgspec.msgpack.decode(value[4:end])  # a later version may add to it
    return namespace, sid, dict(rooms), msgspec.msgpack.decode(value[end:]), epoch, since


def expired_states(values: Iterable[bytes]) -> Iterator[ExpiredState]:
    """The states that the broker had, as applications see them."""
    for value in values:
        namespace, sid, rooms, data, _, _ = unpack_state(value)
        yield ExpiredState(namespace, sid, list(rooms), data)
