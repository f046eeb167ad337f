"""What waits for one connection, its bound, and what happens to a client that does not read.

An outbox stands between the fan-out and a transport's lane. While the lane takes data, ``write`` *is* the lane's own
write; while it does not, ``write`` holds. So the fan-out calls ``write`` and asks nothing. The outbox knows no room and
no protocol; whether it holds WebSocket frames or packets is the lane's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..protocol.engineio import Packet, payload_size
from ..protocol.frames import binary_frame, message_frames, text_frame

__all__ = ["Outbox", "OutboxRules", "OutboxStats", "Owner", "Policy"]

Policy = Literal["disconnect", "drop-volatile"]
Lane = Callable[[Any], object]


@dataclass(slots=True)
class OutboxStats:
    """Counts of all outboxes of a server."""

    overflows: int = 0
    """Connections closed because their outbox was full."""
    volatile_dropped: int = 0
    """Volatile messages that a connection could not take."""


@dataclass(frozen=True, slots=True)
class OutboxRules:
    """What all outboxes of a server share."""

    limit: int
    """Bytes that may wait for one connection."""
    policy: Policy
    stats: OutboxStats


class Owner(Protocol):
    """Whose way out an outbox is."""

    def overflow(self) -> None:
        """Called once, when more waits than the bound allows.

        It must not close the connection before the present turn of the loop ends: a fan-out may be walking over the
        room that the connection is in.
        """


class Outbox:
    """The way out of one connection. It starts blocked, until a lane takes it.

    Args:
        rules: The bound and the policy.
        owner: Hears of an overflow.
    """

    __slots__ = (
        "_descriptor",
        "_lane",
        "descriptor",
        "framed",
        "held",
        "held_size",
        "owner",
        "pending",
        "rules",
        "writable",
        "write",
    )

    def __init__(self, rules: OutboxRules, owner: Owner) -> None:
        self.rules: OutboxRules = rules
        self.owner: Owner | None = owner
        self.framed: bool = False
        """Whether the lane takes WebSocket frames (bytes, joined at will) or packets (a list of them)."""
        self.writable: bool = False
        self.write: Lane = self._hold
        self.descriptor: int = -1
        """The socket's, as long as bytes may be written to it past the lane: nothing waits before them. Else -1."""
        self.pending: list[Any] = []
        """Collected in this turn of the loop, in order: frames, some of them in pieces, or packets."""
        self.held: list[Any] | None = None
        """What the lane does not take yet. Not an empty list: nearly all connections have nothing there."""
        self.held_size: int = 0
        self._lane: Lane = _discard
        self._descriptor = -1

    def add(self, text: bytes, attachments: Sequence[bytes]) -> None:
        """Collect one message. The ticker calls it, and ``flush`` at the end of the turn."""
        pending = self.pending
        if self.framed:
            pending.extend(message_frames(text, attachments))
        else:
            if text:
                pending.append(text.decode(errors="replace"))
            pending.extend(attachments)

    def add_packets(self, packets: list[Packet]) -> None:
        """Collect packets that were held for this connection elsewhere."""
        self.pending.extend([_frame(packet) for packet in packets] if self.framed else packets)

    def flush(self) -> None:
        """Hand what was collected in this turn to the lane, as one write."""
        pending = self.pending
        if not pending:
            return
        if self.framed:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            pending.clear()
            self.write(data)
        else:
            self.pending = []
            self.write(pending)

    def packet(self, packet: Packet) -> None:
        """Send one Engine.IO packet at once, behind what this turn has collected so far."""
        self.flush()
        if not self.framed:
            self.write([packet])
        elif isinstance(packet, str):
            self.write(text_frame(packet.encode()))
        else:
            self.write(binary_frame(packet))

    def takes_volatile(self, count: int = 1) -> bool:
        """Whether ``count`` volatile messages may be given to this connection now. If not, they count as dropped."""
        if self.writable:
            return True
        if (
            self.rules.policy == "drop-volatile"
            and self.held_size * 2 < self.rules.limit
            and self._lane is not _discard
        ):
            return True
        self.rules.stats.volatile_dropped += count
        return False

    def attach(self, lane: Lane, *, framed: bool, writable: bool = True, descriptor: int = -1) -> None:
        """Give the connection to a lane. Packets that wait are carried over; frames cannot go back to packets.

        Args:
            lane: Takes what is written: frames if ``framed``, else lists of packets.
            framed: Which of the two.
            writable: Whether it takes data now.
            descriptor: Of the socket behind the lane, if ``os.write`` there does the same as ``lane`` while the lane
                takes data. The lane must then call :meth:`block` within the ``lane`` that keeps a first byte back, and
                :meth:`close` before the descriptor is closed: its number may be another file's a moment later.
        """
        self.flush()
        if self.owner is None:
            return  # that was too much: it is closed
        if framed and not self.framed and self.held:
            self.held = [_frame(packet) for packet in self.held]
        self.framed = framed
        self._lane = lane
        self._descriptor = descriptor
        if writable:
            self.unblock()
        else:
            self.block()

    def block(self) -> None:
        """The lane takes no more for now: hold."""
        self.writable = False
        self.write = self._hold
        self.descriptor = -1

    def unblock(self) -> None:
        """The lane takes data again: hand over what was held."""
        self.writable = True
        self.write = self._lane
        self.descriptor = self._descriptor
        if self.held:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the lane what was held, whether it takes data or not."""
        if self.held:
            held = self.take()
            self._lane(b"".join(held) if self.framed else held)

    def take(self) -> list[Any]:
        """Remove and return all that was held."""
        held = self.held
        self.held, self.held_size = None, 0
        return held or []

    def close(self) -> None:
        """Drop everything, now and from now on."""
        self.writable = False
        self.write = self._lane = _discard
        self.descriptor = self._descriptor = -1
        self.owner = None  # it refers back: leave no cycle to the garbage collector
        self.pending, self.held, self.held_size = [], None, 0

    def _hold(self, data: bytes | list[Packet]) -> None:
        if self.held is None:
            self.held = []
        if isinstance(data, list):
            self.held.extend(data)
            self.held_size += sum([payload_size(packet) for packet in data])
        else:
            self.held.append(data)
            self.held_size += len(data)
        if self.held_size > self.rules.limit:
            owner = self.owner
            self.close()
            self.rules.stats.overflows += 1
            if owner is not None:
                owner.overflow()


def _discard(data: object) -> None:
    """Where a closed connection's data goes."""


def _frame(packet: Packet) -> bytes:
    return text_frame(packet.encode()) if isinstance(packet, str) else binary_frame(packet)
