"""One connection as Socket.IO sees it: the sockets that it has, one in each namespace that it entered.

It takes Engine.IO messages, makes packets of them and hands each to its socket. A packet that breaks the protocol costs
its sender the connection, and nobody else anything.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import Any, Final

from ..adapter.context import Context
from ..adapter.sockets import ClientState
from ..engine.connection import Connection
from ..errors import BrokerError, PayloadError, SocketProtocolError
from ..handlers.stacks import find, written
from ..protocol import msgpack
from ..protocol.attachment import ONE_ATTACHMENT, LastArgument
from ..protocol.socketio import (
    ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    MAX_ACK_ID_DIGITS,
    RESERVED_EVENTS,
    Decoder,
    Packet,
    loads,
)
from .lifecycle import Lifecycle
from .namespaces import Namespaces, Site
from .socket import Socket

__all__ = ["Client", "MsgpackClient"]

log: Final = logging.getLogger("shoal.server")

EVENT_IN_ROOT = b"42"
PLAIN_CONNECT = b"40"  # to "/", without a payload: what most clients send
# Of the clients that wait long to be let in so many are logged, and then one of so many: to find out where each of ten
# thousand waits takes a look at ten thousand.
SLOW_TOLD: Final = 10
SLOW_EACH: Final = 1_000


class Client:
    """A connection and its sockets. It is the connection's receiver, and lives as long.

    Args:
        context: Of the server.
        namespaces: Where the client may go.
        connection: The connection.
    """

    __slots__ = (
        "_asked",
        "_context",
        "_deadline",
        "_decoder",
        "_entering",
        "_has_left",
        "_max_depth",
        "_namespaces",
        "_replayed",
        "_root",
        "connection",
        "slot",
        "sockets",
    )

    def __init__(self, context: Context, namespaces: Namespaces, connection: Connection) -> None:
        self._context = context
        self._namespaces = namespaces
        self.connection: Connection = connection
        connection.receiver = self
        self.sockets: tuple[Socket, ...] = ()
        """One in nearly all clients, and never many: a dict of them would be as large as the client."""
        self._root: Socket | None = None
        """The socket in ``/``, where nearly all events go."""
        self._entering: tuple[str, ...] = ()
        """Namespaces that are being looked for."""
        self._has_left = False
        """Whether it has left a namespace, and may come to it again."""
        self._decoder: Decoder | LastArgument | None = None
        """Only while a packet waits for attachments."""
        self._replayed = 0
        """Bytes that its sockets had missed when they came back."""
        self._max_depth = context.settings.max_depth
        self.slot: int = -1
        self._asked = 0.0
        """When it last asked for a namespace."""
        self._deadline = 0.0
        """When ``connect_timeout`` is over."""
        self._expect_acceptance()

    # ---- in

    def receive_text(self, payload: bytes) -> None:
        """Take a text message, Engine.IO's ``4`` in front."""
        # The short cut for events in "/", 42["event",...] and 42<id>["event",...]: no packet object, no decoder. The id
        # only goes back, so its digits stay what they are; the plain path has those that do not begin with 1 to 9.
        root = self._root
        if root is not None and payload[:2] == EVENT_IN_ROOT and self._decoder is None:
            head = payload.partition(b"[")[0]
            ack_id = head[2:]
            if not ack_id or (ack_id >= b"1" and ack_id.isdigit() and len(ack_id) <= MAX_ACK_ID_DIGITS):
                try:
                    data = loads(payload[len(head) :], self._max_depth)
                except SocketProtocolError as error:
                    self._broken_text(error, payload)
                    return
                if data and type(data[0]) is str and data[0] not in RESERVED_EVENTS:
                    root.receive(data, ack_id or None)
                    return
        elif root is not None and payload[:4] == ONE_ATTACHMENT and self._decoder is None:
            self._decoder = LastArgument.awaited_by(payload, self._context.codec.limits)
            if self._decoder is not None:
                return
        elif payload == PLAIN_CONNECT and self._decoder is None:
            self._connect(Packet(CONNECT, "/", None, None))
            return
        self._receive_any(payload)

    def _receive_any(self, payload: bytes) -> None:
        try:
            packet = self._decode(payload)
        except SocketProtocolError as error:
            self._broken_text(error, payload)
        else:
            if packet is not None:
                self._take(packet)

    def _decode(self, payload: bytes) -> Packet | None:
        decoder = self._decoder
        if decoder is None:
            decoder = Decoder(self._context.codec.limits)
        packet = decoder.feed_text(payload[1:])
        # Between packets a decoder knows nothing: an idle connection needs none.
        self._decoder = decoder if decoder.waiting else None
        return packet

    def receive_binary(self, payload: bytes) -> None:
        """Take a binary message: an attachment."""
        decoder = self._decoder
        try:
            if type(decoder) is LastArgument:
                self._decoder = None
                decoder.fill(payload)
                self._receive_in_root(decoder.data, decoder.ack_id)
                return
            if decoder is None:
                raise SocketProtocolError("binary where no attachment was due")
            packet = decoder.feed_binary(payload)
        except SocketProtocolError as error:
            self._broken(error)
        else:
            if packet is not None:
                self._decoder = None
                self._take(packet)

    def _receive_in_root(self, data: list[Any], ack_id: bytes | None) -> None:
        if self._root is not None:
            self._root.receive(data, ack_id)
        else:
            self._broken(SocketProtocolError("not connected to namespace '/'"))

    def _take(self, packet: Packet) -> None:
        if packet.type is CONNECT:
            self._connect(packet)
            return
        socket = self._find(packet.namespace)
        if socket is None:
            if packet.type is not DISCONNECT:
                self._broken(SocketProtocolError(f"not connected to namespace {packet.namespace!r}"))
        elif packet.type is EVENT:
            if type(packet.data[0]) is not str:
                packet.data[0] = str(packet.data[0])  # a number is the name of that text, as in JavaScript
            socket.receive(packet.data, packet.id)
        elif packet.type is ACK:
            socket.receive_ack(packet.id, packet.data)
        elif packet.type is DISCONNECT:
            socket.closed("client namespace disconnect")

    def _find(self, namespace: str) -> Socket | None:
        for socket in self.sockets:
            if socket.namespace.name == namespace:
                return socket
        return None

    def _broken_text(self, error: SocketProtocolError, payload: bytes) -> None:
        if not self.connection.close_if_not_utf8(payload):
            self._broken(error)

    def _broken(self, error: SocketProtocolError) -> None:
        self._context.stats.parse_errors += 1
        log.debug("connection closed: %s", error)
        for socket in self.sockets:
            socket.fault(error)
        self.connection.close("parse error")

    # ---- coming

    def _connect(self, packet: Packet) -> None:
        name = packet.namespace
        if name in self._entering:
            return  # the answer to the first one is on its way
        if (earlier := self._find(name)) is not None:
            # The official client says nothing when it leaves before it was answered, and may come again at once.
            earlier.closed("client namespace disconnect")
        if len(self.sockets) + len(self._entering) >= self._context.settings.max_namespaces:
            self._context.stats.namespaces_refused += 1
            self._send_refusal(name, "too many namespaces", None)
        else:
            self._entering = (*self._entering, name)
            self._asked = self._context.now()
            if self.slot < 0:  # not the first one
                self._expect_acceptance()
            self._context.runners.submit(self._enter(name, packet.data))

    async def _enter(self, name: str, auth: dict[str, Any] | None) -> None:
        if self._has_left:
            await asyncio.sleep(0)  # the disconnect handlers of the one before, that were called for now, come first
        if not self.connection.open:
            return
        try:
            site = await self._namespaces.find(name, auth)
        except Exception:
            log.exception("the matcher of a dynamic namespace failed; %r is refused", name)
            self._context.stats.handler_errors += 1
            site = None
        if not self.connection.open or self._find(name) is not None:
            self._has_entered(name)
            if site is not None:
                self._namespaces.forget_if_empty(site)
        elif site is None:
            self._has_entered(name)
            self._send_refusal(name, "Invalid namespace", None)
        elif site.adapter.end_previous(auth):
            # Once more, behind the disconnect handlers of the one before; its namespace may have ended with it.
            self._context.runners.submit(self._enter(name, auth))
        else:
            site.entering += 1  # it may become empty meanwhile, and must not be forgotten
            try:
                await self._enter_site(site, auth)
            finally:
                site.entering -= 1
                self._namespaces.forget_if_empty(site)

    async def _enter_site(self, site: Site, auth: dict[str, Any] | None) -> None:
        try:
            socket = await self._restore(site, auth)
        except BrokerError as error:
            # It keeps its secret and tries again; taken for new, it would lose what it has.
            log.warning("a client that came back is sent to try again: %s", error)
            self.connection.close("transport error")
            return
        self._has_entered(site.namespace.name)
        if socket is None and not self.connection.open:
            return
        if socket is None:
            socket = self._add(site.make_socket(self, auth))
        if not self.connection.open:
            socket.closed("transport close")  # it left while the broker was asked: its state waits for it again
        await socket.accept()

    def _has_entered(self, name: str) -> None:
        """A namespace was looked for, and found or not."""
        self._entering = () if self._entering == (name,) else tuple([n for n in self._entering if n != name])

    def _add(self, socket: Socket) -> Socket:
        self.sockets = (*self.sockets, socket)
        if socket.namespace.name == "/":
            self._root = socket
        return socket

    async def _restore(self, site: Site, auth: dict[str, Any] | None) -> Socket | None:
        """A socket with the state that the client asks for, if there is one."""
        # Beyond its outbox a client would be cut off, only to come back and be cut off again.
        settings = self._context.settings
        limit = min(settings.max_outbox // 2, settings.max_replay) - self._replayed

        def make(state: ClientState) -> Socket:
            self._replayed += state.replayed
            return self._add(site.make_socket(self, auth, state))

        return await site.adapter.restore(auth, limit, make)

    def accepted(self) -> None:
        """A socket was accepted: the connection need not prove itself any more."""
        if len(self.sockets) == 1 or all(socket.connected for socket in self.sockets):
            self.connection.context.wheel.remove(self)
            self._asked = self._deadline = 0.0  # two floats less for each connection that is idle

    def refuse(self, namespace: str, socket: Lifecycle, message: str, data: Any) -> None:
        """A socket was refused: tell the client why."""
        self.forget(socket)
        self._send_refusal(namespace, message, data)

    def _send_refusal(self, name: str, message: str, data: Any) -> None:
        payload = {"message": message} if data is None else {"message": message, "data": data}
        try:
            text, attachments = self._context.codec.encode(CONNECT_ERROR, name, payload)
        except PayloadError as error:
            log.error("the data of a refusal is left out, it %s", error)
            text, attachments = self._context.codec.encode(CONNECT_ERROR, name, {"message": message})
        self._context.ticker.seal()
        if text:
            self.connection.outbox.packet(text.decode())
        for attachment in attachments:
            self.connection.outbox.packet(attachment)

    def on_due(self, now: float) -> None:
        """The connection entered no namespace in time."""
        if now < self._deadline:
            self.connection.context.wheel.place(self, self._deadline)
            self._tell_where_it_waits(now - self._asked)
        elif not any(socket.connected for socket in self.sockets):
            log.debug("no namespace joined in time: connection closed")
            self._context.stats.connect_timeouts += 1
            self.connection.close("forced close")

    def _expect_acceptance(self) -> None:
        settings = self._context.settings
        first = min(settings.slow_connect or inf, settings.connect_timeout)
        self._deadline = self.connection.context.wheel.after(self, first) - first + settings.connect_timeout

    def _tell_where_it_waits(self, seconds: float) -> None:
        waiting = [socket for socket in self.sockets if not socket.connected]
        if not waiting or seconds < self._context.settings.slow_connect / 2:
            return  # it has not asked for a namespace, or did late
        stats = self._context.stats
        stats.slow_connects += 1
        if stats.slow_connects > SLOW_TOLD and stats.slow_connects % SLOW_EACH:
            return
        frames = find(self._context.runners.coroutines(), Lifecycle.accept.__code__, waiting[0])
        log.warning(
            "socket %s waits to be let into %s for %.1f s; %d clients did so until now. "
            "Its middleware or connect handler is here:\n%s",
            waiting[0].id,
            waiting[0].namespace.name,
            seconds,
            stats.slow_connects,
            written(frames) or "  in Shoal",
        )

    # ---- going

    def forget(self, socket: Lifecycle) -> None:
        """A socket has left."""
        self._has_left = self.connection.open
        self.sockets = tuple([other for other in self.sockets if other is not socket])
        if self._root is socket:
            self._root = None

    def resume_reading(self) -> None:
        """A socket can take events again: read on, unless another one has too many."""
        if not any(socket.is_full for socket in self.sockets):
            self.connection.resume_reading()

    def disconnect(self) -> None:
        """End the client's sockets in all namespaces, and close the connection."""
        for socket in self.sockets:
            socket.disconnect()
        self.connection.close("forced server close")

    def closed(self, reason: str) -> None:
        """The connection has ended."""
        self.connection.context.wheel.remove(self)
        for socket in self.sockets:
            socket.closed(reason)


class MsgpackClient(Client):
    """One whose parser is msgpack: each packet is a binary message."""

    __slots__ = ()

    def receive_text(self, payload: bytes) -> None:
        self._broken_text(SocketProtocolError("text, where the parser is msgpack"), payload)

    def receive_binary(self, payload: bytes) -> None:
        try:
            packet = msgpack.decode(payload, self._context.settings.max_depth)
        except SocketProtocolError as error:
            self._broken(error)
        else:
            self._take(packet)
