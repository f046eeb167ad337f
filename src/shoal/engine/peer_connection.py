"""HTTP from this node to another one: requests with whole answers, on connections that are used again.

It knows bytes, their bounds and their time, and whether an answer is one of the node that was meant. Whose session a
request is for, and what a failure is called towards the client, it does not know.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from enum import Enum, auto
from functools import cache
from typing import Final, NamedTuple, cast

from ..http.head import parse_status
from ..http.responses import Header
from .hop import PROOF
from .tasks import Tasks
from .wheel import Wheel

__all__ = ["MAX_HEAD", "Answer", "Failure", "ForwardLimits", "Peer", "PeerConnection"]

MAX_HEAD: Final = 65_536  # bytes of an answer's head
MAX_LENGTH_DIGITS: Final = 12
# A connection that nobody needs is closed before the other side would: uvicorn keeps one for 5 s, Hypercorn for 5.
IDLE: Final = 2.0
MAX_IDLE: Final = 512  # connections to one node: hundreds of clients that poll through here use as many by turns
# Of an answer: what holds for the connection alone (RFC 9110 section 7.6.1), and what whoever passes it on says anew.
DROPPED: Final = frozenset({b"connection", b"content-length", b"keep-alive", b"transfer-encoding", PROOF})


class Failure(Enum):
    """Why another node has not answered."""

    GONE = auto()
    """Nobody is there, or somebody else is."""
    BUSY = auto()
    """Too much is under way to it."""
    SLOW = auto()
    """It did not accept the request, or did not answer it, in time."""


class Answer(NamedTuple):
    """Another node's answer."""

    status: int
    headers: list[Header]
    """Names in lower case; without ``content-length``, and without what holds for its connection alone."""
    body: bytes


class ForwardLimits(NamedTuple):
    """Bounds of what is under way to one other node."""

    requests: int
    """Requests without an answer, and WebSockets."""
    bytes: int
    """Bytes of those requests, and of answers that are not complete."""
    connect: float
    """Seconds that it may take to accept a connection, and to answer the handshake of a WebSocket."""
    answer: float
    """Seconds that it may take to answer a request."""


@cache
def _tls() -> ssl.SSLContext:
    """Encrypts, and asks for no name: the certificate is for the clients' name of the cluster, and it is the hop's
    signature that says who listens.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Peer:
    """Another node, and what is under way to it.

    Args:
        address: Host, port, and whether it wants TLS.
        key: What requests to it are signed with.
        limits: Bounds.
        wheel, tasks: The engine's.
    """

    __slots__ = ("_address", "_idle", "_tasks", "_waiting", "bytes", "key", "limits", "requests", "wheel")

    def __init__(
        self, address: tuple[str, int, bool], key: bytes, limits: ForwardLimits, wheel: Wheel, tasks: Tasks
    ) -> None:
        self._address = address
        self.key: bytes = key
        self.limits: ForwardLimits = limits
        self.wheel: Wheel = wheel
        self._tasks = tasks
        self._idle: list[PeerConnection] = []
        self._waiting: set[PeerConnection] = set()
        self.requests: int = 0
        """Requests without an answer, and WebSockets."""
        self.bytes: int = 0
        """Bytes of what is under way."""

    @property
    def busy(self) -> bool:
        """Whether it can have no more requests now."""
        return self.requests >= self.limits.requests or self.bytes >= self.limits.bytes

    def request(self, data: bytes, proof: bytes, take: Callable[[Answer | Failure], None]) -> PeerConnection:
        """Send a request. ``take`` is called once, and not at once, unless the connection is told to abandon it."""
        connection = PeerConnection(self)
        while self._idle:
            idle = self._idle.pop()
            if idle.usable:
                connection = idle
                break
        self._waiting.add(connection)
        connection.begin(data, proof, take)
        return connection

    def answered(self, connection: PeerConnection) -> None:
        """A connection waits for no answer any more."""
        self._waiting.discard(connection)

    def stop(self) -> None:
        """Give up what waits for an answer."""
        for connection in list(self._waiting):
            connection.fail(Failure.GONE)

    def connect(self, protocol: asyncio.Protocol, fail: Callable[[Failure], None]) -> None:
        """Connect; ``fail`` is told when that comes to nothing."""
        self._tasks.spawn(self._connect(protocol, fail))

    async def _connect(self, protocol: asyncio.Protocol, fail: Callable[[Failure], None]) -> None:
        host, port, encrypted = self._address
        try:
            async with asyncio.timeout(self.limits.connect):
                tls = _tls() if encrypted else None
                await asyncio.get_running_loop().create_connection(lambda: protocol, host, port, ssl=tls)
        except TimeoutError:
            fail(Failure.SLOW)
        except OSError:
            fail(Failure.GONE)
        except BaseException:
            fail(Failure.GONE)
            raise

    def keep(self, connection: PeerConnection) -> bool:
        """Take back a connection that can be used again. Returns whether there is room for it."""
        if len(self._idle) >= MAX_IDLE:
            return False
        self._idle.append(connection)
        return True

    def forget(self, connection: PeerConnection) -> None:
        """A connection that waits to be used has ended."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for connection in list(self._idle):
            connection.abandon()


