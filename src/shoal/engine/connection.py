"""One client as its node sees it: an Engine.IO session, what it sends and what it receives.

A ``Connection`` is the session's state (:mod:`shoal.protocol.session`), its outbox, the lane that carries it at the
moment, and a receiver for what arrives. It lives through the upgrade from polling to a WebSocket. Bytes of a
transport are the lane's business, packets of Socket.IO the receiver's; the engine is not known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, Protocol, TypeVar, overload

from ..errors import EngineProtocolError
from ..fanout.outbox import Outbox
from ..http.request import Request, is_secure, trusted_address
from ..protocol import engineio
from ..protocol.frames import text_frame
from ..protocol.session import Heartbeat, Move, Session, State
from .context import EngineContext
from .lane import INVALID_DATA, NORMAL_CLOSURE, Lane

__all__ = ["Connection", "Receiver", "is_utf8"]

log: Final = logging.getLogger("shoal.engine")

F = TypeVar("F", bound=Callable[..., Any])

MESSAGE: Final = ord(engineio.MESSAGE)
PING: Final = ord(engineio.PING)
PING_FRAME: Final = text_frame(engineio.PING.encode())
PONG: Final = ord(engineio.PONG)
CLOSE: Final = ord(engineio.CLOSE)
BASE64: Final = ord("b")
IGNORED: Final = frozenset(map(ord, (engineio.OPEN, engineio.UPGRADE, engineio.NOOP)))


# What applications use of a session; the rest is for those who carry it.
PUBLIC: Final = ("address", "buffered", "close", "id", "on", "open", "request", "secure", "send", "transport")


def is_utf8(payload: bytes) -> bool:
    """Whether a text message may be one at all (RFC 6455 section 8.1)."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


class Receiver(Protocol):
    """Who gets what arrives on a session. One object, not three functions: an idle connection would hold a bound method
    for each."""

    def receive_text(self, payload: bytes, /) -> object:
        """Take a text message as UTF-8, Engine.IO's ``4`` still in front."""

    def receive_binary(self, payload: bytes, /) -> object:
        """Take a binary message."""

    def closed(self, reason: str, /) -> object:
        """The session has ended; the reason is in Node's words. Called once."""


class _Nobody:
    """Before the session has a receiver, and behind its end."""

    def receive_text(self, payload: bytes) -> None: ...

    def receive_binary(self, payload: bytes) -> None: ...

    def closed(self, reason: str) -> None: ...


NOBODY: Final = _Nobody()


