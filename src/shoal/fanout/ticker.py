"""Collects what one turn of the loop emits, and writes each connection once.

Nothing is written inside ``emit``. Broadcasts that follow one another to the same members are joined into one
``Batch``, framed once; at the end of the turn each member gets it as one write. A busy room then costs one system call
per member and turn, not per message. Order within a connection is the order of the calls, whatever the mix: when
something else comes in between, the batch is laid into its members' outboxes first.

How the bytes get to a socket is the :class:`Writer`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..protocol.engineio import Packet
from ..protocol.frames import message_frames, text_frame
from .outbox import Outbox
from .rooms import Member, Rooms
from .writer import Writer

__all__ = ["Batch", "Ticker"]

# A turn that emits more than this writes at once: what waits outside an outbox's bound stays small.
FLUSH_SIZE: Final = 256 * 1024
# Members to whom to lay a batch into their outboxes costs what another write does: 0.45 µs for each, beside 1.5.
WORTH_A_WRITE: Final = 4


class Batch:
    """Consecutive broadcasts to one selection of members."""

    __slots__ = ("_packets", "caught_up", "excluded", "frames", "members", "messages", "rooms", "table", "volatile")

    def __init__(self, table: Rooms[Any], rooms: tuple[str, ...], excluded: tuple[str, ...], volatile: bool) -> None:
        self.table: Rooms[Any] = table
        self.rooms: tuple[str, ...] = rooms
        self.excluded: tuple[str, ...] = excluded
        self.volatile: bool = volatile
        self.members: Mapping[Any, Outbox] = table.select(rooms, excluded)
        self.messages: list[tuple[bytes, Sequence[bytes]]] = []
        self.frames: list[bytes] = []
        self.caught_up: dict[Outbox, int] = {}
        """How many messages an outbox has had already, where something of its own came in between."""
        self._packets: list[Packet] | None = None

    def fits(self, table: Rooms[Any], rooms: tuple[str, ...], excluded: tuple[str, ...], volatile: bool) -> bool:
        return self.table is table and self.rooms == rooms and self.excluded == excluded and self.volatile is volatile

    def concerns(self, room: str | None) -> bool:
        """Whether a change of ``room``'s members changes who is selected."""
        if room is None:
            return not self.rooms
        return room in self.rooms or room in self.excluded

    def add(self, text: bytes, attachments: Sequence[bytes]) -> int:
        """Append one message; returns its size on the wire."""
        frame = text_frame(text) if text and not attachments else b"".join(message_frames(text, attachments))
        self.messages.append((text, attachments))
        self.frames.append(frame)
        return len(frame)

    def packets(self) -> list[Packet]:
        """The messages as packets, for lanes that frame by themselves. Not to be changed."""
        if self._packets is None:
            self._packets = _as_packets(self.messages)
        return self._packets

    def catch_up(self, outbox: Outbox) -> None:
        """Lay what an outbox has not had yet into it, because something of its own comes next."""
        have = self.caught_up.get(outbox, 0)
        count = len(self.frames)
        if have < count:
            if outbox.framed:
                outbox.pending.extend(self.frames[have:])
            else:
                outbox.pending.extend(_as_packets(self.messages[have:]))
        self.caught_up[outbox] = count


def _as_packets(messages: list[tuple[bytes, Sequence[bytes]]]) -> list[Packet]:
    packets: list[Packet] = []
    for text, attachments in messages:
        if text:
            packets.append(text.decode(errors="replace"))  # another node's bytes may be anything
        packets.extend(attachments)
    return packets


