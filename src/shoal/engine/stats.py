"""What the bounds of an engine's connections have cut off or refused. Plain ints; whoever is interested reads them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EngineStats"]


@dataclass(slots=True)
class EngineStats:
    """Counts of one engine since it was made."""

    bad_heads: int = 0
    """Connections closed because the head of an HTTP request was too large or too slow; only under the fast lane."""
    too_many_requests: int = 0
    """Connections closed because too many requests waited behind another; only under the fast lane."""
    too_large: int = 0
    """Messages and polling requests larger than ``max_payload``."""
    too_many_packets: int = 0
    """Polling requests with more packets than ``max_packets_per_poll``."""
    broken: int = 0
    """Connections closed for bytes that were no WebSocket frame, no polling payload or no Engine.IO packet."""
    pauses: int = 0
    """Times that reading from a connection paused, since ``max_waiting_events`` waited."""
    second_polls: int = 0
    """Sessions closed because a second poll came while one waited."""
    too_many_connections: int = 0
    """Handshakes refused because their address holds ``max_connections_per_address`` sessions."""
    foreign_origins: int = 0
    """WebSockets refused because their page's origin is not in ``cors_origins``."""
    ping_timeouts: int = 0
    """Sessions closed because no pong came within ``ping_timeout``."""
    upgrade_timeouts: int = 0
    """WebSockets closed because they did not complete an upgrade within ``upgrade_timeout``."""
    forwarded: int = 0
    """Requests and WebSockets of other nodes' sessions that were passed on to those."""
    forward_refused: int = 0
    """Requests not passed on, or not answered, since ``max_forwarded`` or ``max_forwarded_bytes`` were under way."""
    forward_timeouts: int = 0
    """Requests that another node did not accept within ``forward_timeout``, or did not answer in time."""
    forward_failures: int = 0
    """Requests whose node was not there any more, or was another one than it said."""
