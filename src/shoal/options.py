"""What :class:`shoal.Server`, :class:`shoal.Engine` and their ``run`` take as keyword arguments, for type checkers.

Made by `make generate` from :mod:`shoal.settings` and :mod:`shoal.serving.run`, which read and
check them; do not edit.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypedDict

__all__ = ["EngineOptions", "RunOptions", "ServerOptions"]


class EngineOptions(TypedDict, total=False):
    """Options of :class:`shoal.Engine`; durations in seconds, sizes in bytes."""

    path: str
    """Where the engine answers. A slash is added at the end; without it a request is not the engine's. Default:
    ``'/engine.io/'``, of a server ``'/socket.io/'``."""
    transports: str | Iterable[str]
    """Transports a client may use. Default: ``('polling', 'websocket')``."""
    allow_upgrades: bool
    """Whether a long-polling session may move to a WebSocket. Default: ``True``."""
    upgrade_timeout: float
    """Seconds that a started upgrade may take before its WebSocket is closed. Default: ``10.0``."""
    ping_interval: float
    """Seconds between a pong and the next ping. Default: ``25.0``."""
    ping_timeout: float
    """Seconds that a pong may take before the session is closed. Default: ``20.0``."""
    max_payload: int
    """Bytes of one message or one polling request. Enforced while it arrives. Default: ``1000000``."""
    max_packets_per_poll: int
    """Packets in one polling request. The browser client posts all that it has at once, so 10,000 are honest; a 1 MB
    body of empty packets must still not cost half a million calls. Default: ``50000``."""
    max_outbox: int
    """Bytes that may wait for one connection that does not read. Four of the largest messages. Default: ``4000000``."""
    outbox_policy: Literal["disconnect", "drop-volatile"]
    """At ``max_outbox``: ``disconnect`` closes the connection; ``drop-volatile`` drops volatile messages from half of
    it on, and closes at the bound all the same: a queue is never unlimited. Default: ``'disconnect'``."""
    max_waiting_events: int
    """Events of one socket, or messages of a session without sockets, that wait for their handlers. Beyond it, reading
    from that connection pauses. Default: ``256``."""
    max_connections_per_address: int
    """Sessions that one client address may hold at once; 0 is no limit, since a NAT or a proxy is one address. Default:
    ``0``."""
    cors_origins: str | Iterable[str] | None
    """Origins that browsers may come from: ``"*"`` for any, a list, or ``None`` for same-origin pages only. Holds for
    WebSockets too, which browsers do not check. Default: ``'*'``."""
    cors_credentials: bool
    """Send ``Access-Control-Allow-Credentials``; the origin is then echoed, never ``*``. Default: ``False``."""
    cors_headers: str | Iterable[str]
    """Request headers that a preflight may allow; empty allows what it asks for. Default: ``()``."""
    cors_max_age: int
    """Seconds that a browser may remember a preflight. Default: ``600``."""
    cookie: str | None
    """Name of a cookie with the session id, for balancers that need one. Shoal does not. Default: ``None``."""
    trusted_proxies: str | Iterable[str]
    """Addresses or networks whose ``X-Forwarded-For`` is believed; ``"unix"`` for whoever connects to a Unix socket,
    ``"*"`` for any. Default: ``('127.0.0.1', '::1', 'unix')``."""
    http_compression: bool
    """Compress polling responses of a kilobyte and more with gzip, where the client accepts it. Default: ``False``."""
    per_message_deflate: bool
    """Negotiate WebSocket compression. It costs memory per connection, and a broadcast is then framed for each one.
    Under stock uvicorn, which negotiates by itself, it says whether compression is used towards clients. Default:
    ``False``."""
    max_head: int
    """Bytes of an HTTP request's head, under the fast lane; elsewhere it is the ASGI server's to bound. What uvicorn
    allows its slower parser. Default: ``65536``."""
    head_timeout: float
    """Seconds that the head of an HTTP request may take, of the first one since the connection; under the fast lane.
    Default: ``20.0``."""
    close_timeout: float
    """Seconds that a client may take to answer a WebSocket close frame. Default: ``5.0``."""


class ServerOptions(EngineOptions, total=False):
    """Options of :class:`shoal.Server`: all of an engine's, and these."""

    node: str
    """Name of this node, for logs and for the people who read them. Where it has 1 to 32 letters, digits, ``-`` and
    ``_``, session ids begin with it, so that a balancer can send all requests of a session here. Empty: host name and
    process id. They are nobody's business outside, and no balancer knows them beforehand: session ids do without.
    Default: ``''``."""
    broker: str
    """What carries broadcasts between nodes: ``memory://`` (this node alone), ``redis://host:port`` (at most once),
    ``redis+streams://host:port`` (kept, so that a client which comes back to any node has missed nothing). Default:
    ``'memory://'``."""
    channel_prefix: str
    """First part of every channel name, so that clusters can share one broker. With ``redis://`` those in two databases
    need two, since Pub/Sub knows no databases; with ``redis+streams://`` they do not hear each other. Default:
    ``'shoal'``."""
    connect_timeout: float
    """Seconds that a new connection may take to enter its first namespace. Default: ``45.0``."""
    slow_connect: float
    """Seconds after which a client that waits for middleware or a connect handler is logged, with the line at which
    they wait; 0 is never. Default: ``5.0``."""
    slow_handler: float | None
    """Seconds that a handler may hold the event loop before it is logged with its event and stack; 0 is never.
    ``None``: 0.1 in asyncio's debug mode (``python -X dev``, ``PYTHONASYNCIODEBUG=1``), else never, since it needs a
    thread. Default: ``None``."""
    handler_threads: int
    """Threads for handlers with ``thread=True``. What blocks mostly waits for a database, which serves few at once.
    Default: ``16``."""
    serve_client: bool
    """Serve the browser client beside the endpoint. Default: ``True``."""
    parser: Literal["json", "msgpack"]
    """Wire of Socket.IO packets; ``msgpack`` is the one of ``socket.io-msgpack-parser``. Default: ``'json'``."""
    cleanup_empty_namespaces: bool
    """Forget a dynamic namespace when its last socket leaves. Node's default is not to; but then clients can make
    namespaces without end. Default: ``True``."""
    connection_state_recovery: bool | None
    """Let a client that lost its connection come back to its id, rooms, data and what it missed, as Node's option of
    that name does: on one node with ``memory://``, on any node with ``redis+streams://``, where it is on unless this is
    ``False``. Events then have one more argument, their offset. Default: ``None``."""
    max_disconnection_duration: float
    """Seconds that such a client may be away. Default: ``120.0``."""
    skip_middlewares: bool
    """Do not ask the middleware again about a client that came back to its state. Default: ``True``."""
    recovery_buffer: int
    """Bytes of messages that are kept for such clients. Some 35,000 of a chat's. Default: ``16000000``."""
    recovery_states: int
    """Clients that may be away at once; of more, the first to leave begin anew. Default: ``10000``."""
    max_replay: int
    """Bytes that a client which comes back may be sent at once, and at most half of ``max_outbox``; with more to say it
    begins anew. Some 10,000 messages of a chat. Default: ``2000000``."""
    log_length: int
    """Messages that the broker keeps of each room with ``redis+streams://``. A message holds all that one turn of a
    node's loop sent to the room. Who missed more begins anew. Default: ``1000``."""
    log_lifetime: float
    """Seconds after its last message for which a room's log is kept: longer than a client can be away unnoticed.
    Default: ``300.0``."""
    io_uring: bool
    """Send to many clients with one system call where Linux offers ``io_uring`` and nothing forbids it; under the fast
    lane with uvloop, without TLS. Elsewhere each client costs a call, whatever this says. Default: ``True``."""
    max_attachments: int
    """Binary attachments of one packet: the browser client's own limit. Default: ``10``."""
    max_attachment_bytes: int
    """Bytes of all attachments of one packet together. Default: ``10000000``."""
    max_depth: int
    """Nesting of an event's JSON. Default: ``64``."""
    max_namespaces: int
    """Namespaces that one connection may be in. Default: ``32``."""
    max_rooms: int
    """Rooms that one socket may be in. Default: ``1000``."""
    max_events_per_second: float
    """Events a second that one socket may send, averaged over a second; 0 is no limit. Default: ``0.0``."""
    request_timeout: float
    """Seconds that a request to the other nodes may take. Default: ``5.0``."""
    broker_buffer: int
    """Bytes of publishes that wait while the broker is away; beyond it the oldest are dropped and counted. Default:
    ``8000000``."""
    advertise: str
    """Where the other nodes reach this one, to pass on requests that a load balancer sent to the wrong node:
    ``host:port``, or ``https://host:port``. Empty: where the first connection reached it, one that is not from this
    machine if there is any. To be given where several processes listen on one port, or a Unix socket; ``shoal serve
    --workers`` does so. Default: ``''``."""
    max_forwarded: int
    """Requests and WebSockets of another node's sessions that may be under way to it. A client that polls has one
    nearly always. Each takes two file descriptors here and one there. Default: ``5000``."""
    max_forwarded_bytes: int
    """Bytes of such requests and their answers that may be under way to one node. Sixty of the largest messages.
    Default: ``64000000``."""
    forward_timeout: float
    """Seconds that another node may take to accept a request. It may take as long as a heartbeat to answer it. Default:
    ``5.0``."""
    subscribe_timeout: float
    """Seconds that ``socket.join`` waits for the broker to confirm a room's channel. The join holds without it.
    Default: ``1.0``."""