class Ticker:
    """The collector of one server. Belongs to one event loop.

    Args:
        io_uring: Whether its writer may use that.
    """

    __slots__ = ("_batch", "_dirty", "_loop", "_scheduled", "_size", "_writer", "broadcasts", "deliveries")

    def __init__(self, io_uring: bool = True) -> None:
        self._writer = Writer(io_uring)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._batch: Batch | None = None
        self._size = 0
        self._dirty: list[Outbox] = []
        self.broadcasts: int = 0
        self.deliveries: int = 0

    def broadcast(
        self,
        table: Rooms[Any],
        rooms: tuple[str, ...],
        excluded: tuple[str, ...],
        text: bytes,
        attachments: Sequence[bytes],
        volatile: bool = False,
    ) -> None:
        """Emit one encoded message to the members of ``rooms`` (none: everyone) that are in none of ``excluded``.

        A message is a text, which may be empty and is then not sent, and the attachments that follow it.
        """
        batch = self._batch
        if batch is None or not batch.fits(table, rooms, excluded, volatile):
            if batch is not None:
                self.seal()
            batch = Batch(table, rooms, excluded, volatile)
            if not batch.members:
                return
            self._batch = batch
            if not self._scheduled:
                self._schedule()
        self.broadcasts += 1
        self._size += batch.add(text, attachments)
        if self._size > FLUSH_SIZE:
            self._flush_early()

    def send(self, member: Member, text: bytes, attachments: Sequence[bytes], volatile: bool = False) -> None:
        """Emit one encoded message to one member."""
        outbox = member.outbox
        batch = self._batch
        if batch is not None:
            if batch.volatile:
                self.seal()  # which of its members can take it is asked there
            elif member in batch.members:
                if not outbox.pending:
                    self._dirty.append(outbox)
                batch.catch_up(outbox)
            elif batch.table.by_id.get(member.id) is not member:
                self.seal()  # of another namespace: its connection may be among the batch's
        if volatile and not outbox.takes_volatile():
            return
        if not outbox.pending:
            self._dirty.append(outbox)
            if not self._scheduled:
                self._schedule()
        if outbox.framed and not attachments:
            outbox.pending.append(text_frame(text))  # what outbox.add() does, without the call
        else:
            outbox.add(text, attachments)
            self._size += sum(map(len, attachments))
        self.deliveries += 1
        self._size += len(text)
        if self._size > FLUSH_SIZE:
            self._flush_early()

    def carry_over(self, outbox: Outbox, packets: list[Packet]) -> None:
        """Send packets that were held elsewhere, behind what the outbox has in this turn."""
        if not outbox.pending:
            self._dirty.append(outbox)
            if not self._scheduled:
                self._schedule()
        outbox.add_packets(packets)

    def collect(self, outbox: Outbox, data: bytes) -> None:
        """Write bytes that are framed already to one connection, with what else this turn writes."""
        if not outbox.pending:
            self._dirty.append(outbox)
            if not self._scheduled:
                self._schedule()
        outbox.pending.append(data)

    def before_change(self, table: Rooms[Any], room: str | None) -> None:
        """A room's members are about to change: what was emitted so far is for those who are there now."""
        batch = self._batch
        if batch is not None and batch.table is table and batch.concerns(room):
            self.seal()

    def seal(self) -> None:
        """Lay the open batch into the outboxes of its members."""
        batch = self._batch
        if batch is None:
            return
        self._batch = None
        frames, caught_up, dirty = batch.frames, batch.caught_up, self._dirty
        wire = frames[0] if len(frames) == 1 else b"".join(frames)
        for outbox in batch.members.values():
            if batch.volatile and not outbox.takes_volatile(len(frames)):
                continue
            pending = outbox.pending
            if not pending:
                dirty.append(outbox)
            if caught_up and outbox in caught_up:
                batch.catch_up(outbox)
            elif outbox.framed:
                pending.append(wire)
            else:
                pending.extend(batch.packets())
        self.deliveries += len(batch.members) * len(frames)

    def flush(self) -> None:
        """Write everything that was collected. Runs by itself at the end of the turn."""
        self._scheduled = True  # what is collected meanwhile goes with the rest
        self._size = 0
        try:
            batch = self._batch
            if batch is not None and self._may_write_through(batch):
                self._batch = None
                self._write_dirty()
                self._write_through(batch)
            else:
                self.seal()
            self._write_dirty()
        finally:
            self._scheduled = False

    def write_now(self) -> None:
        """Write what was collected so far, if anything was."""
        if self._scheduled:
            self._flush_early()

    def _write_dirty(self) -> None:
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            self._writer.write_each(dirty)

    def _may_write_through(self, batch: Batch) -> bool:
        """Whether nothing was emitted beside the batch, or little, such as pings, that can be written before it."""
        dirty = self._dirty
        if batch.volatile or batch.caught_up:
            return False
        # Some may be members, who are written to twice. One that polls would get the batch with its next poll only.
        return not dirty or (
            len(dirty) * WORTH_A_WRITE <= len(batch.members) and all(outbox.framed for outbox in dirty)
        )

    def _write_through(self, batch: Batch) -> None:
        """The short cut for a turn that emitted one batch: nothing is laid into an outbox."""
        self._writer.write_all(batch.members.values(), b"".join(batch.frames), batch.packets)
        self.deliveries += len(batch.members) * len(batch.frames)

    def forget_loop(self) -> None:
        """The loop is about to end: what another one emits is scheduled there."""
        self.flush()
        self._writer.end()
        self._loop = None

    def _schedule(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._writer.begin(self._loop)
        self._loop.call_soon(self.flush)
        self._scheduled = True

    def _flush_early(self) -> None:
        self.flush()
        # flush() believes that it was the scheduled one; that one still comes, and finds little to do.
        self._scheduled = True
