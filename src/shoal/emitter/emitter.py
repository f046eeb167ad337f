"""The emitter for asyncio: one link to the broker for each event loop that uses it, made at first use.

It builds on the cluster's messages, as servers do; it has no sockets, no rooms and no handlers of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..adapter.codec import Codec
from ..adapter.sockets import Answers, Selection
from ..cluster.emitter import EmitterLink
from ..cluster.messages import Broadcast
from ..cluster.requests import Replies
from ..errors import ConfigurationError
from ..handlers.registry import as_value
from ..server.remote import DescriptionList, SocketDescription, room_names
from ..settings import ServerSettings
from .options import Parser, read_options

__all__ = ["Emitter", "EmitterBroadcast", "Links"]


class Links:
    """The links of one emitter, by event loop. Each loop uses its own, so that threads need no locks.

    A process that was forked has its parent's links too, but none of its loops.

    Args:
        settings: The emitter's options.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.codec: Codec = Codec(settings)
        self._by_loop: dict[asyncio.AbstractEventLoop, EmitterLink] = {}
        self._open()  # what is wrong with the URL shows here

    def _open(self) -> EmitterLink:
        settings = self.settings
        return EmitterLink(settings.broker, settings.channel_prefix, settings.broker_buffer)

    def current(self) -> EmitterLink:
        """The link of the running loop; it is started if there is none."""
        loop = asyncio.get_running_loop()
        link = self._by_loop.get(loop)
        if link is None:
            for other in list(self._by_loop):
                if other.is_closed():
                    self._by_loop.pop(other, None)
            link = self._by_loop[loop] = self._open()
            link.start()
        return link

    async def close(self) -> None:
        """Close the link of the running loop."""
        link = self._by_loop.pop(asyncio.get_running_loop(), None)
        if link is not None:
            await link.close()


