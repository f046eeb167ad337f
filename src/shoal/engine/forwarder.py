"""Which node a request belongs to that is for no session here, and how the other nodes reach this one.

The load balancer may send a request to any node (issue 14). The session's id says which node has the session; that
one's address and key came by the broker. Those who read requests, in :mod:`shoal.asgi` and :mod:`shoal.fastlane`, pass
them on to the :class:`.peer_connection.Peer` that is found here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from ..errors import ConfigurationError
from ..http.request import Request
from ..settings import parse_address
from .admission import UNKNOWN_SID, Refusal
from .context import EngineContext
from .hop import HOP, PassedRequest, new_key, sign_hop
from .ids import tag_of
from .peer_connection import Failure, ForwardLimits, Peer

__all__ = ["Forwarder", "signed_head"]

# A node that has just started may have told its name and not yet its address, if it learns that by its first request.
ADDRESS_TIMEOUT: Final = 1.0  # seconds
ADDRESS_INTERVAL: Final = 0.02
VISIBLE: Final = re.compile(rb"[!-~]*")

BUSY: Final = Refusal(1, "Too many requests for the session's server", 503)
SLOW: Final = Refusal(1, "The session's server does not answer", 504)


class Forwarder:
    """Finds the node of a session that is not here.

    Args:
        context: The engine's.
        tag: This node's.
    """

    __slots__ = (
        "_announce",
        "_context",
        "_find",
        "_limits",
        "_peers",
        "_scheme",
        "_tag",
        "_told",
        "key",
        "learning",
        "port",
    )

    def __init__(self, context: EngineContext, tag: str) -> None:
        self._context = context
        self._tag = tag
        self._find: Callable[[str], tuple[str, bytes] | None] = _nobody
        self._announce: Callable[[str], None] | None = None
        self._limits = ForwardLimits(0, 0, 0.0, 0.0)
        self._told = ""
        self._scheme = ""
        self._peers: dict[str, tuple[tuple[str, bytes], Peer]] = {}
        """By tag: what a node has told about itself, and what is under way to it."""
        self.key: bytes = new_key()
        """What other nodes sign requests with that are for this one."""
        self.learning: bool = False
        """Whether :meth:`reached_at` wants to know at which address clients reach this node."""
        self.port: int | None = None
        """The port at which only this node is reached, where that is known."""

    def join(
        self,
        find: Callable[[str], tuple[str, bytes] | None],
        announce: Callable[[str], None] | None,
        limits: ForwardLimits,
    ) -> None:
        """This node belongs to a cluster.

        Args:
            find: What the other node with a tag has told: its address, empty if it knows none, and its key.
            announce: Tells the others at which ``host:port`` they reach this node; ``None`` if they know.
            limits: Bounds of what is under way to each of them.
        """
        self._find = find
        self._announce = announce
        self._limits = limits
        self.learning = announce is not None

    # ---- this node's address

    def listens_at(self, local: Any, *, secure: bool = False) -> None:
        """This node, and no other process, listens at this local address, which may be any of the machine's.

        ``secure``: with TLS.
        """
        self.port = local[1]
        self._scheme = "https://" if secure else ""
        self.reached_at(local)
        if self._told:
            self.learning = False

    def reached_at(self, local: Any) -> None:
        """A connection came to this local address: host and port, as sockets and ASGI's scopes have it.

        The first one is where other nodes reach this one, too; one of another machine is better than loopback.
        """
        if not self.learning or self._announce is None or not isinstance(local, list | tuple) or len(local) < 2:
            return
        host, port = str(local[0]), self.port or local[1]
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return  # a Unix socket, say, or a name
        told = self._scheme + (f"[{host}]:{port}" if address.version == 6 else f"{host}:{port}")
        if address.is_unspecified or told == self._told:
            return
        self._told = told
        self._announce(told)
        self.learning = address.is_loopback

    # ---- other nodes

    def owner(self, request: Request) -> Peer | None:
        """The other node that has the session of a request; ``None`` if none is known, or the request came from one."""
        tag = self._foreign_tag(request)
        return None if tag is None else self._peer(tag)

    def is_elsewhere(self, request: Request) -> bool:
        """Whether another node that is known has the session of a request."""
        tag = self._foreign_tag(request)
        return tag is not None and self._find(tag) is not None

    async def locate(self, request: Request) -> Peer | None:
        """As :meth:`owner`, and wait a moment for the address of a node that has not told it yet."""
        tag = self._foreign_tag(request)
        if tag is None:
            return None
        if self._has_no_address(tag):
            await self._wait_for_address(tag)
        return self._peer(tag)

    def _foreign_tag(self, request: Request) -> str | None:
        sid = request.query.get("sid")
        if sid is None or isinstance(request, PassedRequest) or request.method not in {"GET", "POST"}:
            return None
        if VISIBLE.fullmatch(request.query_string) is None:
            return None  # it would not fit a request line
        tag = tag_of(sid)
        return None if tag == self._tag else tag

    def _peer(self, tag: str) -> Peer | None:
        told = self._find(tag)
        known, peer = self._peers.get(tag, (None, None))
        if peer is not None and told == known:
            return peer
        self._drop(tag)
        if told is None or not told[0]:
            return None
        try:
            address = parse_address(told[0])
        except ConfigurationError as error:
            self._context.log_once(f"address of {tag}", "another node tells an address that is none: %s", error)
            return None
        for other in [tag for tag, (known, _) in self._peers.items() if self._find(tag) != known]:
            self._drop(other)  # it left, and nobody has asked for it since
        peer = Peer(address, told[1], self._limits, self._context.wheel, self._context.tasks)
        self._peers[tag] = told, peer
        return peer

    def _has_no_address(self, tag: str) -> bool:
        told = self._find(tag)
        return told is not None and not told[0]

    def _drop(self, tag: str) -> None:
        """A node has gone, or moved. What is under way goes on."""
        if tag in self._peers:
            self._peers.pop(tag)[1].close()

    async def _wait_for_address(self, tag: str) -> None:
        for _ in range(round(ADDRESS_TIMEOUT / ADDRESS_INTERVAL)):
            await asyncio.sleep(ADDRESS_INTERVAL)
            if not self._has_no_address(tag):
                break
        else:
            self._context.log_once(
                f"address of {tag}",
                "another node tells no address where it can be reached: give it the option advertise",
            )

    def admit(self, peer: Peer) -> Refusal | None:
        """Whether one more request may go to another node. Counts it."""
        stats = self._context.stats
        if peer.busy:
            stats.forward_refused += 1
            return BUSY
        stats.forwarded += 1
        return None

    def failed(self, failure: Failure) -> Refusal:
        """Count a failure. Returns what the client is told."""
        stats = self._context.stats
        match failure:
            case Failure.GONE:
                stats.forward_failures += 1
                return UNKNOWN_SID
            case Failure.SLOW:
                stats.forward_timeouts += 1
                return SLOW
            case Failure.BUSY:
                stats.forward_refused += 1
                return BUSY

    def stop(self) -> None:
        """Give up what waits for an answer: this node is told to stop, and the clients have to go elsewhere."""
        for _, peer in list(self._peers.values()):
            peer.stop()

    def close(self) -> None:
        """Close all connections."""
        self.stop()
        for tag in list(self._peers):
            self._drop(tag)


def signed_head(peer: Peer, request: Request, path: str, headers: bytes) -> tuple[bytes, bytes]:
    """The head of a request for another node, and the proof that its answer must have.

    Args:
        path: Decoded, as the other node has to see it.
        headers: Lines, each with its end.
    """
    value, proof = sign_hop(peer.key, request)
    target = quote(path, safe="/!$&'()*+,;=:@~").encode()
    if request.query_string:
        target += b"?" + request.query_string
    line = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), target)
    return b"%b%b%b: %b\r\n\r\n" % (line, headers, HOP, value), proof


def _nobody(tag: str) -> None:
    """Of a node that stands alone."""
