"""The way out: publishes are kept in order, written once a turn of the loop, and their answers are counted.

It owns the backlog, which outlives connections. It knows no subscriptions, and never connects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from .backlog import Backlog
from .base import BusStats, encode_channel
from .redis_wire import REASON_LENGTH, RedisLink

__all__ = ["PublishLink", "Publisher"]

SLICE_BYTES = 256 * 1024
"""Written at once: beyond it a longer write saves no system call, and what the transport copies stays small."""
READ_SIZE = 16 * 1024
"""Three thousand answers to PUBLISH."""
ANSWER_LENGTH = 64 * 1024
"""Bytes of one line of an answer. No broker's is longer."""

logger: Final = logging.getLogger("shoal.bus")


class PublishLink(RedisLink):
    """The connection that publishes. Every answer is one line: ``:3``, or ``-`` and what is wrong.

    Counting line ends costs next to nothing: in a bare loop over uvloop 1,800,000 publishes a second and core, against
    1,260,000 with every answer parsed, and 2,080,000 with ``CLIENT REPLY OFF``, which would hide refusals and losses.

    Args:
        publisher: Told of pauses, refusals and progress.
        on_lost: See :class:`RedisLink`.
    """

    def __init__(self, publisher: Publisher, on_lost: Callable[[str], None]) -> None:
        super().__init__("publisher", on_lost, read_size=READ_SIZE)
        self.confirmed: int = 0
        self._publisher = publisher
        self._tail = b""

    def received(self, count: int) -> None:
        if self._tail or self.buffer.find(b"-", 0, count) >= 0:
            self._read_lines(count)
        else:
            self.confirmed += self.buffer.count(b"\n", 0, count)
        self._publisher.progressed()

    def _read_lines(self, count: int) -> None:
        *lines, self._tail = (self._tail + self.buffer[:count]).split(b"\n")
        self.confirmed += len(lines)
        for line in lines:
            if line.startswith(b"-"):
                self._publisher.refused(line[1:].strip().decode("utf-8", "replace"))
        if len(self._tail) > ANSWER_LENGTH:
            self.lose("the peer is no Redis broker: its answer has no end")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._publisher.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._publisher.resume()


class Publisher:
    """Takes publishes at any time, and writes them while it has a link.

    Args:
        limit: Bytes that may wait.
        stats: Where publishes are counted.
        label: Names the broker in the log.
    """

    def __init__(self, limit: int, stats: BusStats, label: str) -> None:
        self._backlog: Backlog[bytes] = Backlog(limit, len, stats, label)
        self._stats = stats
        self._label = label
        self._flush_at = min(SLICE_BYTES, limit)  # nothing is dropped that the socket would take
        self._link: PublishLink | None = None
        self._open = False  # there is a link and its socket takes data
        self._scheduled = False
        self._sent = 0  # commands on this link
        self._probe = b""  # waits for the socket
        self._probe_number = 0  # which of the commands was the last probe
        self._refused = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """Bytes that wait."""
        return self._backlog.size

    def publish(self, channel: str, payload: bytes) -> None:
        """Queue one message for the end of this turn of the loop, or for when the broker is back."""
        block = _encode(channel, payload)
        backlog = self._backlog
        backlog.put(block)
        if self._open:
            if backlog.size > self._flush_at:
                self._flush()
            elif not self._scheduled:
                self._schedule()
        if backlog.size > backlog.limit:
            backlog.drop_oldest()

    def attach(self, link: PublishLink) -> None:
        """Write through ``link`` from now on, beginning with what waits."""
        self._link = link
        self._sent = self._probe_number = 0
        self._refused = False
        self._open = not link.paused
        self._schedule()

    def detach(self) -> None:
        """Keep what is published from now on. What the lost link has not confirmed is counted."""
        if self._link is not None:
            missing = self._sent - self._link.confirmed
            self._stats.unconfirmed += missing - (self._probe_number > self._link.confirmed)
        self._link = None
        self._open = False
        self._probe = b""
        self._wake()

    def probe(self, channel: str, payload: bytes) -> None:
        """Publish a probe, ahead of what waits: nobody needs it in order, and it must never be dropped."""
        self._probe = _encode(channel, payload)
        if self._open:
            self._write_probe()

    @property
    def is_probe_answered(self) -> bool:
        """Whether the broker has taken the last probe."""
        return self._link is not None and not self._probe and self._link.confirmed >= self._probe_number

    async def drain(self, timeout: float) -> None:
        """Wait until the broker has answered everything, at most ``timeout`` seconds, or until the link is lost."""
        self._flush()
        loop = asyncio.get_running_loop()
        self._drained = loop.create_future()
        self.progressed()
        await asyncio.wait({self._drained}, timeout=timeout)

    def close(self) -> None:
        """Drop what waits and everything that is published from now on."""
        self.detach()
        self._backlog.discard()

    def pause(self) -> None:
        """The socket is full."""
        self._open = False

    def resume(self) -> None:
        """The socket takes data again."""
        if self._link is not None:
            self._open = True
            self._write_probe()
            self._flush()

    def refused(self, reason: str) -> None:
        """The broker did not take a message: it is lost. Logged once for each link."""
        self._stats.dropped += 1
        if not self._refused:
            self._refused = True
            logger.warning("%s: the broker refuses a publish: %s", self._label, reason[:REASON_LENGTH])

    def progressed(self) -> None:
        """Answers have arrived."""
        if self._drained is None or self._link is None:
            return
        if not self._backlog and self._link.confirmed >= self._sent:
            self._wake()

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        backlog, link = self._backlog, self._link
        while backlog and self._open and link is not None:
            blocks = backlog.take(SLICE_BYTES)
            self._sent += len(blocks)
            self._stats.published += len(blocks)
            link.write(blocks[0] if len(blocks) == 1 else b"".join(blocks))  # may call hold()
        if not backlog:
            backlog.outage_over()

    def _write_probe(self) -> None:
        if self._probe and self._link is not None:
            block, self._probe = self._probe, b""
            self._sent += 1
            self._probe_number = self._sent
            self._link.write(block)


def _encode(channel: str, payload: bytes) -> bytes:
    # hiredis.pack_command takes half as long again.
    name = encode_channel(channel)
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(payload), payload)
