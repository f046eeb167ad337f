"""What every WebSocket lane does the same, whoever carries its frames: open a session, or take one over from polling.

The upgrade follows Node's server (engine.io 6.6, ``Socket._maybeUpgrade``): ``2probe`` is answered with ``3probe``, the
pending poll is released with a noop, and ``5`` moves the session. A second WebSocket for a session that has one is
accepted and closed, since a refusal in HTTP would look like an error to the client.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from ..http.request import Request
from ..protocol import engineio
from ..protocol.engineio import Packet
from ..protocol.session import Move, State
from .admission import BAD_REQUEST, UNKNOWN_SID, Refusal
from .base import BaseEngine
from .connection import Connection, is_utf8
from .context import EngineContext
from .lane import INVALID_DATA, NORMAL_CLOSURE

__all__ = ["WebSocketLane", "begin", "find_session", "ignore"]

PROBE: Final = b"2probe"
UPGRADE: Final = engineio.UPGRADE.encode()


def find_session(engine: BaseEngine[Any], request: Request) -> Connection | Refusal | None:
    """The session that a WebSocket request names, ``None`` if it names none, or why it cannot have it."""
    sid = request.query.get("sid")
    if sid is None:
        return None
    connection = engine.sessions.get(sid)
    if connection is None:
        return UNKNOWN_SID
    return connection if engine.settings.allow_upgrades else BAD_REQUEST


def begin(engine: BaseEngine[Any], lane: WebSocketLane, request: Request, found: Connection | None) -> None:
    """The handshake is done: open a session on the WebSocket, or begin the upgrade of the one that was found."""
    if found is not None:
        lane.start_upgrade(found)
        return
    connection, packet = engine.table.open(State.WEBSOCKET, request)
    lane.start_session(connection, packet)
    engine.on_session(connection)


def ignore(payload: bytes) -> None:
    """Takes what comes on a WebSocket that is about to be closed: nothing is expected there.

    A function, not a method: a lane that held a method of its own would wait for the garbage collector.
    """


class WebSocketLane(ABC):
    """One WebSocket. Subclasses move its frames.

    Args:
        context: Of the engine whose session it carries.
    """

    __slots__ = ("connection", "context", "receive", "slot", "text_only")

    framed: bool
    """Whether :meth:`write` takes frames, joined at will, or a list of packets."""

    def __init__(self, context: EngineContext) -> None:
        self.context: EngineContext = context
        self.slot: int = -1
        self.text_only: bool = False
        """Whether binary goes as base64 text: the client asked for it with ``b64=1`` (engine.io 6.6, ``Transport``)."""
        self.connection: Connection | None = None
        self.receive: Callable[[bytes], None] = ignore
        """Takes the text messages that arrive, as UTF-8."""

    @abstractmethod
    def write(self, data: Any) -> None:
        """Send frames or packets."""

    @abstractmethod
    def send_packet(self, packet: str) -> None:
        """Send one text packet at once."""

    @abstractmethod
    def start_close(self, code: int = NORMAL_CLOSURE) -> None:
        """Start the closing handshake of the WebSocket, with the code of RFC 6455 section 7.4.1."""

    @abstractmethod
    def close(self, *, abort: bool = False, code: int = NORMAL_CLOSURE) -> None:
        """The session has ended: start the closing handshake with this code, or abort the connection."""

    @abstractmethod
    def pause_reading(self) -> None: ...

    @abstractmethod
    def resume_reading(self) -> None: ...

    @property
    @abstractmethod
    def buffered(self) -> int:
        """Bytes that the transport holds and has not sent."""

    def as_sent(self, packets: list[Packet]) -> list[Packet]:
        """The packets in the form that this client takes."""
        if not self.text_only:
            return packets
        return [packet if isinstance(packet, str) else engineio.binary_as_text(packet) for packet in packets]

    # ---- beginning

    def start_session(self, connection: Connection, open_packet: str) -> None:
        """Carry a new session from its OPEN packet on."""
        self.connection = connection
        self.receive = connection.receive_text
        self.send_packet(open_packet)
        self._carry(connection)

    def start_upgrade(self, connection: Connection) -> None:
        """Begin the upgrade of a session that is on polling."""
        if not connection.try_move(Move.PROBE):
            self.start_close()
            return
        self.connection = connection
        self.receive = self._probe
        self.context.wheel.after(self, self.context.settings.upgrade_timeout)

    def _probe(self, payload: bytes) -> None:
        connection = self.connection
        assert connection is not None
        if payload == PROBE and connection.open:
            self.send_packet(engineio.PONG + "probe")
            connection.release_poll()
        elif payload == UPGRADE and connection.try_move(Move.UPGRADE):
            self.context.wheel.remove(self)
            self.receive = connection.receive_text
            self._carry(connection)
            connection.notify("upgrade", connection.transport)
        elif is_utf8(payload):
            self.start_close()
        else:
            self.context.stats.broken += 1
            self.start_close(INVALID_DATA)

    def _carry(self, connection: Connection) -> None:
        connection.attach(self, self.write, framed=self.framed)

    # ---- end

    def on_due(self, now: float) -> None:
        """The upgrade took too long."""
        self.context.stats.upgrade_timeouts += 1
        self.start_close()

    def lost(self) -> None:
        """The WebSocket is gone; its session with it, unless that still lives on polling."""
        self.context.wheel.remove(self)
        connection, self.connection = self.connection, None
        self.receive = ignore
        if connection is None or connection.try_move(Move.PROBE_LOST):
            return
        if connection.state is State.WEBSOCKET:
            connection.lost()

    def detach(self) -> None:  # noqa: B027 - it does nothing on purpose
        """No other lane takes a session from a WebSocket."""

    def release_poll(self) -> None:  # noqa: B027 - it does nothing on purpose
        """A WebSocket has no pending poll."""
