"""The tree of Shoal's exceptions, drawn by whose fault it was.

::

    ShoalError
    ├── ConfigurationError      the operator's: a bad option, a port in use, a missing program, nothing that runs
    ├── ConnectionRefused       the application's decision: middleware or a connect handler says no
    ├── RoomRefused             the client's, most likely: one room too many, or one named like another socket's id
    ├── PayloadError            the application's: an event that cannot be put on the wire
    ├── AckTimeout              the client's: it did not answer a call in time
    ├── NotConnected            the client's: it has gone while something waited for it
    ├── ProtocolError           the peer's: bytes that are no Engine.IO or Socket.IO
    │   ├── EngineProtocolError
    │   └── SocketProtocolError
    └── BrokerError             the broker's: it is away, or it refuses us

    UserWarning
    └── EventWarning            the application's, probably: a handler of an event that never happens

Foreign exceptions are mapped to these at the edge, with their cause kept. This module imports nothing.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AckTimeout",
    "BrokerError",
    "ConfigurationError",
    "ConnectionRefused",
    "EngineProtocolError",
    "EventWarning",
    "NotConnected",
    "PayloadError",
    "ProtocolError",
    "RoomRefused",
    "ShoalError",
    "SocketProtocolError",
]


class ShoalError(Exception):
    """Root of everything that Shoal raises on purpose."""


class ConfigurationError(ShoalError):
    """An option, an address or the environment is wrong. Nothing was started, or sent."""


class ConnectionRefused(ShoalError):
    """Raised by middleware or a connect handler to refuse a client.

    The client's ``connect_error`` event gets an error with this message, and ``data`` beside it.

    Args:
        message: What the client is told.
        data: Anything that JSON can hold; ``None`` leaves it out.
    """

    def __init__(self, message: str = "connection refused", data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class RoomRefused(ShoalError):
    """A socket cannot join a room: it is in ``max_rooms``, or the name is another socket's id.

    Raised out of a handler it is the answer to the event, if an acknowledgement was asked for.
    """


class PayloadError(ShoalError):
    """An argument of ``emit``, or what a handler returned, cannot be encoded. Nothing was sent."""


class AckTimeout(ShoalError):
    """A client did not acknowledge an event in time.

    Args:
        event: The event that was emitted.
        timeout: How long was waited, in seconds.
    """

    def __init__(self, event: str, timeout: float) -> None:
        super().__init__(event, timeout)
        self.event = event
        self.timeout = timeout

    def __str__(self) -> str:
        return f"no acknowledgement of {self.event!r} within {self.timeout:g} s"


class NotConnected(ShoalError):
    """The client is not connected, or left while its answer was awaited."""


class ProtocolError(ShoalError):
    """A peer sent bytes that break the protocol. Its connection is closed; nobody else notices."""


class EngineProtocolError(ProtocolError):
    """Bytes that are no Engine.IO packet or payload, or that exceed a bound."""


class SocketProtocolError(ProtocolError):
    """An Engine.IO message that is no Socket.IO packet, or that exceeds a bound."""


class BrokerError(ShoalError):
    """The broker cannot be reached or refuses a command."""


class EventWarning(UserWarning):
    """A handler was registered for an event that never happens, by a name that was probably meant otherwise.

    Such a name may be meant all the same: ``warnings.filterwarnings("ignore", category=EventWarning)``.
    """
