"""The table of an engine's sessions: by id, and how many each address has.

It opens sessions and is called at their end. Whether a client may have one is decided in :mod:`.admission`; what
carries it is a lane's business.
"""

from __future__ import annotations

from collections import Counter

from ..http.request import Request
from ..protocol.engineio import Packet, encode_open
from ..protocol.session import State
from .connection import Connection
from .context import EngineContext
from .ids import new_session_id

__all__ = ["SessionTable"]


class SessionTable:
    """The open sessions of one engine.

    Args:
        context: What they share.
        prefix: What their ids begin with.
    """

    __slots__ = ("_context", "_on_end", "addresses", "by_id", "final_packets", "prefix")

    def __init__(self, context: EngineContext, prefix: str) -> None:
        self._context = context
        self._on_end = self._forget  # one for all sessions
        self.prefix: str = prefix
        """What session ids begin with; see :func:`.ids.session_prefix`."""
        self.by_id: dict[str, Connection] = {}
        self.addresses: Counter[str] = Counter()
        """Sessions of each address, if ``max_connections_per_address`` asks for it."""
        self.final_packets: dict[str, list[Packet]] = {}
        """By id: of sessions that were closed while no poll waited. Each polling lane removes its own in time."""

    def open(self, state: State, request: Request) -> tuple[Connection, str]:
        """Open a session. Returns it and its OPEN packet, which the lane must send first."""
        context = self._context
        settings = context.settings
        connection = Connection(context, new_session_id(self.prefix), state, request, self._on_end)
        self.by_id[connection.sid] = connection
        if settings.max_connections_per_address:
            self.addresses[connection.address] += 1
        context.wheel.place(connection, connection.due)
        can_upgrade = state is State.POLLING and settings.allow_upgrades and "websocket" in settings.transports
        upgrades = ("websocket",) if can_upgrade else ()
        return connection, encode_open(
            connection.sid, upgrades, settings.ping_interval, settings.ping_timeout, settings.max_payload
        )

    def _forget(self, connection: Connection) -> None:
        """A session has ended."""
        self.by_id.pop(connection.sid, None)
        self._context.wheel.remove(connection)
        if self._context.settings.max_connections_per_address:
            address = connection.address
            self.addresses[address] -= 1
            if self.addresses[address] <= 0:
                del self.addresses[address]
