"""What a load test is asked to do, checked before anything is opened. Knows bounds and nothing of sockets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from .marks import MARK_SIZE

__all__ = ["Mode", "Plan", "Transport", "check"]

Mode = Literal["broadcast", "echo"]
Transport = Literal["websocket", "polling"]

MAX_CLIENTS = 20_000  # one local address has some 28,000 ports, and a process seldom more open files
MAX_SECONDS = 3_600.0  # an hour: whoever wants more wants a monitoring system
MAX_PAYLOAD = 900_000  # Socket.IO's own bound is 1,000,000 bytes for a whole message
MAX_IN_FLIGHT = 1_000
MAX_RATE = 1_000_000.0
MAX_PAIRS = 5_000_000  # a number is kept for each client and each publisher that it receives from


@dataclass(frozen=True)
class Plan:
    """One load test.

    Attributes:
        url: Server, such as ``http://127.0.0.1:1111``; ``https`` is TLS.
        path: Where Socket.IO answers, with a slash at both ends.
        namespace: Namespace that every client connects to.
        auth: What every client sends with its CONNECT; None sends nothing.
        transport: Transport that every client uses throughout.
        mode: ``broadcast``: what a publisher emits comes back to everybody in its room. ``echo``: every client's emit
            is acknowledged.
        clients: Connections.
        publishers: How many of the clients emit; in mode ``echo``, all.
        rooms: Rooms over which the clients are spread evenly; None: the server decides who receives what.
        event: Event that is emitted, with the room before the text where there are rooms.
        reply_event: Event that comes back (mode ``broadcast``).
        join_event: Acknowledged event that puts a client into a room.
        rate: Messages per second of all publishers together (open loop); None: closed loop.
        in_flight: Closed loop: messages that each publisher has under way.
        payload: Length of each text in bytes.
        duration: Measured time in seconds, after ``warmup`` seconds that do not count.
        ramp: Seconds over which the connections are opened.
        verify: False accepts any certificate.
    """

    url: str
    path: str
    namespace: str
    auth: Any
    transport: Transport
    mode: Mode
    clients: int
    publishers: int
    rooms: int | None
    event: str
    reply_event: str
    join_event: str
    rate: float | None
    in_flight: int
    payload: int
    duration: float
    warmup: float
    ramp: float
    verify: bool

    @property
    def groups(self) -> int:
        """Client i receives what client j emits if both leave the same remainder when divided by this."""
        return self.clients if self.mode == "echo" else self.rooms or 1

    def receivers(self, client: int) -> int:
        """How many clients receive what this one emits, itself included."""
        return len(range(client % self.groups, self.clients, self.groups))

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        return parts.hostname, parts.port or (443 if self.secure else 80)

    @property
    def secure(self) -> bool:
        """Whether the connection uses TLS."""
        return urlsplit(self.url).scheme == "https"


def check(plan: Plan) -> Plan:
    """Return the plan if it can be carried out.

    Raises:
        ConfigurationError: It cannot; the text names the option and its bounds.
    """
    _check_url(plan)
    _within("--clients", plan.clients, 1, MAX_CLIENTS)
    _within("--rooms", 1 if plan.rooms is None else plan.rooms, 1, plan.clients)
    _within("--publishers", plan.publishers, 1, plan.clients)
    _within("--in-flight", plan.in_flight, 1, MAX_IN_FLIGHT)
    _within("--payload", plan.payload, MARK_SIZE, MAX_PAYLOAD)
    _within("--duration", plan.duration, 0.1, MAX_SECONDS)
    _within("--warmup", plan.warmup, 0, MAX_SECONDS)
    _within("--ramp", plan.ramp, 0, MAX_SECONDS)
    if plan.rate is not None:
        _within("--rate", plan.rate, 0.1, MAX_RATE)
    if plan.mode == "broadcast" and plan.publishers / plan.groups * plan.clients > MAX_PAIRS:
        raise ConfigurationError(f"--clients times --publishers (per room) must be at most {MAX_PAIRS:,}")
    if plan.mode == "echo" and plan.rooms:
        raise ConfigurationError("--rooms has no meaning with --mode echo")
    return plan


def _check_url(plan: Plan) -> None:
    try:
        parts = urlsplit(plan.url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        port_is_right = False
    if not port_is_right or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            f"not the URL of a server: {plan.url!r}; expected something like http://127.0.0.1:1111"
        )
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ConfigurationError(f"the URL must end after the port: {plan.url!r}; see --path and --namespace")
    if not (plan.path.startswith("/") and plan.path.endswith("/")):
        raise ConfigurationError(f"--path must begin and end with a slash, unlike {plan.path!r}")
    if not plan.namespace.startswith("/") or "," in plan.namespace:
        raise ConfigurationError(f"--namespace must begin with a slash and hold no comma, unlike {plan.namespace!r}")


def _within(option: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigurationError(f"{option} must be from {low:,} to {high:,}, not {value:,}")
