"""A WebSocket that goes through this node to another one: the connection to that one, from the handshake to its end.

It knows bytes and whether the answer to the handshake is one of the node that was meant. The client's end is either of
two, in :mod:`shoal.asgi.forward` and :mod:`shoal.fastlane.forward`.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

from ..http.head import parse_status
from .hop import PROOF
from .peer_connection import MAX_HEAD, Failure, Peer

__all__ = ["PeerTunnel", "TunnelEnd"]

SWITCHING_PROTOCOLS: Final = 101


class TunnelEnd(Protocol):
    """The client's end of a WebSocket that goes through this node."""

    def opened(self, head: bytes, accepted: bool) -> None:
        """The other node has answered the handshake; ``head`` is what it has said so far, without its proof.

        If it has not ``accepted`` the rest of its answer follows, and nothing that the client sends may reach it.
        """

    def received(self, data: bytes) -> None:
        """It has sent more."""

    def ended(self, failure: Failure | None) -> None:
        """It has ended: ``failure`` says why there never was an answer.

        What the client has not taken yet has :attr:`.ForwardLimits.connect` seconds.
        """

    def pause_reading(self) -> None:
        """It takes no more for now."""

    def resume_reading(self) -> None: ...


class PeerTunnel(asyncio.Protocol):
    """A WebSocket's connection to another node.

    Args:
        peer: Whose it is.
        head: The handshake, signed.
        proof: What the answer must have.
        end: The client's end.
    """

    __slots__ = ("_accepted", "_end", "_head", "_peer", "_proof", "_transport", "slot")

    def __init__(self, peer: Peer, head: bytes, proof: bytes, end: TunnelEnd) -> None:
        self.slot: int = -1
        self._peer = peer
        self._head = head
        """What is to be sent; then what was received, until the answer's head is complete."""
        self._proof = proof
        """Empty once the answer has had it."""
        self._accepted = False
        """Whether the other node speaks WebSocket now. Before, a client's bytes would be requests to it."""
        self._end: TunnelEnd | None = end
        self._transport: asyncio.Transport | None = None
        peer.requests += 1

    def connect(self) -> None:
        """Connect, and send the handshake."""
        self._peer.connect(self, self.failed)

    def failed(self, failure: Failure | None = None) -> None:
        """The connection has ended, or there was none."""
        end, self._end = self._end, None
        if end is not None:
            self._release()
            end.ended(failure if self._proof else None)

    def close(self) -> None:
        """The client has ended it: what it sent last still goes out."""
        if self._end is not None:
            self._end = None
            self._release()
        if self._transport is not None:
            self._transport.close()
            if self._transport.get_write_buffer_size():  # to a node that hangs it would stay
                self._peer.wheel.after(self, self._peer.limits.connect)

    def _release(self) -> None:
        self._peer.requests -= 1
        self._peer.wheel.remove(self)

    def write(self, data: bytes) -> None:
        """Send what the client has sent."""
        if self._transport is not None and self._accepted:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """The client takes no more for now.

        Nobody notices meanwhile that the other node ends it. So the client has as long as a heartbeat may take.
        """
        if self._end is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._peer.wheel.after(self, self._peer.limits.answer)

    def resume_reading(self) -> None:
        """It takes more."""
        if self._end is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            if self._accepted:
                self._peer.wheel.remove(self)

    # ---- asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._end is None:
            self._transport.abort()
        else:
            self._transport.write(self._head)
            self._head = b""
            self._peer.wheel.after(self, self._peer.limits.connect)

    def data_received(self, data: bytes) -> None:
        if self._end is None:
            return
        if not self._proof:
            self._end.received(data)
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(self._head) > MAX_HEAD:
                self._give_up(Failure.GONE)
            return
        found = parse_status(self._head[:end])
        if found is None or dict(found[1]).get(PROOF) != self._proof:
            self._give_up(Failure.GONE)
            return
        head = _without_proof(self._head[:end]) + self._head[end:]
        self._proof = self._head = b""
        self._accepted = found[0] == SWITCHING_PROTOCOLS
        if self._accepted:
            self._peer.wheel.remove(self)
        self._end.opened(head, self._accepted)

    def _give_up(self, failure: Failure) -> None:
        self.failed(failure)
        if self._transport is not None:
            self._transport.abort()

    def on_due(self, now: float) -> None:
        """The handshake was not answered in time, or a refusal not ended; or one end takes nothing."""
        self._give_up(Failure.SLOW)

    def pause_writing(self) -> None:
        if self._end is not None:
            self._end.pause_reading()

    def resume_writing(self) -> None:
        if self._end is not None:
            self._end.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._peer.wheel.remove(self)
        self.failed(Failure.GONE)


def _without_proof(head: bytes) -> bytes:
    """A head that has a proof, without that line, and else unchanged."""
    lines = head.split(b"\r\n")
    return b"\r\n".join([line for line in lines if line.partition(b":")[0].lower() != PROOF])
