"""The contract of a bus: it carries bytes on named channels between nodes, and says whether it can do so right now.

Here are the protocol that every bus keeps, its counters, and its bounds. A bus knows no rooms, no packets and no nodes;
it never looks into a payload. ``tests/contract/test_bus.py`` holds every implementation to this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs, urlsplit

from ..errors import BrokerError, ConfigurationError

__all__ = [
    "BACKOFF_FIRST",
    "BACKOFF_MAX",
    "BUFFER_BYTES",
    "CLOSE_FLUSH",
    "CONNECT_TIMEOUT",
    "DEFAULT_LIMITS",
    "PROBE_INTERVAL",
    "PROBE_TIMEOUT",
    "Bus",
    "BusLimits",
    "BusStats",
    "LogBus",
    "LogOptions",
    "OnMessage",
    "OnState",
    "encode_channel",
    "label_of",
    "prefix_in_database",
]

OnMessage = Callable[[str, bytes], None]
"""Called with a channel and a payload, on the loop, in the order of arrival."""
OnState = Callable[[bool], None]
"""Called with ``True`` when the link is up and every subscription is placed, with ``False`` when it is down."""

BUFFER_BYTES = 8 * 1024 * 1024
"""A second or two of a busy node's broadcasts: enough for a broker's restart, and a size nobody has to plan for."""
CONNECT_TIMEOUT = 5.0
"""Several round trips to another continent, TLS included. A peer that is silent for longer is not a broker."""
PROBE_INTERVAL = 5.0
"""One small message a node every five seconds costs nothing, and a node that receives nothing is found within ten."""
PROBE_TIMEOUT = 5.0
"""Longer than a fork or a slow command usually holds a broker up: to reconnect all nodes costs more than to wait."""
BACKOFF_FIRST = 0.05
"""Of the second attempt: the first one after the loss of a link that had held is made at once."""
BACKOFF_MAX = 0.5
"""With full jitter a node tries four times a second, and an outage ends a quarter of a second after the broker's does:
who comes back later than others misses what they say meanwhile."""
CLOSE_FLUSH = 1.0
"""Seconds that ``close`` gives waiting publishes. A deployment waits for this, node by node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusLimits:
    """Bounds and intervals of a bus. Durations are seconds, sizes are bytes.

    Raises:
        ConfigurationError: A value is not greater than zero.
    """

    buffer_bytes: int = BUFFER_BYTES
    """Publishes that may wait while the broker is away or does not read. Beyond it the oldest are dropped."""
    connect_timeout: float = CONNECT_TIMEOUT
    """How long connecting, greeting, or one step of placing the subscriptions may take."""
    probe_interval: float = PROBE_INTERVAL
    """Pause between two probes: messages that a node sends to itself to know that it still receives."""
    probe_timeout: float = PROBE_TIMEOUT
    """How long a probe may take before the link is declared down. Keep it above the longest stall of the loop."""
    backoff_first: float = BACKOFF_FIRST
    """Upper end of the first pause between two attempts. It doubles with every failure; the pause itself is random.
    A link that had held for longer than ``backoff_max`` is replaced without one."""
    backoff_max: float = BACKOFF_MAX
    """Where the doubling ends."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigurationError(f"{field.name}={getattr(self, field.name)!r}: must be more than 0")


DEFAULT_LIMITS = BusLimits()


@dataclass(slots=True)
class BusStats:
    """What a bus has counted since it was made."""

    published: int = 0
    """Publishes handed to the broker, each once."""
    dropped: int = 0
    """Publishes dropped at a bound, refused by the broker, or left at ``close``; on ``memory://`` also deliveries."""
    unconfirmed: int = 0
    """Published, but the link was lost before the broker answered, and not kept: delivered or not, none can tell."""
    resent: int = 0
    """Publishes that were kept until the broker answers, and published again after the loss of the link."""
    unheard: int = 0
    """Publishes that waited for nodes which did not come back in time, and left without them."""
    received: int = 0
    """Messages passed to ``on_message``."""
    reconnects: int = 0
    """Times the link came back after it had been up."""


class LogOptions(NamedTuple):
    """What the logs of a cluster are like."""

    prefix: str
    """First part of every key."""
    sender: str
    """Counts its messages under this name: the node's tag."""
    length: int
    """Messages that each log keeps, at least."""
    lifetime: float
    """Seconds after its last message for which a log is kept."""

    @property
    def counter(self) -> bytes:
        """Key of the epoch and the newest number."""
        return f"{self.prefix}#number".encode()

    @property
    def logs(self) -> bytes:
        """What the keys of logs begin with."""
        return f"{self.prefix}#log#".encode()