class RunOptions(TypedDict, total=False):
    """Options of ``run()`` beside host and port."""

    uds: str | None
    """Path of a Unix socket to listen on, in place of host and port. Default: ``None``."""
    shared_port: int | None
    """A second port, which other processes may listen on too: the kernel spreads connections over them. Default:
    ``None``."""
    sockets: Sequence[socket.socket] | None
    """Sockets that listen already, in place of host and port. Other processes may have them as well, so a cluster's
    node must be told where the others reach it: ``advertise``. Default: ``None``."""
    log_level: str
    """Level of uvicorn's log. Default: ``'info'``."""
    on_started: Callable[[], None] | None
    """Called once connections are accepted. Default: ``None``."""
    ssl_certfile: str | None
    """PEM files; with them, TLS. Default: ``None``."""
    ssl_keyfile: str | None
    """PEM files; with them, TLS. Default: ``None``."""
    ssl_keyfile_password: str | None
    """Of an encrypted key. Default: ``None``."""
    ssl_version: int | None
    """A protocol, as the module ``ssl`` numbers them. ``None`` is what uvicorn takes. Default: ``None``."""
    ssl_cert_reqs: int | None
    """Whether clients need certificates, as ``ssl`` numbers it. ``None`` is no. Default: ``None``."""
    ssl_ca_certs: str | None
    """A PEM file: whose certificates of clients are accepted. Default: ``None``."""
    ssl_ciphers: str | None
    """In OpenSSL's words. ``None`` is what uvicorn takes. Default: ``None``."""
