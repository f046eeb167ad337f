"""Writes what a turn of the loop collected, past the transports where it may.

Where a turn's bytes for an outbox are in one piece, and it knows the descriptor of its socket, they need not go through
its transport. For many sockets they go with one system call, by a :class:`Ring`; where there is none, with an
``os.write`` for each. Of what lies between a member and its socket only the outbox is touched. What a socket does not
take goes the plain way, through ``outbox.write``.

Descriptors are read right before the call, with no other code of this thread in between, and only this thread closes
them: none can have become another file's. ``os.write`` lets go of the interpreter's lock, and a busy thread would keep
it for 5 ms at each member (``sys.getswitchinterval``), so it is not used while ``threading`` knows another thread. A
ring keeps the lock for a few hundred sends at a time.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import _get_running_loop as running_loop  # documented, and None where there is none
from collections.abc import Callable, Collection, Iterable
from itertools import repeat
from os import write as os_write
from threading import active_count
from typing import Final

from ..protocol.engineio import Packet
from .outbox import Outbox
from .ring import Ring

__all__ = ["Writer"]

log: Final = logging.getLogger("shoal.fanout")

# Below this many sockets a ring's one call costs more than a call for each: 3.56 beside 3.64 µs a socket with eight,
# 3.83 beside 3.65 with six, 3.0 beside 3.65 with thirty.
RING_FROM: Final = 8
# A larger piece of an outbox's own goes by itself: those that go by a ring are copied. So does one that is for all: the
# way into the kernel is nothing beside the copying there, and 256 times that is too long to hold the lock.
LARGE_FOR_ONE, LARGE_FOR_ALL = 4_096, 16_384
# Pieces that are copied at a time: 4 MiB at most. For 10,000 members it would be 40 MB.
COPIED: Final = 1_024


class Writer:
    """The way out of one server. Belongs to one event loop at a time.

    Args:
        io_uring: Whether to use a ring, if the kernel gives one.
    """

    __slots__ = ("_io_uring", "_loop", "_may_open", "_ring")

    def __init__(self, io_uring: bool = True) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._io_uring = self._may_open = io_uring
        self._ring: Ring | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Descriptors are this loop's from now on."""
        self._loop = loop
        self._may_open = self._io_uring

    def end(self) -> None:
        """The loop is about to end. It closes its descriptors without a word."""
        self._loop = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def write_each(self, outboxes: list[Outbox]) -> None:
        """Write what waits in each of these outboxes: the messages of this turn."""
        ring = self._ring_for(len(outboxes))
        if ring is None:
            self._write_each_singly(outboxes)
            return
        for start in range(0, len(outboxes), COPIED):
            self._send_each(ring, outboxes[start : start + COPIED])

    def write_all(self, outboxes: Collection[Outbox], wire: bytes, packets: Callable[[], list[Packet]]) -> None:
        """Write the same to all of these outboxes, in which nothing waits: to lanes that frame by themselves `packets`,
        to others `wire`."""
        ring = self._ring_for(len(outboxes)) if len(wire) <= LARGE_FOR_ALL else None
        if ring is not None:
            self._send_all(ring, outboxes, wire, packets)
        else:
            self._write_all_singly(outboxes, wire, packets)

    # ---- one by one

    def _write_each_singly(self, outboxes: list[Outbox]) -> None:
        past = self._may_write_past()
        for outbox in outboxes:
            try:
                pending = outbox.pending
                if not outbox.framed or not pending:
                    outbox.flush()
                    continue
                # What outbox.flush() does, without the call.
                outbox.pending = []
                data = pending[0] if len(pending) == 1 else b"".join(pending)
                if past and outbox.descriptor >= 0:
                    try:
                        written = os_write(outbox.descriptor, data)
                    except OSError:
                        written = 0  # full, or broken: the transport finds out
                    if written == len(data):
                        continue
                    data = memoryview(data)[written:]  # no copy: a large message may wait for many
                write = outbox.write  # a slot: called as a method it would be looked up the slow way
                write(data)
            except Exception:  # noqa: BLE001 - whatever one transport raises must not reach the others
                _lost(outbox)

    def _write_all_singly(self, outboxes: Collection[Outbox], wire: bytes, packets: Callable[[], list[Packet]]) -> None:
        size = len(wire)
        # As above, written out: a function for the two, called for each member, costs half of what this saves.
        past = self._may_write_past()
        for outbox in outboxes:
            try:
                if past and (descriptor := outbox.descriptor) >= 0:
                    try:
                        written = os_write(descriptor, wire)
                    except OSError:
                        written = 0
                    if written != size:
                        outbox.write(memoryview(wire)[written:])
                else:
                    write = outbox.write
                    write(wire if outbox.framed else packets())
            except Exception:  # noqa: BLE001 - as above
                _lost(outbox)

    def _may_write_past(self) -> bool:
        """Whether nobody waits for the interpreter's lock, and the loop that owns the descriptors runs."""
        return active_count() == 1 and self._loop is not None and running_loop() is self._loop

    # ---- by a ring

    def _ring_for(self, count: int) -> Ring | None:
        """The ring for writing to so many outboxes, if one may be used, and is worth it."""
        if count < RING_FROM or self._loop is None or running_loop() is not self._loop:
            return None
        ring = self._ring
        if ring is not None and ring.failed:
            log.warning("io_uring failed: writing to each socket by itself from now on")
            ring.close()
            ring = self._ring = None
        if ring is None and self._may_open:
            self._may_open = False  # once, whatever comes of it
            try:
                ring = self._ring = Ring()
            except OSError as error:
                log.debug("no io_uring: %s", error)
        return ring

    def _send_each(self, ring: Ring, outboxes: list[Outbox]) -> None:
        past: list[Outbox] = []
        pieces: list[bytes] = []
        others: list[Outbox] = []
        for outbox in outboxes:
            pending = outbox.pending
            if outbox.descriptor >= 0 and pending:
                data = pending[0] if len(pending) == 1 else b"".join(pending)
                if len(data) <= LARGE_FOR_ONE:
                    outbox.pending = []
                    past.append(outbox)
                    pieces.append(data)
                    continue
                outbox.pending = [data]
            others.append(outbox)
        if others:
            self._write_each_singly(others)
        self._send(ring, past, pieces, lambda descriptors: ring.send_each(descriptors, pieces))

    def _send_all(
        self, ring: Ring, outboxes: Collection[Outbox], wire: bytes, packets: Callable[[], list[Packet]]
    ) -> None:
        past = [outbox for outbox in outboxes if outbox.descriptor >= 0]
        if len(past) < len(outboxes):
            self._write_all_singly([outbox for outbox in outboxes if outbox.descriptor < 0], wire, packets)
        self._send(ring, past, repeat(wire), lambda descriptors: ring.send_all(descriptors, wire))

    def _send(
        self,
        ring: Ring,
        outboxes: list[Outbox],
        pieces: Iterable[bytes],
        send: Callable[[list[int]], list[int] | None],
    ) -> None:
        """Send to the sockets of these outboxes, as far as they have them still."""
        descriptors = [outbox.descriptor for outbox in outboxes]
        taken: list[int] | None
        if -1 in descriptors:  # by what was written to others since they were chosen
            taken = [0] * len(outboxes)
        else:
            try:
                taken = send(descriptors)
            except Exception:
                log.exception("io_uring")
                for outbox in outboxes:
                    _lost(outbox)
                return
        if taken is None:
            return
        for outbox, piece, count in zip(outboxes, pieces, taken, strict=False):
            if count < len(piece):
                try:
                    outbox.write(memoryview(piece)[count:])
                except Exception:  # noqa: BLE001 - as above
                    _lost(outbox)


def _lost(outbox: Outbox) -> None:
    """A lane that raises is broken: drop its data, and let the connection be cut off."""
    log.debug("write failed", exc_info=True)
    owner = outbox.owner
    outbox.close()
    if owner is not None:
        owner.overflow()
