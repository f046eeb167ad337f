"""The way out: publishes are kept in order, written once a turn of the loop, and their answers are counted.

It owns the backlog, which outlives connections, and keeps what was written until its answer is counted: a lost link
gives it back. It knows no subscriptions, and never connects.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
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
JUST_NOW = 0.1
"""Seconds. A broker answers the publisher of what it read at once a moment before it writes to the subscribers: killed
in between, it has confirmed what nobody received. So answers that were read last, and so shortly before the end, count
for nothing. (Killed under full load, Redis 7 lost such a batch in every second run.)"""

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
        self.delivered: int = 0
        """Confirmed before the last reading of answers: that comes after the writing to subscribers."""
        self._read_at = 0.0
        self._time = asyncio.get_running_loop().time
        self._publisher = publisher
        self._tail = b""

    def received(self, count: int) -> None:
        self.delivered = self.confirmed
        self._read_at = self._time()
        if self._tail or self.buffer.find(b"-", 0, count) >= 0:
            self._read_lines(count)
        else:
            self.confirmed += self.buffer.count(b"\n", 0, count)
        self._publisher.progressed()

    def sure(self) -> int:
        """Publishes that have been delivered to all subscribers, now that the connection is lost."""
        return self.delivered if self._time() - self._read_at < JUST_NOW else self.confirmed

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
        limit: Bytes that may wait; and as many may wait for their answer.
        stats: Where publishes are counted.
        label: Names the broker in the log.
    """

    def __init__(self, limit: int, stats: BusStats, label: str) -> None:
        self._backlog: Backlog[bytes] = Backlog(limit, len, stats, label)
        self._stats = stats
        self._label = label
        self._flush_at = min(SLICE_BYTES, limit)  # nothing is dropped that the socket would take
        self._link: PublishLink | None = None
        self._open = False  # there is a link, its socket takes data, and nothing is held back
        self._held = False
        self._scheduled = False
        self._sent = 0  # commands on this link
        self._unanswered: deque[tuple[int, int, list[bytes], int]] = deque()
        """What was written at once: the numbers of its last command and of the one before its first, what of it is
        kept, and the bytes of that."""
        self._unanswered_size = 0
        self._first: list[bytes] = []  # waits for the socket, ahead of all else
        self._is_probe_waiting = False
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
        """Write through ``link`` from now on, or again, beginning with what waits."""
        if link is not self._link:
            self._link = link
            self._sent = self._probe_number = 0
            self._refused = False
        self.release()

    def detach(self) -> None:
        """Keep what is published from now on, and what the lost link has not confirmed: that will be written again."""
        if self._link is not None:
            before = self._stats.unconfirmed
            kept = self._take_back(self._link.sure())
            if lost := self._stats.unconfirmed - before:
                logger.warning("%s: %d publishes were not confirmed, and no longer kept", self._label, lost)
            self._stats.published -= len(kept)
            self._stats.resent += len(kept)
            self._backlog.put_back(kept)
        self._forget_link()

    def _forget_link(self) -> None:
        self._link = None
        self._open = self._held = self._is_probe_waiting = False
        self._first.clear()
        self._wake()

    def hold(self) -> None:
        """Keep what is published from now on, with a link that is well."""
        self._held = True
        self._open = False

    def release(self) -> int:
        """Write what waits. Returns how much that is."""
        self._held = False
        if self._link is not None and not self._link.paused:
            self._open = True
            if not self._scheduled:
                self._schedule()
        return len(self._backlog)

    def first(self, channel: str, payload: bytes) -> None:
        """Publish a message ahead of what waits, also while that is held: lost with the link, and never repeated."""
        if self._link is not None:
            self._first.append(_encode(channel, payload))
            self._write_first()

    def probe(self, channel: str, payload: bytes) -> None:
        """Publish a probe, ahead of what waits: nobody needs it in order, and it must never be dropped."""
        self._is_probe_waiting = True
        self.first(channel, payload)

    @property
    def is_probe_answered(self) -> bool:
        """Whether the broker has taken the last probe."""
        return self._link is not None and not self._is_probe_waiting and self._link.confirmed >= self._probe_number

    async def drain(self, timeout: float) -> None:
        """Wait until the broker has answered everything, at most ``timeout`` seconds, or until the link is lost."""
        self.release()
        self._flush()
        loop = asyncio.get_running_loop()
        self._drained = loop.create_future()
        self.progressed()
        await asyncio.wait({self._drained}, timeout=timeout)

    def close(self) -> None:
        """Drop what waits and everything that is published from now on."""
        if self._link is not None:
            self._stats.unconfirmed += len(self._take_back(self._link.confirmed))
        self._forget_link()
        self._backlog.discard()

    def pause(self) -> None:
        """The socket is full."""
        self._open = False

    def resume(self) -> None:
        """The socket takes data again."""
        if self._link is not None:
            self._open = not self._held
            self._write_first()
            self._flush()

    def refused(self, reason: str) -> None:
        """The broker did not take a message: it is lost. Logged once for each link."""
        self._stats.dropped += 1
        if not self._refused:
            self._refused = True
            logger.warning("%s: the broker refuses a publish: %s", self._label, reason[:REASON_LENGTH])

    def progressed(self) -> None:
        """Answers have arrived."""
        if self._link is None:
            return
        unanswered, delivered = self._unanswered, self._link.delivered
        while unanswered and unanswered[0][0] <= delivered:
            self._unanswered_size -= unanswered.popleft()[3]
        if self._drained is None:
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
            size = backlog.size
            blocks = backlog.take(SLICE_BYTES)
            size -= backlog.size
            before = self._sent
            self._sent += len(blocks)
            self._stats.published += len(blocks)
            self._unanswered.append((self._sent, before, blocks, size))
            self._unanswered_size += size
            if self._unanswered_size > backlog.limit:
                self._forget()
            link.write(blocks[0] if len(blocks) == 1 else b"".join(blocks))  # may call pause()
        if not backlog:
            backlog.outage_over()

    def _forget(self) -> None:
        """The broker does not answer: what was written first is not kept any longer."""
        while self._unanswered_size > self._backlog.limit:
            self._unanswered_size -= self._unanswered.popleft()[3]

    def _take_back(self, confirmed: int) -> list[bytes]:
        """The link is lost: return what it has not confirmed, and count what of that was not kept."""
        unanswered = self._unanswered
        forgotten = (unanswered[0][1] if unanswered else self._sent) - confirmed
        self._stats.unconfirmed += max(0, forgotten)
        kept = [block for _, before, blocks, _ in unanswered for block in blocks[max(0, confirmed - before) :]]
        unanswered.clear()
        self._unanswered_size = 0
        return kept

    def _write_first(self) -> None:
        link = self._link
        if self._first and link is not None and not link.paused:
            blocks, self._first = self._first, []
            self._unanswered.append((self._sent + len(blocks), self._sent, [], 0))
            self._sent += len(blocks)
            if self._is_probe_waiting:
                self._is_probe_waiting = False
                self._probe_number = self._sent
            link.write(b"".join(blocks))


def _encode(channel: str, payload: bytes) -> bytes:
    # hiredis.pack_command takes half as long again.
    name = encode_channel(channel)
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(payload), payload)
