"""Writes what a turn of the loop collected, past the transports where it may.

Where a turn's bytes for an outbox are one piece, and it knows the descriptor of its socket, they go there with
``os.write``: of what lies between a member and its socket only the outbox is touched. What the socket does not take
goes the plain way, through ``outbox.write``, and so does everything while ``threading`` knows another thread:
``os.write`` lets go of the interpreter's lock, and a busy thread would keep it for 5 ms at each member
(``sys.getswitchinterval``).
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import _get_running_loop as running_loop  # documented, and None where there is none
from collections.abc import Callable, Collection
from os import write as os_write
from threading import active_count

from ..protocol.engineio import Packet
from .outbox import Outbox

__all__ = ["Writer"]

log = logging.getLogger("shoal.fanout")


class Writer:
    """The way out of one server. Belongs to one event loop at a time."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Descriptors are this loop's from now on."""
        self._loop = loop

    def end(self) -> None:
        """The loop is about to end. It closes its descriptors without a word."""
        self._loop = None

    def write_each(self, outboxes: list[Outbox]) -> None:
        """Write what waits in each of these outboxes: the messages of this turn."""
        past = self._may_write_past()
        for outbox in outboxes:
            try:
                pending = outbox.pending
                if not outbox.framed or len(pending) != 1:
                    outbox.flush()
                    continue
                # What outbox.flush() does, without the call.
                outbox.pending = []
                data = pending[0]
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

    def write_all(self, outboxes: Collection[Outbox], wire: bytes, packets: Callable[[], list[Packet]]) -> None:
        """Write the same to all of these outboxes, in which nothing waits: to lanes that frame by themselves `packets`,
        to others `wire`."""
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
        return active_count() == 1 and running_loop() is self._loop


def _lost(outbox: Outbox) -> None:
    """A lane that raises is broken: drop its data, and let the connection be cut off."""
    log.debug("write failed", exc_info=True)
    owner = outbox.owner
    outbox.close()
    if owner is not None:
        owner.overflow()
