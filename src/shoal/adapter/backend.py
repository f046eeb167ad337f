"""What the adapters of one server share, by broker: nothing, the clients' states, or the link to the other nodes.

:func:`open_backend` reads the options and decides; above it nobody asks which broker there is.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from ..bus import BusLimits, open_bus
from ..cluster.link import Link
from ..cluster.messages import Broadcast
from ..handlers.registry import Handlers
from .base import Adapter
from .calls import ACTIONS, NOTHING
from .context import Context
from .pubsub import PubSubAdapter
from .recovering import RecoveringAdapter
from .recovery import Recovery

__all__ = ["Backend", "PubSub", "open_backend"]

log = logging.getLogger("shoal.server")

A = TypeVar("A", bound=Adapter)


class Backend(Generic[A]):
    """Makes the adapters of a server that stands alone.

    Args:
        context: Of the server.
    """

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


class Alone(Backend[Adapter]):
    """``memory://``."""

    def make(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> Adapter:
        return Adapter(self.context, name, handlers, on_empty)


class Recovering(Backend[RecoveringAdapter]):
    """``memory://``, with clients that may come back."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.recovery = Recovery(context)

    def make(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> RecoveringAdapter:
        return RecoveringAdapter(self.context, name, handlers, on_empty, self.recovery)

    async def close(self) -> None:
        self.recovery.close()


class PubSub(Backend[PubSubAdapter]):
    """Several nodes over a bus."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = context.settings
        bus = open_bus(settings.broker, limits=BusLimits(buffer_bytes=settings.broker_buffer))
        context.stats.broker = bus.stats
        self.link = Link(bus, context.tag, context.node, settings.channel_prefix, self._deliver, self._link_changed)
        self._started = False
        answers = self.link.requests.answers
        answers.update({kind: self._answer(kind) for kind in ACTIONS}, server_side=self._answer_server)

    def make(self, name: str, handlers: Handlers, on_empty: Callable[[], None]) -> PubSubAdapter:
        return PubSubAdapter(self.context, name, handlers, on_empty, self.link)

    async def start(self) -> None:
        self._started = True
        await self.link.start()

    async def close(self) -> None:
        if self._started:
            await self.link.close()

    def not_ready(self) -> str | None:
        return None if self.link.up else "the link to the broker is down"

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


def open_backend(context: Context) -> Backend[Any]:
    """The backend that a server's options ask for.

    Raises:
        ConfigurationError: The broker's URL is none that is known.
    """
    if context.settings.broker != "memory://":
        return PubSub(context)
    return Recovering(context) if context.settings.connection_state_recovery else Alone(context)