class Connection(Session):
    """One session on this node.

    Applications of :class:`shoal.Engine` get it as ``session``: ``id``, ``transport``, ``send``, ``close``.

    Args:
        context: What the sessions of its engine share.
        sid: Its id.
        state: ``POLLING`` or ``WEBSOCKET``.
        request: The request that opened it.
        forget: Called once, with this connection, when it ends.
    """

    __slots__ = (
        "__weakref__",
        "_forget",
        "context",
        "lane",
        "listeners",
        "outbox",
        "paused",
        "receiver",
        "request",
        "slot",
    )

    def __init__(
        self, context: EngineContext, sid: str, state: State, request: Request, forget: Callable[[Connection], None]
    ) -> None:
        settings = context.settings
        super().__init__(sid, state, context.wheel.now(), settings.ping_interval, settings.ping_timeout)
        self.context: EngineContext = context
        self._forget = forget
        self.request: Request = request
        self.outbox: Outbox = Outbox(context.outbox_rules, self)
        self.lane: Lane | None = None
        """What carries it at the moment; ``None`` before the first one and after the end."""
        self.slot: int = -1
        self.paused: bool = False
        """Whether nothing is read from the client, so that its pongs cannot arrive."""
        self.receiver: Receiver = NOBODY
        self.listeners: dict[str, list[Callable[..., Any]]] | None = None
        """Of this connection alone; see :meth:`on`."""

    def __dir__(self) -> list[str]:
        return [*PUBLIC]

    def __repr__(self) -> str:
        return f"<session {self.sid} {self.state.value}>"

    @property
    def id(self) -> str:
        """The session's id. It is a secret: who has it can act as the client."""
        return self.sid

    @property
    def open(self) -> bool:
        """Whether messages can still be sent."""
        return self.state is not State.CLOSED

    @property
    def address(self) -> str:
        """Address of the client, behind the proxies that are trusted."""
        return trusted_address(self.request, self.context.settings.trusted_proxies)

    @property
    def secure(self) -> bool:
        """Whether the client's connection is encrypted, or a trusted proxy says that it is."""
        return is_secure(self.request, self.context.settings.trusted_proxies)

    @property
    def buffered(self) -> int:
        """Bytes that wait for the client, here and in the transport."""
        return self.outbox.held_size + (self.lane.buffered if self.lane is not None else 0)

    @overload
    def on(self, event: str, function: None = None) -> Callable[[F], F]: ...

    @overload
    def on(self, event: str, function: F) -> F: ...

    def on(self, event: str, function: Callable[..., Any] | None = None) -> Any:
        """Register a plain function for ``upgrade`` (transport's name) or ``close`` (reason) of this connection.

        Called with an event only, it is a decorator.
        """
        if function is None:
            return lambda decorated: self.on(event, decorated)
        if self.listeners is None:
            self.listeners = {}
        self.listeners.setdefault(event, []).append(function)
        return function

    def notify(self, event: str, *args: Any) -> None:
        """Call the functions that :meth:`on` registered."""
        for function in (self.listeners or {}).get(event, ()):
            try:
                function(*args)
            except Exception:
                log.exception("a listener of %r failed", event)

    def send(self, data: str | bytes) -> None:
        """Send one message, text or binary. After the session's end it is ignored. May be called from any thread."""
        if get_ident() != self.context.home.thread and self.context.home.move(self.send, data):
            return
        self.outbox.packet(engineio.MESSAGE + data if isinstance(data, str) else bytes(data))

    def attach(
        self,
        lane: Lane,
        write: Callable[[Any], object],
        *,
        framed: bool,
        writable: bool = True,
        descriptor: int = -1,
    ) -> None:
        """Let ``lane`` carry the session from now on. The rest is for :meth:`.Outbox.attach`."""
        previous, self.lane = self.lane, lane
        if previous is not None:
            previous.detach()
            if self.lane is not lane:
                return  # a listener, notified of a poll that came too late, closed it
        if self.paused:
            lane.pause_reading()
        self.outbox.attach(write, framed=framed, writable=writable, descriptor=descriptor)

    def close(self, reason: str = "forced close", *, abort: bool = False) -> None:
        """End the session. What was sent before is still delivered, unless ``abort``.

        Args:
            reason: Passed to the receiver's ``closed``.
            abort: Drop what waits, and the connection with it: for peers that do not read.

        May be called from any thread.
        """
        home = self.context.home
        if get_ident() != home.thread and home.move(self._close, reason, abort, NORMAL_CLOSURE):
            return
        self._close(reason, abort, NORMAL_CLOSURE)

    def _close(self, reason: str, abort: bool, code: int) -> None:
        if self.state is State.CLOSED:
            return
        self.move(Move.CLOSE)
        self._forget(self)
        lane, self.lane = self.lane, None
        try:
            if not abort:
                self.context.settle()
                self.outbox.flush()
                if self.outbox.framed:
                    self.outbox.hand_over()  # the transport takes the rest; the lane's closing deadline bounds it
            if lane is not None:
                lane.close(abort=abort, code=code)
        finally:
            self.outbox.close()
        self._notify_closed(reason)

    def lost(self, reason: str = "transport close") -> None:
        """The transport is gone."""
        if self.state is not State.CLOSED:
            self.move(Move.CLOSE)
            self._forget(self)
            self.lane = None
            self.outbox.close()
            self._notify_closed(reason)

    def _notify_closed(self, reason: str) -> None:
        if self.listeners is not None:
            self.notify("close", reason)
            self.listeners = None
        receiver, self.receiver = self.receiver, NOBODY
        receiver.closed(reason)

    def receive_text(self, payload: bytes) -> None:
        """Take one Engine.IO packet that came as text, as UTF-8."""
        kind = payload[0] if payload else -1
        if kind == MESSAGE:
            self.receiver.receive_text(payload)
        elif kind == BASE64:
            self._receive_base64(payload)
        elif (len(payload) > 1 or kind > 127) and self.close_if_not_utf8(payload):
            return
        elif kind == PONG:
            self.pong(self.context.wheel.now())
            self.context.wheel.place(self, self.due)
        elif kind == CLOSE:
            self.close("transport close")
        elif kind not in IGNORED:
            self.context.stats.broken += 1
            # In version 4 the server pings, not the client (engine.io 6.6, ``Socket.onPacket``).
            self.close("transport error" if kind == PING else "parse error")

    def close_if_not_utf8(self, payload: bytes) -> bool:
        """Close the session if a text message is no UTF-8, which breaks the protocol of WebSockets; whether it did.

        Whoever takes text asks it of a message that could not be understood. Others are known to be UTF-8 by then.
        """
        if is_utf8(payload):
            return False
        self.context.stats.broken += 1
        self._close("transport error", abort=False, code=INVALID_DATA)
        return True

    def _receive_base64(self, payload: bytes) -> None:
        """Take a binary message of a client that sends no binary frames (``forceBase64`` of the official client)."""
        try:
            data = engineio.binary_from_text(payload.decode("utf-8", "replace"))
        except EngineProtocolError:
            if not self.close_if_not_utf8(payload):
                self.context.stats.broken += 1
                self.close("parse error")
        else:
            self.receiver.receive_binary(data)

    def receive_binary(self, payload: bytes) -> None:
        """Take one binary message."""
        self.receiver.receive_binary(payload)

    def try_move(self, move: Move) -> bool:
        """Make a move if it is legal now; returns whether it was."""
        try:
            self.move(move)
        except EngineProtocolError:
            return False
        return True

    def release_poll(self) -> None:
        """Answer the pending poll, if there is one: the client is about to upgrade."""
        if self.lane is not None:
            self.lane.release_poll()

    def pause_reading(self) -> None:
        """Take nothing more from this client until :meth:`resume_reading`: it sends faster than it is served."""
        if not self.paused:
            self.paused = True
            self.context.stats.pauses += 1
        if self.lane is not None:
            self.lane.pause_reading()

    def resume_reading(self) -> None:
        """Read again. The pong may be among what was not read, so it gets its time anew."""
        if not self.paused:
            return
        self.paused = False
        if self.lane is not None:
            self.lane.resume_reading()
        if self.pinged and self.open:
            self.due = self.context.wheel.now() + self.ping_timeout
            self.context.wheel.place(self, self.due)

    def on_due(self, now: float) -> None:
        """The session's deadline has come."""
        heartbeat = self.check_heartbeat(now)
        if heartbeat is Heartbeat.TIMEOUT and self.paused:
            self.due: float = now + self.ping_timeout  # we paused reading, so the pong was not read
        elif heartbeat is Heartbeat.TIMEOUT:
            self.context.stats.ping_timeouts += 1
            self.close("ping timeout", abort=True)
            return
        if heartbeat is Heartbeat.PING:
            collect = self.context.collect
            if self.outbox.framed and collect is not None:
                collect(self.outbox, PING_FRAME)  # with those of others that are due: one system call
            else:
                self.outbox.packet(engineio.PING)
        if self.open:
            self.context.wheel.place(self, self.due)

    def expired(self, now: float) -> bool:
        """Whether the heartbeat is overdue, though the timer has not fired yet."""
        if self.open and self.pinged and now >= self.due and not self.paused:
            self.context.stats.ping_timeouts += 1
            self.close("ping timeout", abort=True)
        return not self.open

    def overflow(self) -> None:
        """More waits for this client than the bound allows."""
        asyncio.get_running_loop().call_soon(self._close_slow)

    def _close_slow(self) -> None:
        self.context.log_once("outbox", "a client does not read: %d bytes wait, it is cut off", self.outbox.rules.limit)
        self.close("transport error", abort=True)