class Bus(Protocol):
    """Carries bytes on channels. All methods are called on the loop that ``start`` ran on.

    Order: what one node publishes arrives at every subscriber in publish order, across channels. A node receives
    its own publishes. What is published while a subscriber's link is lost does not reach it. What the broker had not
    confirmed when the publisher's link was lost is published again before anything newer, so it may arrive twice:
    who must not receive it twice numbers what it publishes.
    """

    up: bool
    """Whether the link is usable and every subscription is placed."""
    stats: BusStats

    @property
    def waiting(self) -> int:
        """Bytes of publishes that wait for the link, or for the broker to read."""

    async def start(self, on_message: OnMessage, on_state: OnState) -> None:
        """Connect, and stay connected until ``close``.

        Returns once the first attempt was made, successful or not; further ones follow with growing, random pauses.
        ``on_state`` alternates, beginning with ``True``; before that the bus is down. Callbacks run on the loop and
        must not block; one that raises is logged. None runs after ``close`` was called.

        Raises:
            RuntimeError: The bus was started before, or is closed.
        """

    def publish(self, channel: str, payload: bytes) -> None:
        """Queue ``payload`` for every subscriber of ``channel``.

        Never waits and never raises for a broker that is away: the message is kept until it is back. Beyond
        ``BusLimits.buffer_bytes`` the oldest waiting messages are dropped, counted, and logged once per outage.
        """

    def publish_first(self, channel: str, payload: bytes) -> None:
        """Publish at once, ahead of what waits and during :meth:`hold`. Lost if the link is down, or is lost now."""

    def hold(self) -> None:
        """Let publishes wait until :meth:`release`, within their bound, though the link is up. It ends with the link.

        Called from ``on_state``, it comes before anything that waited is published.
        """

    def release(self) -> int:
        """Publish what waits. Idempotent. Returns how many publishes waited."""

    def subscribe(self, channel: str) -> None:
        """Receive ``channel`` once the broker has taken the subscription: see ``settled``. Idempotent, never waits."""

    def unsubscribe(self, channel: str) -> None:
        """Receive nothing on ``channel`` any more, from now on. Idempotent, never waits."""

    async def settled(self, timeout: float) -> bool:
        """Wait until the broker has confirmed every ``subscribe`` and ``unsubscribe`` made before this call.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            ``True`` once confirmed. ``False`` after ``timeout``, and at once while the link is down or when it is lost.
        """

    async def close(self) -> None:
        """Flush for up to ``CLOSE_FLUSH`` seconds, then disconnect. Idempotent. Leaves no task and no socket."""


class LogBus(Bus, Protocol):
    """A bus that also keeps messages in logs, numbered. See :class:`.redis_streams.RedisStreamsBus`."""

    options: LogOptions
    epoch: str
    epochs: int
    catching_up: bool
    logs: Callable[[], Iterable[str]]
    on_entry: Callable[[int, bytes], None]
    on_gap: Callable[[Iterable[str] | None, bool], None]

    @property
    def last(self) -> int:
        """The newest number that was received."""

    def append(
        self, channel: str, log: str, payload: bytes, done: Callable[[BrokerError | None], None] | None = None
    ) -> None:
        """Number a message, keep it in a log, and publish it on a channel."""

    def run(
        self, script: bytes, keys: Iterable[bytes], args: Iterable[bytes | int], answer: Callable[[Any], None]
    ) -> None:
        """Call a script of the broker; its answer comes in line with the messages."""


def encode_channel(channel: str) -> bytes:
    """Return the bytes of a channel's name. Any ``str`` has some: JavaScript's room names may hold lone surrogates."""
    return channel.encode("utf-8", "surrogatepass")


def prefix_in_database(url: str, prefix: str) -> str:
    """First part of the channels of a cluster whose logs lie in the database that a URL names: Pub/Sub knows none."""
    parts = urlsplit(url)
    [number, *_] = parse_qs(parts.query).get("db", [parts.path.strip("/")])  # as redis-py reads it
    return f"{prefix}@{int(number)}" if number.isdecimal() and int(number) else prefix


def label_of(url: str) -> str:
    """A broker's URL as it may be logged: without user, password and options."""
    scheme, _, rest = url.partition("://")
    authority, _, query = rest.partition("?")
    return f"{scheme}://" + ("..." if "@" in query else authority.rpartition("@")[2].partition("/")[0])
