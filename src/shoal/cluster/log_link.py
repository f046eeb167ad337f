"""This node's link to the others over a bus that keeps what is published: each broadcast is numbered, here too.

This node's own broadcasts come back from the broker as those of others do, so that all clients of the cluster get them
in one order. A broadcast to one room is kept in the log of that room, one to a socket in the log of its id, everything
else in the namespace's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple, cast

from ..bus.base import Bus, LogBus
from ..errors import BrokerError
from .link import AnyEnvelope, Link
from .messages import Broadcast, Claimed, Message, channel_of, decode, encode, reply_channel

__all__ = ["BEHIND_ALL", "Entry", "LogLink", "Position", "confirmed", "log_of"]

log: Final = logging.getLogger("shoal.cluster")

# Own broadcasts that have not come back, which a socket that leaves is given at once: those of the last turns.
MAX_PENDING: Final = 1_000


Position = tuple[int, int]
"""Of an event among all of an epoch: number of its message, and its place there."""

# The place of an event that stands for all of its message.
BEHIND_ALL: Final = 1_000_000


class Entry(NamedTuple):
    """One broadcast of a log."""

    number: int
    """Of the message that it was in."""
    place: int
    """Its place there, from 0."""
    broadcast: Broadcast


def log_of(namespace: str, rooms: Sequence[str]) -> str:
    """Name of the log that keeps a broadcast to ``rooms``."""
    return f"{namespace}#{rooms[0]}" if len(rooms) == 1 else f"{namespace}#"


Done = Callable[[BrokerError | None], None]
"""Called when the broker has a message, or with an error when it never will."""


async def confirmed(append: Callable[[Done], None], event: str, timeout: float) -> None:
    """Append a broadcast, and wait until the broker has it.

    Args:
        append: Appends it.
        event: Its event, for the error.
        timeout: Seconds to wait.

    Raises:
        BrokerError: The broker has dropped it, or has not confirmed it in time; in that case it still may.
    """
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: BrokerError | None) -> None:
        if answered.done():
            return
        if error is None:
            answered.set_result(None)
        else:
            answered.set_exception(error)

    append(done)
    try:
        async with asyncio.timeout(timeout) as deadline:
            await answered
    except TimeoutError:
        if not deadline.expired():
            raise
        raise BrokerError(f"the broker has not confirmed {event!r} within {timeout:g} s; it may still do") from None


class LogLink(Link):
    """As :class:`.link.Link`, with a log behind each room.

    Args:
        bus: Keeps what is appended.
        tag, node, prefix: See :class:`.link.Link`.
        deliver: Takes broadcasts without a number: those that are volatile, this node's among them.
        deliver_entry: Takes numbered ones, and whether they are this node's own.
        on_claimed: Takes the secret of a client that is at another node now.
        on_state: Told when the link comes up and goes down.
    """

    received: int
    unreadable: int

    def __init__(
        self,
        bus: LogBus,
        tag: str,
        node: str,
        prefix: str,
        deliver: Callable[[Broadcast], None],
        deliver_entry: Callable[[Entry, bool], None],
        on_claimed: Callable[[str], None],
        on_state: Callable[[bool], None],
    ) -> None:
        super().__init__(bus, tag, node, prefix, deliver, on_state)
        self.log_bus: LogBus = bus
        self._deliver_entry = deliver_entry
        self._on_claimed = on_claimed
        self._groups = 0
        self._pending: deque[tuple[int, list[Broadcast]]] = deque()
        """Own broadcasts that the broker has not brought back."""
        self._confirmations: dict[int, Callable[[BrokerError | None], None]] = {}
        """Who waits for which broadcast of this turn, by its ``id()``."""
        self.position: Position = (0, BEHIND_ALL)
        """Of the last broadcast that came; what is not kept goes under it."""
        self._watched: list[set[str]] = []
        """For each script that is under way and reads logs: the channels of rooms opened since it was sent."""
        bus.on_entry = self._receive_entry

    def _gather(self) -> None:
        """Nobody is waited for: a node that was away reads what it missed."""

    def replace_bus(self, bus: Bus) -> None:
        super().replace_bus(bus)
        self.log_bus = cast(LogBus, bus)
        self.log_bus.on_entry = self._receive_entry
        self.position = (0, BEHIND_ALL)
        self._pending.clear()

    # ---- sending

    def append(
        self,
        broadcast: Broadcast,
        own: bool = False,
        done: Callable[[BrokerError | None], None] | None = None,
    ) -> None:
        """Publish a broadcast and keep it.

        Args:
            broadcast: What to say to whom.
            own: It is for a socket of this node alone, so no other need receive it.
            done: Called when the broker has it, or with an error when it never will.
        """
        self._size += len(broadcast.text) + sum(map(len, broadcast.attachments))
        if own:
            channel = reply_channel(self.prefix, self.tag)
        else:
            channel = channel_of(self.prefix, broadcast.namespace, broadcast.rooms)
        if done is not None:
            self._confirmations[id(broadcast)] = done
        self._send(channel, broadcast, log_of(broadcast.namespace, broadcast.rooms))

    def _put(self, channel: str, log_name: str, envelopes: list[AnyEnvelope]) -> None:
        if not log_name:
            super()._put(channel, log_name, envelopes)
            return
        self._groups += 1
        payload = encode(Message(self.tag, envelopes, self._groups))
        self._pending.append((self._groups, [each for each in envelopes if type(each) is Broadcast]))
        confirmations = self._confirmations
        waiting = [confirmations.pop(id(each)) for each in envelopes if id(each) in confirmations]

        def done(error: BrokerError | None) -> None:
            for each in waiting:
                each(error)

        self.log_bus.append(channel, log_name, payload, done)

    def claimed_payload(self, pid: str) -> bytes:
        """What the node that has a client's state is told when the state is taken from it."""
        return encode(Message(self.tag, [Claimed(pid)]))

    def pending(self) -> Iterable[Broadcast]:
        """Own broadcasts that have not come back from the broker, the oldest first; of very many, those of late."""
        skipped = max(0, len(self._pending) - MAX_PENDING)
        for _, broadcasts in islice(self._pending, skipped, None):
            yield from broadcasts
        for _, log_name, envelopes in self._outgoing:
            if log_name:
                yield from [each for each in envelopes if type(each) is Broadcast]

    # ---- rooms

    @contextlib.contextmanager
    def watch(self) -> Iterator[set[str]]:
        """Names the channels of the rooms opened from now on. Ids of one node's sockets share one.

        What is sent to them before the broker subscribes them is neither in the answer to a script that was sent
        before, nor does it come.
        """
        opened: set[str] = set()
        self._watched.append(opened)
        try:
            yield opened
        finally:
            self._watched = [each for each in self._watched if each is not opened]

    def open_room(self, namespace: str, room: str) -> None:
        if self._watched and not self.is_open(namespace, room):
            for each in self._watched:
                each.add(channel_of(self.prefix, namespace, (room,)))
        super().open_room(namespace, room)

    # ---- receiving

    def _receive(self, channel: str, payload: bytes) -> None:
        if payload.startswith(self._own):
            for envelope in decode(payload).envelopes:
                if type(envelope) is Broadcast and not self.log_bus.catching_up:
                    self._deliver(envelope)
        else:
            super()._receive(channel, payload)

    def _take(self, sender: str, envelope: AnyEnvelope) -> None:
        if type(envelope) is Claimed:
            self._on_claimed(envelope.pid)
        else:
            super()._take(sender, envelope)

    def _receive_entry(self, number: int, payload: bytes) -> None:
        try:
            message = decode(payload)
        except BrokerError:
            self.unreadable += 1
            log.debug("unreadable message in a log", exc_info=True)
            return
        is_own = message.sender == self.tag
        if is_own:
            while self._pending and self._pending[0][0] <= message.group:
                self._pending.popleft()
        else:
            self.received += len(message.envelopes)
        for index, envelope in enumerate(message.envelopes):
            if type(envelope) is Broadcast:
                self._deliver_entry(Entry(number, index, envelope), is_own)
                self.position = (number, index)
        self.position = (number, BEHIND_ALL)

    @staticmethod
    def entries(found: Sequence[bytes]) -> Iterable[Entry]:
        """The broadcasts of what a script has found: numbers and payloads by turns."""
        for number, payload in zip(found[::2], found[1::2], strict=True):
            try:
                message = decode(payload)
            except BrokerError:
                continue
            for index, envelope in enumerate(message.envelopes):
                if type(envelope) is Broadcast:
                    yield Entry(int(number), index, envelope)