class PeerConnection(asyncio.Protocol):
    """One connection to another node, with at most one request.

    Args:
        peer: Whose it is.
    """

    __slots__ = ("_buffer", "_data", "_head", "_need", "_peer", "_proof", "_size", "_take", "_transport", "slot")

    def __init__(self, peer: Peer) -> None:
        self.slot: int = -1
        self._peer = peer
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._data = b""
        """The request, while there is no connection."""
        self._proof = b""
        self._take: Callable[[Answer | Failure], None] | None = None
        """Who waits for an answer."""
        self._head: tuple[int, list[Header], bool] | None = None
        """Status and headers of the answer, and whether the connection stays, once they are there."""
        self._need = 0
        """Bytes that the answer has, then."""
        self._size = 0
        """Bytes that are counted at the peer."""

    @property
    def usable(self) -> bool:
        """Whether it is connected, and has not noticed that the other end closes it."""
        return self._transport is not None and not self._transport.is_closing()

    def begin(self, data: bytes, proof: bytes, take: Callable[[Answer | Failure], None]) -> None:
        """Send a request, on this connection or on one that is made for it."""
        peer = self._peer
        self._proof, self._take = proof, take
        peer.requests += 1
        self._count(len(data))
        peer.wheel.after(self, peer.limits.answer)
        if self._transport is None:
            self._data = data
            peer.connect(self, self.fail)
        else:
            self._transport.write(data)

    def abandon(self) -> None:
        """Nobody waits for the answer any more: the other node is to notice that the client has gone."""
        self._take, waiting = None, self._take
        self._end(waiting is not None)

    def fail(self, failure: Failure) -> None:
        """There will be no answer."""
        take, self._take = self._take, None
        self._end(take is not None)
        if take is not None:
            take(failure)

    def _end(self, was_waiting: bool) -> None:
        if was_waiting:
            self._uncount()
        else:
            self._peer.forget(self)
        self._peer.wheel.remove(self)
        self._data = b""
        if self._transport is not None:
            self._transport.abort()

    def _count(self, size: int) -> None:
        self._size += size
        self._peer.bytes += size

    def _uncount(self) -> None:
        self._peer.answered(self)
        self._peer.requests -= 1
        self._count(-self._size)

    # ---- asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._take is None:
            self._transport.abort()
        else:
            self._transport.write(self._data)
            self._data = b""

    def data_received(self, data: bytes) -> None:
        if self._take is None:
            self._end(False)  # an answer to nothing
            return
        buffer = self._buffer
        buffer += data
        if self._head is None and not self._read_head():
            return
        if len(buffer) == self._need:
            self._complete()
        elif len(buffer) > self._need:
            self.fail(Failure.GONE)

    def _read_head(self) -> bool:
        """Read the answer's head, once it is there. Returns whether its body may follow."""
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(self._buffer) > MAX_HEAD:
                self.fail(Failure.GONE)
            return False
        found = parse_status(bytes(self._buffer[:end]))
        fields = dict(found[1]) if found is not None else {}
        length = fields.get(b"content-length", b"")
        if found is None or fields.get(PROOF) != self._proof or not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
            self.fail(Failure.GONE)
            return False
        self._need = int(length)
        self._count(self._need)
        if self._peer.bytes > self._peer.limits.bytes and self._need > len(self._buffer) - end:
            self.fail(Failure.BUSY)
            return False
        stays = fields.get(b"connection", b"keep-alive").lower() == b"keep-alive"
        self._head = found[0], [field for field in found[1] if field[0] not in DROPPED], stays
        del self._buffer[:end]
        return True

    def _complete(self) -> None:
        take, head = self._take, self._head
        assert take is not None
        assert head is not None
        answer = Answer(head[0], head[1], bytes(self._buffer))
        self._take = self._head = None
        self._buffer.clear()
        self._uncount()
        if head[2] and self._peer.keep(self):
            self._peer.wheel.after(self, IDLE)
        else:
            self._end(False)
        take(answer)

    def on_due(self, now: float) -> None:
        """It was not answered in time, or not needed again."""
        self.fail(Failure.SLOW)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.fail(Failure.GONE)
