"""Every option of a server, once: its name, unit, default and reason.

Keyword arguments of :class:`shoal.Server` and :class:`shoal.Engine`, the environment (``SHOAL_PING_INTERVAL=25``) and
the command line are all read into the frozen dataclasses below, in that order of preference. Unknown names are errors.
The module knows no server; constructing settings does nothing.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from .errors import ConfigurationError

__all__ = ["ROUTABLE_NAME", "EngineSettings", "ServerSettings", "parse_address"]

ENVIRONMENT_PREFIX = "SHOAL_"
MAX_INTEGER = 2**53 - 1  # clients are told max_payload, and JavaScript counts no further
TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})
NAMES_ELSEWHERE = {
    "adapter": "broker",
    "client_manager": "broker",
    "cors": "cors_origins",
    "cors_allowed_origins": "cors_origins",
    "max_http_buffer_size": "max_payload",
    "maxHttpBufferSize": "max_payload",
    "socketio_path": "path",
}
"""Options of python-socketio's and Node's servers that have another name here and are not spelt like it."""
ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#*\s]*")
ROUTABLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
"""Names of nodes that can stand in front of a session's id: they fit a URL, a cookie and a balancer's rule as they are,
and have no dot, which ends them there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Options of the Engine.IO half: transports, heartbeat, bounds of one connection.

    Durations are seconds, sizes are bytes. Defaults are those of Node's ``engine.io`` 6.6 where it has the option.
    """

    path: str = "/engine.io/"
    """Where the engine answers. A slash is added at the end; without it a request is not the engine's."""
    transports: tuple[str, ...] = ("polling", "websocket")
    """Transports a client may use."""
    allow_upgrades: bool = True
    """Whether a long-polling session may move to a WebSocket."""
    upgrade_timeout: float = 10.0
    """Seconds that a started upgrade may take before its WebSocket is closed."""
    ping_interval: float = 25.0
    """Seconds between a pong and the next ping."""
    ping_timeout: float = 20.0
    """Seconds that a pong may take before the session is closed."""
    max_payload: int = 1_000_000
    """Bytes of one message or one polling request. Enforced while it arrives."""
    max_packets_per_poll: int = 50_000
    """Packets in one polling request. The browser client posts all that it has at once, so 10,000 are honest; a 1 MB
    body of empty packets must still not cost half a million calls."""
    max_outbox: int = 4_000_000
    """Bytes that may wait for one connection that does not read. Four of the largest messages."""
    outbox_policy: Literal["disconnect", "drop-volatile"] = "disconnect"
    """At ``max_outbox``: ``disconnect`` closes the connection; ``drop-volatile`` drops volatile messages from half of
    it on, and closes at the bound all the same: a queue is never unlimited."""
    max_waiting_events: int = 256
    """Events of one socket, or messages of a session without sockets, that wait for their handlers. Beyond it, reading
    from that connection pauses."""
    max_connections_per_address: int = 0
    """Sessions that one client address may hold at once; 0 is no limit, since a NAT or a proxy is one address."""
    cors_origins: str | tuple[str, ...] | None = "*"
    """Origins that browsers may come from: ``"*"`` for any, a list, or ``None`` for same-origin pages only. Holds for
    WebSockets too, which browsers do not check."""
    cors_credentials: bool = False
    """Send ``Access-Control-Allow-Credentials``; the origin is then echoed, never ``*``."""
    cors_headers: tuple[str, ...] = ()
    """Request headers that a preflight may allow; empty allows what it asks for."""
    cors_max_age: int = 600
    """Seconds that a browser may remember a preflight."""
    cookie: str | None = None
    """Name of a cookie with the session id, for balancers that need one. Shoal does not."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1", "unix")
    """Addresses or networks whose ``X-Forwarded-For`` is believed; ``"unix"`` for whoever connects to a Unix socket,
    ``"*"`` for any."""
    http_compression: bool = False
    """Compress polling responses of a kilobyte and more with gzip, where the client accepts it."""
    per_message_deflate: bool = False
    """Negotiate WebSocket compression. It costs memory per connection, and a broadcast is then framed for each one.
    Under stock uvicorn, which negotiates by itself, it says whether compression is used towards clients."""
    max_head: int = 65_536
    """Bytes of an HTTP request's head, under the fast lane; elsewhere it is the ASGI server's to bound. What uvicorn
    allows its slower parser."""
    head_timeout: float = 20.0
    """Seconds that the head of an HTTP request may take, of the first one since the connection; under the fast lane."""
    close_timeout: float = 5.0
    """Seconds that a client may take to answer a WebSocket close frame."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", "/" + self.path.strip("/") + "/" if self.path.strip("/") else "/")
        for name in ("transports", "cors_headers", "trusted_proxies"):
            object.__setattr__(self, name, _as_tuple(getattr(self, name)))
        if self.cors_origins is not None and not isinstance(self.cors_origins, str):
            origins = tuple(self.cors_origins)
            object.__setattr__(self, "cors_origins", "*" if "*" in origins else origins)
        for origin in _as_tuple(self.cors_origins or ()):
            _check_origin(origin)
        if not self.transports or not set(self.transports) <= {"polling", "websocket"}:
            raise ConfigurationError(f"transports={self.transports!r}: use 'polling', 'websocket' or both")
        if self.outbox_policy not in ("disconnect", "drop-volatile"):
            raise ConfigurationError(f"outbox_policy={self.outbox_policy!r}: use 'disconnect' or 'drop-volatile'")
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if field.type == "float | None" and value is not None and not (is_number and 0 <= value < math.inf):
                raise ConfigurationError(f"{field.name}={value!r}: must be a number, 0 or more, or None")
            if field.type in ("int", "float") and not (is_number and 0 <= value < math.inf):
                raise ConfigurationError(f"{field.name}={value!r}: must be a number, 0 or more")
            if field.type == "int":
                if value > MAX_INTEGER:
                    raise ConfigurationError(f"{field.name}={value!r}: must not be more than {MAX_INTEGER}")
                if value != int(value):
                    raise ConfigurationError(f"{field.name}={value!r}: must be a whole number")
                object.__setattr__(self, field.name, int(value))  # 1e6 is one, and sizes are counted with it
        for network in self.trusted_proxies:
            _check_network(network)
        if self.max_waiting_events < 1:
            raise ConfigurationError(f"max_waiting_events={self.max_waiting_events!r}: must be 1 or more")
        for name in (
            "ping_interval",
            "ping_timeout",
            "upgrade_timeout",
            "max_payload",
            "max_outbox",
            "max_head",
            "head_timeout",
        ):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: must be more than 0")

    @classmethod
    def load(cls, options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Build settings from keyword arguments, falling back to ``SHOAL_*`` variables, then to defaults.

        Raises:
            ConfigurationError: An unknown name, or a value that does not fit.
        """
        known = {f.name: f for f in fields(cls)}
        if unknown := sorted(set(options) - set(known)):
            raise ConfigurationError(f"unknown option {unknown[0]!r}; {_hint(unknown[0], known)}")
        kinds = typing.get_type_hints(cls)
        values = dict(options)
        for name in known:
            text = environment.get(ENVIRONMENT_PREFIX + name.upper())
            if text is not None and name not in values:
                values[name] = _parse(ENVIRONMENT_PREFIX + name.upper(), text, kinds[name])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(EngineSettings):
    """Options of a Socket.IO server: all of :class:`EngineSettings`, and these."""

    path: str = "/socket.io/"
    node: str = ""
    """Name of this node, for logs and for the people who read them. Where it has 1 to 32 letters, digits, ``-`` and
    ``_``, session ids begin with it, so that a balancer can send all requests of a session here. Empty: host name and
    process id. They are nobody's business outside, and no balancer knows them beforehand: session ids do without."""
    broker: str = "memory://"
    """What carries broadcasts between nodes: ``memory://`` (this node alone), ``redis://host:port`` (at most once),
    ``redis+streams://host:port`` (kept, so that a client which comes back to any node has missed nothing)."""
    channel_prefix: str = "shoal"
    """First part of every channel name, so that clusters can share one broker. With ``redis://`` those in two databases
    need two, since Pub/Sub knows no databases; with ``redis+streams://`` they do not hear each other."""
    connect_timeout: float = 45.0
    """Seconds that a new connection may take to enter its first namespace."""
    slow_connect: float = 5.0
    """Seconds after which a client that waits for middleware or a connect handler is logged, with the line at which
    they wait; 0 is never."""
    slow_handler: float | None = None
    """Seconds that a handler may hold the event loop before it is logged with its event and stack; 0 is never.
    ``None``: 0.1 in asyncio's debug mode (``python -X dev``, ``PYTHONASYNCIODEBUG=1``), else never, since it needs a
    thread."""
    handler_threads: int = 16
    """Threads for handlers with ``thread=True``. What blocks mostly waits for a database, which serves few at once."""
    serve_client: bool = True
    """Serve the browser client beside the endpoint."""
    parser: Literal["json", "msgpack"] = "json"
    """Wire of Socket.IO packets; ``msgpack`` is the one of ``socket.io-msgpack-parser``."""
    cleanup_empty_namespaces: bool = True
    """Forget a dynamic namespace when its last socket leaves. Node's default is not to; but then clients can make
    namespaces without end."""
    connection_state_recovery: bool | None = None
    """Let a client that lost its connection come back to its id, rooms, data and what it missed, as Node's option of
    that name does: on one node with ``memory://``, on any node with ``redis+streams://``, where it is on unless this is
    ``False``. Events then have one more argument, their offset."""
    max_disconnection_duration: float = 120.0
    """Seconds that such a client may be away."""
    skip_middlewares: bool = True
    """Do not ask the middleware again about a client that came back to its state."""
    recovery_buffer: int = 16_000_000
    """Bytes of messages that are kept for such clients. Some 35,000 of a chat's."""
    recovery_states: int = 10_000
    """Clients that may be away at once; of more, the first to leave begin anew."""
    max_replay: int = 2_000_000
    """Bytes that a client which comes back may be sent at once, and at most half of ``max_outbox``; with more to say it
    begins anew. Some 10,000 messages of a chat."""
    log_length: int = 1_000
    """Messages that the broker keeps of each room with ``redis+streams://``. A message holds all that one turn of a
    node's loop sent to the room. Who missed more begins anew."""
    log_lifetime: float = 300.0
    """Seconds after its last message for which a room's log is kept: longer than a client can be away unnoticed."""
    io_uring: bool = True
    """Send to many clients with one system call where Linux offers ``io_uring`` and nothing forbids it; under the fast
    lane with uvloop, without TLS. Elsewhere each client costs a call, whatever this says."""
    max_attachments: int = 10
    """Binary attachments of one packet: the browser client's own limit."""
    max_attachment_bytes: int = 10_000_000
    """Bytes of all attachments of one packet together."""
    max_depth: int = 64
    """Nesting of an event's JSON."""
    max_namespaces: int = 32
    """Namespaces that one connection may be in."""
    max_rooms: int = 1_000
    """Rooms that one socket may be in."""
    max_events_per_second: float = 0.0
    """Events a second that one socket may send, averaged over a second; 0 is no limit."""
    request_timeout: float = 5.0
    """Seconds that a request to the other nodes may take."""
    broker_buffer: int = 8_000_000
    """Bytes of publishes that wait while the broker is away; beyond it the oldest are dropped and counted."""
    advertise: str = ""
    """Where the other nodes reach this one, to pass on requests that a load balancer sent to the wrong node:
    ``host:port``, or ``https://host:port``. Empty: where the first connection reached it, one that is not from this
    machine if there is any. To be given where several processes listen on one port, or a Unix socket;
    ``shoal serve --workers`` does so."""
    max_forwarded: int = 5_000
    """Requests and WebSockets of another node's sessions that may be under way to it. A client that polls has one
    nearly always. Each takes two file descriptors here and one there."""
    max_forwarded_bytes: int = 64_000_000
    """Bytes of such requests and their answers that may be under way to one node. Sixty of the largest messages."""
    forward_timeout: float = 5.0
    """Seconds that another node may take to accept a request. It may take as long as a heartbeat to answer it."""
    subscribe_timeout: float = 1.0
    """Seconds that ``socket.join`` waits for the broker to confirm a room's channel. The join holds without it."""

    @property
    def has_log(self) -> bool:
        """Whether the broker keeps what is published."""
        return self.broker.partition("://")[0].endswith("+streams")

    @property
    def recovers(self) -> bool:
        """Whether clients may come back to their state."""
        return self.has_log if self.connection_state_recovery is None else self.connection_state_recovery

    def __post_init__(self) -> None:
        EngineSettings.__post_init__(self)
        if self.parser not in ("json", "msgpack"):
            raise ConfigurationError(f"parser={self.parser!r}: use 'json' or 'msgpack'")
        if self.connection_state_recovery and not self.has_log and self.broker != "memory://":
            raise ConfigurationError(
                "connection_state_recovery needs broker='redis+streams://...', or 'memory://' for one node, not "
                f"{self.broker!r}"
            )
        away = self.max_disconnection_duration + self.ping_interval + 2 * self.ping_timeout
        if self.has_log and self.recovers and self.log_lifetime < away:
            raise ConfigurationError(
                f"log_lifetime={self.log_lifetime!r}: a client may come back {away:g} s after its connection broke; "
                "the log must be kept as long"
            )
        if self.advertise:
            parse_address(self.advertise)
        if self.handler_threads < 1:
            raise ConfigurationError(f"handler_threads={self.handler_threads!r}: must be 1 or more")
        if self.log_length < 1:
            raise ConfigurationError(f"log_length={self.log_length!r}: must be 1 or more")
        if re.search(r"[\s#]", self.channel_prefix):
            raise ConfigurationError(f"channel_prefix={self.channel_prefix!r}: must not contain '#' or spaces")


def parse_address(text: str) -> tuple[str, int, bool]:
    """Host, port, and whether it wants TLS: of ``host:port``, which may have ``http://`` or ``https://`` in front.

    Raises:
        ConfigurationError: It is no such text.
    """
    scheme, found, rest = text.rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.path or parts.query or parts.fragment or "@" in rest or not rest.isprintable():
        raise ConfigurationError(f"advertise={text!r}: use host:port, or https://host:port")
    if found and scheme not in ("http", "https"):
        raise ConfigurationError(f"advertise={text!r}: use http:// or https://, or neither")
    return host, port, scheme == "https"


def _check_network(text: str) -> None:
    try:
        if "/" in text:
            ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigurationError(f"trusted_proxies: {error}") from None


def _check_origin(origin: str) -> None:
    """Refuse what no browser sends, so that nobody could come by it."""
    if origin not in ("*", "null") and not ORIGIN.fullmatch(origin):
        raise ConfigurationError(
            f"cors_origins: {origin!r} is no origin: write scheme, host and port as browsers do, as in "
            "'https://chat.example.com', without a path or a slash at the end, and without patterns"
        )


def _as_tuple(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _hint(unknown: str, known: Collection[str]) -> str:
    """What was probably meant; where nothing comes near, all that there is."""
    near = [NAMES_ELSEWHERE.get(unknown, ""), *difflib.get_close_matches(unknown, known, 1, 0.8)]
    meant = next((name for name in near if name in known), None)
    return f"did you mean {meant!r}?" if meant else f"the options are {', '.join(sorted(known))}"


def _parse(name: str, text: str, kind: Any) -> Any:
    """Read an environment variable as the type that its field declares."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if tuple[str, ...] in options and ("," in text or str not in options):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if str in options or typing.get_origin(kind) is Literal:
        return text or (None if types.NoneType in options else "")
    if types.NoneType in options:
        kind = next(option for option in options if option is not types.NoneType)
        if not text:
            return None
    try:
        return _PARSERS[kind](text)
    except ValueError:
        raise ConfigurationError(f"{name}={text!r}: must be {_WORDS[kind]}") from None


def _parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError(text)


_PARSERS: dict[Any, Callable[[str], Any]] = {bool: _parse_bool, int: int, float: float}
_WORDS: dict[Any, str] = {bool: "1 or 0, true or false, yes or no, on or off", int: "a whole number", float: "a number"}
