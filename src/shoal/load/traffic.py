"""Who publishes what and when, and what arrived of it: the counters of a load test. Knows no socket.

:meth:`Traffic.packets_received` is the hot path: it runs for every message that arrives, and decides how much load one
process can measure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import orjson

from .client import Client, prefix_of
from .latency import Latencies
from .marks import MARK_SIZE, SEQUENCES, TAG_SIZE, write_mark
from .order import Order
from .plan import Plan

__all__ = ["Traffic", "now_us"]

SAMPLE_EVERY = 7
"""In a closed loop one latency in so many is kept: there are plenty. A prime, so that every client has its turn."""


def now_us() -> int:
    """Microseconds of the monotonic clock."""
    return time.monotonic_ns() // 1000


class Traffic:
    """All messages of one test.

    Attributes:
        sent, received: Messages, from the beginning.
        expected: Deliveries that the messages sent so far must lead to.
        bytes: Of the packets received.
        misdelivered: Deliveries to a client that must not receive what the publisher emits.
        cut_off: Clients that lost their connection, the first of them for ``cut_reason``.
        measuring: Whether latencies are kept.
        lag: Open loop: how late this program was with its own messages.
    """

    def __init__(self, plan: Plan, tag: bytes) -> None:
        self.sent: int = 0
        self.received: int = 0
        self.expected: int = 0
        self.bytes: int = 0
        self.misdelivered: int = 0
        self.cut_off: int = 0
        self.cut_reason: str | None = None
        self.measuring: bool = False
        self.stopped: bool = False
        self.latency: Latencies = Latencies()
        self.lag: Latencies = Latencies()
        self.fresh: list[int] = []  # latencies that are not in the histogram yet
        self._plan = plan
        self._tag = tag
        self._order = [Order() for _ in range(plan.clients)]
        self._tail = plan.payload + 2
        self._filler = b"x" * (plan.payload - MARK_SIZE) + b'"]'
        self._event = orjson.dumps(plan.event)
        prefix = prefix_of(plan.namespace)
        self._head = b"42" + prefix
        answer = b"43" if plan.mode == "echo" else b"42%b[%b" % (prefix, orjson.dumps(plan.reply_event))
        self._answer = answer + (prefix if plan.mode == "echo" else b"")
        self._closed_loop = plan.rate is None
        self._stride = SAMPLE_EVERY if self._closed_loop else 1
        self._until_sample = 0

    # -- publishing

    def publish(self, client: Client, due_us: int) -> None:
        """Have a client emit one message that was due at this time; one that was cut off emits nothing."""
        if not client.connected:
            return
        client.sequence += 1
        self.sent += 1
        self.expected += self._plan.receivers(client.number)
        client.send(self.packet(client, due_us))

    def packet(self, client: Client, due_us: int) -> bytes:
        """The packet of a client's current message."""
        plan = self._plan
        mark = write_mark(self._tag, client.number, client.sequence, due_us)
        if plan.mode == "echo":
            return b'%b%d[%b,"%b%b' % (self._head, client.sequence, self._event, mark, self._filler)
        room = b"" if plan.rooms is None else b'"%b",' % room_of(plan, client).encode()
        return b'%b[%b,%b"%b%b' % (self._head, self._event, room, mark, self._filler)

    def start(self, publishers: Sequence[Client]) -> None:
        """Closed loop: fill every publisher's window."""
        for _ in range(self._plan.in_flight):
            for client in publishers:
                self.publish(client, now_us())

    async def publish_at_rate(self, publishers: Sequence[Client]) -> None:
        """Open loop: publish on schedule until cancelled.

        A message's time is when it was due, not when it went out: a server that holds this program up must not thereby
        hide its own delay.
        """
        assert self._plan.rate is not None
        interval, start, number = 1e6 / self._plan.rate, now_us(), 0
        while True:
            now = now_us()
            while (due := start + int(number * interval)) <= now:
                if self.measuring:
                    self.lag.add_all((now - due,))
                self.publish(publishers[number % len(publishers)], due)
                number += 1
            await asyncio.sleep((due - now) / 1e6)

    # -- receiving

    def packets_received(self, client: Client, packets: list[bytes]) -> list[bytes]:
        """Count what a client received in one read; returns the packets that are not answers to this test."""
        now, others, number = now_us(), [], client.number
        order, answer, tag, tail, groups = self._order[number], self._answer, self._tag, self._tail, self._plan.groups
        until, stride, sampled = self._until_sample, self._stride, self.fresh.append if self.measuring else None
        last, again = order.last, self._closed_loop and not self.stopped
        received = unique = size = 0
        for packet in packets:
            if not packet.startswith(answer):
                others.append(packet)
                continue
            at = len(packet) - tail
            # The text stands at the end, whatever the server put before it; if not, it has to be looked for.
            if packet[at : at + TAG_SIZE] != tag and (at := packet.find(tag)) < 0:
                continue
            at += TAG_SIZE
            publisher, sequence = divmod(int(packet[at : at + 16]), SEQUENCES)
            if (publisher - number) % groups:
                self.misdelivered += 1
                continue
            received += 1
            size += len(packet)
            if sequence == last.get(publisher, 0) + 1:
                last[publisher] = sequence
                unique += 1
                fresh = True
            else:
                fresh = order.record(publisher, sequence)
            until -= 1
            if until <= 0:
                until = stride
                if sampled is not None:
                    sampled(now - int(packet[at + 16 : at + 32]))
            if again and fresh and publisher == number:
                self.publish(client, now_us())
        order.unique += unique
        self._until_sample = until
        self.received += received
        self.bytes += size
        return others

    def has_received_its_own(self, client: Client) -> bool:
        """Whether a client's own message has come back to it."""
        return client.number in self._order[client.number].last

    def lost(self, client: Client, reason: str) -> None:
        """A client was cut off."""
        self.cut_off += 1
        self.cut_reason = self.cut_reason or reason

    # -- adding up

    def fold(self) -> list[int]:
        """Move the fresh latencies into the histogram; returns them, for a display."""
        fresh, self.fresh = self.fresh, []
        self.latency.add_all(fresh)
        return fresh

    @property
    def unique(self) -> int:
        """Deliveries, second copies not counted."""
        return sum(order.unique for order in self._order)

    @property
    def duplicates(self) -> int:
        """Second copies."""
        return sum(order.duplicates for order in self._order)

    @property
    def reordered(self) -> int:
        """Messages that came after a later one of the same publisher."""
        return sum(order.reordered for order in self._order)


def room_of(plan: Plan, client: Client) -> str:
    """The room that a client joins, and publishes to."""
    return f"bench-{client.number % (plan.rooms or 1)}"
