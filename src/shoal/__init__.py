"""Shoal: a Socket.IO server for Python that scales out. The public names, nothing else."""

from __future__ import annotations

from .adapter.sockets import Answers
from .emitter import Emitter, SyncEmitter
from .errors import (
    AckTimeout,
    BrokerError,
    ConfigurationError,
    ConnectionRefused,
    EventWarning,
    NotConnected,
    PayloadError,
    ProtocolError,
    RoomRefused,
    ShoalError,
)
from .handlers.registry import NO_ACK
from .server.broadcast import Broadcast
from .server.engine import Engine
from .server.namespace import Namespace, event
from .server.remote import SocketList
from .server.server import Server
from .server.socket import Socket

__all__ = [
    "NO_ACK",
    "AckTimeout",
    "Answers",
    "Broadcast",
    "BrokerError",
    "ConfigurationError",
    "ConnectionRefused",
    "Emitter",
    "Engine",
    "EventWarning",
    "Namespace",
    "NotConnected",
    "PayloadError",
    "ProtocolError",
    "RoomRefused",
    "Server",
    "ShoalError",
    "Socket",
    "SocketList",
    "SyncEmitter",
    "event",
]

__version__ = "0.1.0"
