"""What the adapters of one server share, by broker: nothing, the clients' states, or the link to the other nodes.

:func:`open_backend` reads the options and decides; above it nobody asks which broker there is.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Generic, TypeVar, cast

from ..bus import Bus, BusLimits, LogOptions, open_bus
from ..bus.base import LogBus, prefix_in_database
from ..cluster.link import Link
from ..cluster.log_link import Entry, LogLink
from ..cluster.messages import Broadcast, Hello
from ..handlers.registry import Handlers
from .base import Adapter
from .calls import ACTIONS, NOTHING
from .context import Context
from .pubsub import PubSubAdapter
from .recovering import RecoveringAdapter
from .recovery import Recovery
from .stream_recovery import RecoveringStreamsAdapter
from .stream_state import ExpiredState
from .stream_states import StreamStates
from .streams import StreamsAdapter

__all__ = ["Backend", "PubSub", "Recovering", "Streams", "open_backend"]

log: Final = logging.getLogger("shoal.server")

NOT_YET_TOLD: Final = "", b""
"""Of a node that may be there: address and key."""

A = TypeVar("A", bound=Adapter)
P = TypeVar("P", bound=PubSubAdapter)


class Backend(Generic[A]):
    """Makes the adapters of a server that stands alone.

    Args:
        context: Of the server.
    """

    has_nodes = False
    """Whether there may be other nodes."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.adapters: dict[str, A] = {}
        """By the name of their namespace."""

    def open(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> A:
        """The adapter of a new namespace. The arguments are :class:`.Adapter`'s."""
        adapter = self.adapters[name] = self.make(name, handlers, on_empty)
        return adapter

    def make(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> A:
        raise NotImplementedError

    def close_adapter(self, name: str) -> None:
        """A namespace has ended."""
        self.adapters.pop(name).close()

    async def start(self) -> None:
        """Connect to the broker. Returns after the first attempt, whatever came of it."""

    async def close(self) -> None:
        """Let go of the broker, and of all timers."""

    def not_ready(self) -> str | None:
        """Why this node should get no new clients; ``None`` if it should."""
        return None

    def find_node(self, tag: str) -> tuple[str, bytes] | None:
        """Address and key of the other node with a tag, as it has told them; ``None`` if there is none.

        An empty address: it has told none yet.
        """
        return None

    def introduce(self, address: str, key: bytes) -> None:
        """Tell the other nodes at which address they reach this one, and the key of what is sent there."""


class Alone(Backend[Adapter]):
    """``memory://``."""

    def make(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> Adapter:
        return Adapter(self.context, name, handlers, on_empty)


class Recovering(Backend[RecoveringAdapter]):
    """``memory://``, with clients that may come back."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recovery: Recovery = Recovery(context)

    def make(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> RecoveringAdapter:
        return RecoveringAdapter(self.context, name, handlers, on_empty, self.recovery)

    async def close(self) -> None:
        self.recovery.close()


class Clustered(Backend[P]):
    """Several nodes: what is the same whatever the broker keeps.

    Args:
        context: Of the server.
    """

    has_nodes = True
    link: Link

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._started = False
        self.link = self._make_link(self._open_bus())
        answers = self.link.requests.answers
        answers.update({kind: self._answer(kind) for kind in ACTIONS}, server_side=self._answer_server)

    async def start(self) -> None:
        self._started = True
        await self.link.start()

    async def close(self) -> None:
        if self._started:
            self._started = False
            await self.link.close()
            self.link.replace_bus(self._open_bus())  # one that was closed is not started again; this node may be

    def _open_bus(self) -> Bus:
        """A bus that is not started."""
        settings = self.context.settings
        limits = BusLimits(buffer_bytes=settings.broker_buffer)
        # Whom the broker knows as a sender has counted its messages from 1 on.
        sender = f"{self.context.tag}.{secrets.token_hex(4)}"
        options = LogOptions(settings.channel_prefix, sender, settings.log_length, settings.log_lifetime)
        bus = open_bus(settings.broker, limits=limits, options=options)
        self.context.stats.broker = bus.stats
        return bus

    def _make_link(self, bus: Bus) -> Link:
        raise NotImplementedError

    def not_ready(self) -> str | None:
        return None if self.link.up else "the link to the broker is down"

    def find_node(self, tag: str) -> tuple[str, bytes] | None:
        peers = self.link.peers
        hello = peers.find(tag)
        if hello is None:
            return NOT_YET_TOLD if peers.expects_more() else None
        return hello.address, hello.key

    def introduce(self, address: str, key: bytes) -> None:
        self.link.peers.introduce(Hello(self.context.node, address, key))

    def _link_changed(self, up: bool) -> None:
        if not up:
            node = self.context.node
            log.warning("%s: the link to the broker is down; this node is not ready until it is back", node)

    def _deliver(self, broadcast: Broadcast) -> None:
        adapter = self.adapters.get(broadcast.namespace)
        if adapter is not None:
            adapter.deliver(broadcast)

    def _answer(self, kind: str) -> Callable[[Any, float], Awaitable[Any]]:
        """Answers what other nodes ask about the sockets of this one."""

        async def answer(body: Any, timeout: float) -> Any:
            (name, rooms, excluded), argument = body
            adapter = self.adapters.get(name)
            if adapter is None:
                return NOTHING[kind]
            # The asker's clock started earlier; a reply at the last moment would come too late.
            return await adapter.here(kind, (tuple(rooms), tuple(excluded)), argument, timeout * 0.9)

        return answer

    async def _answer_server(self, body: Any, timeout: float) -> Any:
        name, event, args = body
        adapter = self.adapters.get(name)
        return None if adapter is None else await adapter.answer_server(event, args)


class PubSub(Clustered[PubSubAdapter]):
    """``redis://``: a message is brought at most once."""

    def _make_link(self, bus: Bus) -> Link:
        context = self.context
        prefix = context.settings.channel_prefix
        return Link(bus, context.tag, context.node, prefix, self._deliver, self._link_changed)

    def make(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> PubSubAdapter:
        return PubSubAdapter(self.context, name, handlers, on_empty, self.link)


class Streams(Clustered[StreamsAdapter]):
    """``redis+streams://``: a message is kept, numbered, and brought once and in order."""

    link: LogLink

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.states: StreamStates | None = (
            StreamStates(context, self.link, self._expired) if context.settings.recovers else None
        )

    def _open_bus(self) -> Bus:
        bus = cast(LogBus, super()._open_bus())
        bus.logs = self._logs
        bus.on_gap = self._gap
        return bus

    def _make_link(self, bus: Bus) -> LogLink:
        context = self.context
        return LogLink(
            cast(LogBus, bus),
            context.tag,
            context.node,
            prefix_in_database(context.settings.broker, context.settings.channel_prefix),
            self._deliver,
            self._deliver_entry,
            self._claimed,
            self._link_changed,
        )

    def make(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> StreamsAdapter:
        if self.states is None:
            return StreamsAdapter(self.context, name, handlers, on_empty, self.link)
        return RecoveringStreamsAdapter(self.context, name, handlers, on_empty, self.link, self.states)

    async def start(self) -> None:
        await super().start()
        if self.states is not None:
            self.states.start()

    async def close(self) -> None:
        if self.states is not None:
            await self.states.close()
        await super().close()

    def _link_changed(self, up: bool) -> None:
        super()._link_changed(up)
        if up and self.states is not None:
            self.states.save_all()

    def _deliver_entry(self, entry: Entry, is_own: bool) -> None:
        adapter = self.adapters.get(entry.broadcast.namespace)
        if adapter is not None:
            adapter.deliver_entry(entry, is_own)

    def _claimed(self, pid: str) -> None:
        if self.states is not None:
            self.states.claimed_elsewhere(pid)

    def _logs(self) -> Iterable[str]:
        return [name for adapter in self.adapters.values() for name in adapter.log_names()]

    def _gap(self, names: Iterable[str] | None, is_final: bool) -> None:
        """Messages are lost to this node: the clients that they may have been for come back and are told what they
        missed, if the logs have it; of a final loss they have not, and cannot know."""
        chosen = None if names is None else frozenset(names)
        if is_final and self.states is not None:
            self.states.forget_all()
        count = sum([adapter.end_members(chosen) for adapter in self.adapters.values()])
        self.context.stats.log_gaps += 1
        self.context.stats.epochs = self.link.log_bus.epochs
        log.warning(
            "%s: the broker no longer has all that was sent: %d clients are disconnected, and begin anew",
            self.context.node,
            count,
        )

    def _expired(self, states: list[ExpiredState]) -> None:
        for state in states:
            adapter = self.adapters.get(state.namespace)
            if adapter is not None:
                adapter.notify("socket_expired", state.id, set(state.rooms), state.data)


def open_backend(context: Context) -> Backend[Any]:
    """The backend that a server's options ask for.

    Raises:
        ConfigurationError: The broker's URL is none that is known.
    """
    settings = context.settings
    if settings.broker == "memory://":
        return Recovering(context) if settings.recovers else Alone(context)
    return Streams(context) if settings.has_log else PubSub(context)
