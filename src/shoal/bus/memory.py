"""A bus inside one process: nodes that share a hub, with the promises of a real broker and no socket.

It serves a node without a broker, and tests: :meth:`MemoryBus.cut` takes one node off its hub and
:meth:`MemoryBus.restore` brings it back, as a partition would. All buses of a hub live on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar, Final
from weakref import WeakValueDictionary

from .backlog import Backlog
from .base import DEFAULT_LIMITS, BusLimits, BusStats, OnMessage, OnState

__all__ = ["MemoryBus", "MemoryHub"]

Message = tuple[str, bytes]

logger: Final = logging.getLogger("shoal.bus")


class MemoryHub:
    """The broker of buses in one process: who listens on which channel."""

    __slots__ = ("__weakref__", "_listeners")

    _named: ClassVar[WeakValueDictionary[str, MemoryHub]] = WeakValueDictionary()

    def __init__(self) -> None:
        self._listeners: dict[str, dict[MemoryBus, None]] = {}

    @classmethod
    def named(cls, name: str) -> MemoryHub:
        """Return the hub called ``name``, the same one as long as a bus holds it; an empty name is a hub of its own."""
        if not name:
            return cls()
        hub = cls._named.get(name)
        if hub is None:
            hub = cls._named[name] = cls()
        return hub

    def listen(self, bus: MemoryBus, channel: str) -> None:
        """Let ``bus`` receive ``channel``."""
        self._listeners.setdefault(channel, {})[bus] = None

    def ignore(self, bus: MemoryBus, channel: str) -> None:
        """Let ``bus`` receive ``channel`` no more."""
        listeners = self._listeners.get(channel, {})
        listeners.pop(bus, None)
        if not listeners:
            self._listeners.pop(channel, None)

    def carry(self, channel: str, payload: bytes) -> None:
        """Hand a message to everyone who listens now; each receives it on a later turn of the loop."""
        for bus in self._listeners.get(channel, ()):
            bus.take(channel, payload)


class MemoryBus:
    """A :class:`shoal.bus.Bus` on a :class:`MemoryHub`.

    Args:
        hub: Shared by the nodes that shall receive one another; ``None`` is a hub of its own.
        limits: ``buffer_bytes`` bounds what waits to be published while cut off, and what waits to be delivered.
    """

    def __init__(self, hub: MemoryHub | None = None, *, limits: BusLimits = DEFAULT_LIMITS) -> None:
        self.up: bool = False
        self.stats: BusStats = BusStats()
        self._hub = hub or MemoryHub()
        self._channels: set[str] = set()
        self._outgoing: Backlog[Message] = Backlog(limits.buffer_bytes, _size, self.stats, "memory bus")
        self._incoming: Backlog[Message] = Backlog(limits.buffer_bytes, _size, self.stats, "memory bus, receiving")
        self._on_message: OnMessage | None = None
        self._on_state: OnState | None = None
        self._scheduled = False
        self._cut = False
        self._was_up = False
        self._closed = False
        self._open = False  # up, and not held

    @property
    def waiting(self) -> int:
        """Bytes that wait while cut off."""
        return self._outgoing.size

    async def start(self, on_message: OnMessage, on_state: OnState) -> None:
        """Join the hub, unless :meth:`cut` came first."""
        if self._on_message is not None or self._closed:
            raise RuntimeError("the bus is closed" if self._closed else "the bus was started before")
        self._on_message, self._on_state = on_message, on_state
        if not self._cut:
            self._link_is_up()

    def publish(self, channel: str, payload: bytes) -> None:
        """Pass a message to the hub, or keep it while cut off."""
        if self._open and not self._outgoing:
            self.stats.published += 1
            self._hub.carry(channel, payload)
            return
        self._outgoing.put((channel, payload))
        if self._outgoing.size > self._outgoing.limit:
            self._outgoing.drop_oldest()

    def publish_first(self, channel: str, payload: bytes) -> None:
        """Pass a message to the hub, whatever waits."""
        if self.up:
            self._hub.carry(channel, payload)

    def hold(self) -> None:
        """Let publishes wait."""
        self._open = False

    def release(self) -> int:
        """Publish what waits."""
        if not self.up:
            return 0
        waiting = len(self._outgoing)
        self._open = True
        self._publish_waiting()
        return waiting

    def subscribe(self, channel: str) -> None:
        """Receive ``channel`` from now on."""
        self._channels.add(channel)
        if self.up:
            self._hub.listen(self, channel)

    def unsubscribe(self, channel: str) -> None:
        """Receive nothing on ``channel`` from now on, not even what is on its way."""
        self._channels.discard(channel)
        self._hub.ignore(self, channel)

    async def settled(self, timeout: float) -> bool:
        """Return :attr:`up`: the hub confirms at once."""
        return self.up

    async def close(self) -> None:
        """Leave the hub. What was published is on its way to the others already."""
        self._closed = True
        self._leave()
        self._outgoing.discard()
        self._channels.clear()

    def cut(self) -> None:
        """Go down, as if the broker were out of reach. What is on its way to this node is lost. Idempotent."""
        self._cut = True
        if self.up:
            self._leave()
            self._notify(False)

    def restore(self) -> None:
        """Come back: subscriptions are placed, the state is told, then what waited is published. Idempotent."""
        was_cut, self._cut = self._cut, False
        if was_cut and self._on_message is not None and not self._closed:
            self._link_is_up()

    def take(self, channel: str, payload: bytes) -> None:
        """Called by the hub: queue a message for a later turn of the loop."""
        self._incoming.put((channel, payload))
        if self._incoming.size > self._incoming.limit:
            self._incoming.drop_oldest()
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        for channel, payload in self._incoming.take(self._incoming.size):
            # The callback before may have unsubscribed, or cut the link.
            if self.up and channel in self._channels:
                self._hear(channel, payload)
        self._incoming.outage_over()

    def _hear(self, channel: str, payload: bytes) -> None:
        assert self._on_message is not None
        self.stats.received += 1
        try:
            self._on_message(channel, payload)
        except Exception:  # whatever the layer above raises: the next message must arrive all the same
            logger.exception("memory bus: a message on %r was not handled", channel)

    def _link_is_up(self) -> None:
        for channel in self._channels:
            self._hub.listen(self, channel)
        self.up = self._open = True
        self.stats.reconnects += self._was_up
        self._was_up = True
        self._notify(True)
        self._publish_waiting()

    def _publish_waiting(self) -> None:
        while self._open and self._outgoing:  # the callback may have cut the link again, or held it
            [(channel, payload)] = self._outgoing.take(1)
            self.stats.published += 1
            self._hub.carry(channel, payload)
        if not self._outgoing:
            self._outgoing.outage_over()

    def _leave(self) -> None:
        self.up = self._open = False
        for channel in self._channels:
            self._hub.ignore(self, channel)
        self._incoming.take(self._incoming.size)

    def _notify(self, up: bool) -> None:
        assert self._on_state is not None
        try:
            self._on_state(up)
        except Exception:  # as above
            logger.exception("memory bus: the change of state was not handled")


def _size(message: Message) -> int:
    return len(message[0]) + len(message[1])