class EmitterBroadcast:
    """A selection of the clients of a cluster, to emit to. Each step gives a new one, so it can be kept and used again.

    Every method that is awaited raises :class:`BrokerError` where the broker cannot be reached in time.
    """

    __slots__ = ("_excluded", "_links", "_namespace", "_rooms", "_timeout", "_volatile")

    def __init__(
        self,
        links: Links,
        namespace: str = "/",
        rooms: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
        volatile: bool = False,
        timeout: float | None = None,
    ) -> None:
        self._links = links
        self._namespace = namespace
        self._rooms = rooms
        self._excluded = excluded
        self._volatile = volatile
        self._timeout = links.settings.request_timeout if timeout is None else timeout

    def __repr__(self) -> str:
        return f"<broadcast in {self._namespace} to {self._rooms or 'all'} except {self._excluded}>"

    # ---- who

    def to(self, *rooms: str) -> EmitterBroadcast:
        """Sockets in any of these rooms, besides those named before. A socket's id is a room too."""
        return self._with(rooms=self._rooms + room_names(rooms))

    in_ = to

    def except_(self, *rooms: str) -> EmitterBroadcast:
        """Not the sockets in any of these rooms."""
        return self._with(excluded=self._excluded + room_names(rooms))

    @property
    def volatile(self) -> EmitterBroadcast:
        """A client that cannot take the event right now does not get it, and no log keeps it."""
        return self._with(volatile=True)

    def timeout(self, seconds: float) -> EmitterBroadcast:
        """How long to wait for the broker, and for answers; without it the option ``request_timeout``."""
        return self._with(timeout=seconds)

    def _with(self, **changes: Any) -> EmitterBroadcast:
        now = (self._namespace, self._rooms, self._excluded, self._volatile, self._timeout)
        kept = dict(zip(("namespace", "rooms", "excluded", "volatile", "timeout"), now, strict=True))
        return EmitterBroadcast(self._links, **{**kept, **changes})

    # ---- events

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event to the selected clients. Returns when it is on its way to the broker.

        What is emitted one after another arrives in this order. While the broker is away this waits; what waits is
        bounded by the option ``broker_buffer``.

        Raises:
            BrokerError: The broker cannot be reached in time, or too much waits for it. Nothing was sent.
            PayloadError: The event's name is reserved, or an argument has no JSON form.
        """
        broadcast = self._encoded(event, args, self._volatile)
        await self._links.current().publish(broadcast, self._timeout)

    async def emit_confirmed(self, event: str, *args: Any, timeout: float | None = None) -> None:
        """Emit an event, and return when the broker has it: from then on each selected client gets it.

        Args:
            event: The event's name.
            args: Its arguments.
            timeout: Seconds to wait.

        Raises:
            BrokerError: As for :meth:`emit`; or the broker has not confirmed it in time, in which case it still may.
            ConfigurationError: This broker confirms nothing: it takes ``redis+streams://``.
            PayloadError: As for :meth:`emit`.
        """
        broadcast = self._encoded(event, args, False)
        await self._links.current().publish_confirmed(broadcast, event, self._seconds(timeout))

    def _encoded(self, event: str, args: tuple[Any, ...], volatile: bool) -> Broadcast:
        text, attachments = self._links.codec.encode_event(self._namespace, event, args)
        return Broadcast(self._namespace, self._rooms, self._excluded, text, attachments, volatile)

    # ---- questions to the selected sockets

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Answers:
        """Emit an event and wait for every client's acknowledgement.

        Args:
            event: The event's name.
            args: Its arguments.
            timeout: Seconds to wait.

        Returns:
            ``responses``, and ``missing``: ids of sockets and names of nodes that did not answer in time.

        Raises:
            BrokerError: No server has answered.
            PayloadError: As for :meth:`emit`.
        """
        self._links.codec.encode_event(self._namespace, event, args)  # what cannot be sent is an error here
        replies = await self._ask("call", [event, list(args)], timeout)
        answers = Answers()
        for _, (responses, silent) in replies.bodies:
            answers.responses.extend(map(as_value, responses))
            answers.missing.extend(silent)
        answers.missing.extend(replies.missing)
        return answers

    async def fetch_sockets(self, timeout: float | None = None) -> DescriptionList:
        """The selected sockets, with ``id``, ``node``, ``rooms``, ``data`` and ``handshake``.

        ``missing`` names the nodes that kept silent. What can be done to one of them, ``to(socket.id)`` does.

        Raises:
            BrokerError: No server has answered.
        """
        replies = await self._ask("fetch", None, timeout)
        found = [SocketDescription(each) for _, described in replies.bodies for each in described]
        return DescriptionList(found, replies.missing)

    async def join(self, *rooms: str) -> list[str]:
        """Let the selected sockets join rooms. Returns the names of nodes that did not confirm.

        Raises:
            BrokerError: No server has confirmed it.
        """
        return (await self._ask("join", room_names(rooms))).missing

    async def leave(self, *rooms: str) -> list[str]:
        """Let the selected sockets leave rooms. Returns the names of nodes that did not confirm.

        Raises:
            BrokerError: No server has confirmed it.
        """
        return (await self._ask("leave", room_names(rooms))).missing

    async def disconnect(self, close: bool = False) -> list[str]:
        """Send the selected clients away. Returns the names of nodes that did not confirm.

        Args:
            close: Close the connections below too.

        Raises:
            BrokerError: No server has confirmed it.
        """
        return (await self._ask("disconnect", close)).missing

    async def _ask(self, kind: str, argument: Any, timeout: float | None = None) -> Replies:
        selection: Selection = (self._rooms, self._excluded)
        body = [(self._namespace, *selection), argument]
        return await self._links.current().ask(kind, body, self._seconds(timeout))

    # ---- servers

    async def server_side_emit(self, event: str, *args: Any) -> None:
        """Send an event to every server of the cluster: to the handlers of ``on_server``.

        Raises:
            BrokerError: As for :meth:`emit`.
        """
        body = [self._namespace, event, list(args)]
        await self._links.current().notify("server_side", body, self._timeout)

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout


class Emitter(EmitterBroadcast):
    """The cluster without being a node, for asyncio: from scripts, notebooks, workers, other services.

    It connects at first use. It may be shared by threads with event loops of their own, and used again in a process
    that was forked, or after :meth:`close`: it then connects anew.

    Example::

        async with Emitter("redis://127.0.0.1:6379") as emitter:
            await emitter.to("news").emit("headline", "The shop opens at six")

    Args:
        broker: URL of the broker that the servers use, as their option ``broker``.
        channel_prefix, parser: The servers' options.
        request_timeout: Seconds to wait for the broker, and for answers.
        broker_buffer: Bytes that may wait while the broker is away.

    Raises:
        ConfigurationError: An option is wrong, or the broker is one that only a single server has.
    """

    __slots__ = ()

    def __init__(
        self,
        broker: str,
        *,
        channel_prefix: str = "shoal",
        parser: Parser = "json",
        request_timeout: float = 5.0,
        broker_buffer: int = 8_000_000,
    ) -> None:
        super().__init__(Links(read_options(broker, channel_prefix, parser, request_timeout, broker_buffer)))

    def of(self, namespace: str) -> EmitterBroadcast:
        """The clients in another namespace.

        Raises:
            ConfigurationError: The name cannot be one.
        """
        return self._with(namespace=namespace_name(namespace))

    async def close(self) -> None:
        """Send what waits, for a second at most, and disconnect this event loop's link. Idempotent."""
        await self._links.close()

    async def __aenter__(self) -> Emitter:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def namespace_name(name: str) -> str:
    """A namespace's name with its slash."""
    if "," in name:
        raise ConfigurationError(f"namespace {name!r}: a comma ends the name on the wire")
    return name if name.startswith("/") else f"/{name}"
