"""The way in: which channels are wanted, what the broker was told of them, what it has confirmed, and what arrives.

The wanted channels outlive connections; every new link is given all of them. It publishes nothing, and never connects.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import hiredis

from .base import BusStats, OnMessage, encode_channel
from .redis_wire import MORE, RedisLink, encode_command

__all__ = ["SubscribeLink", "Subscriptions"]

READ_SIZE = 256 * 1024
"""What asyncio reads at once: about a thousand messages, and a few milliseconds of work."""
CHANNELS_PER_COMMAND = 500
"""A broker serves nobody else while it works on one command."""
CHANNELS_IN_FLIGHT = 10_000
"""A broker hangs up on a subscriber that 32 MB of answers wait for; these are one."""

logger: Final = logging.getLogger("shoal.bus")


class SubscribeLink(RedisLink):
    """The connection that receives.

    Args:
        subscriptions: Told what arrives.
        on_lost: See :class:`RedisLink`.
    """

    def __init__(self, subscriptions: Subscriptions, on_lost: Callable[[str], None]) -> None:
        super().__init__("subscriber", on_lost, read_size=READ_SIZE)
        self._subscriptions = subscriptions

    def received(self, count: int) -> None:
        try:
            self.reader.feed(self.buffer, 0, count)  # type: ignore[arg-type]  # it takes any buffer
            self._subscriptions.receive(self.reader.gets)
        except (hiredis.ProtocolError, TypeError) as error:  # TypeError: a list where a name was due
            self.lose(f"the broker broke its protocol: {error}")


class Subscriptions:
    """The wanted channels, and their state on the current link.

    Args:
        stats: Where messages are counted.
        probe_channel: Heard on every link beside the wanted channels; its payloads go to ``on_probe``.
    """

    def __init__(self, stats: BusStats, probe_channel: str) -> None:
        self.on_message: OnMessage = lambda channel, payload: None
        self.on_probe: Callable[[bytes], None] = lambda payload: None
        self._stats = stats
        self._probe_channel = encode_channel(probe_channel)
        self._wanted: dict[bytes, str] = {}
        self._link: RedisLink | None = None
        self._ordered: set[bytes] = set()  # channels that the broker was told to send
        self._changed: dict[bytes, None] = {}  # in this turn of the loop; ordered
        self._orders: deque[tuple[bytes, bytes]] = deque()  # not written yet: command, channel
        self._asked = 0  # channels ordered on this link, one confirmation each
        self._written = 0
        self._confirmed = 0
        self._scheduled = False
        self._waiters: deque[tuple[int, asyncio.Future[bool]]] = deque()

    def add(self, channel: str) -> None:
        """Want ``channel``."""
        name = encode_channel(channel)
        if name not in self._wanted:
            self._wanted[name] = channel
            self._change(name)

    def remove(self, channel: str) -> None:
        """Want ``channel`` no more; nothing of it is passed on from now."""
        name = encode_channel(channel)
        if self._wanted.pop(name, None) is not None:
            self._change(name)

    def attach(self, link: RedisLink) -> None:
        """Order everything that is wanted through ``link``."""
        self._link = link
        self._ordered.clear()
        self._asked = self._written = self._confirmed = 0
        self._order((self._probe_channel, *self._wanted), b"SUBSCRIBE")
        self._ordered.update(self._wanted)
        self._write()

    def detach(self) -> None:
        """Forget the link; whoever waits for it is told that it failed."""
        self._link = None
        self._changed.clear()
        self._orders.clear()
        while self._waiters:
            _resolve(self._waiters.popleft()[1], False)

    def is_attached(self, link: RedisLink) -> bool:
        """Whether the channels are received through this link."""
        return self._link is link

    def close(self) -> None:
        """Pass nothing on any more."""
        self._wanted.clear()
        self.detach()

    async def settled(self, timeout: float) -> bool:
        """Wait until all that was ordered before this call is confirmed; see :meth:`shoal.bus.Bus.settled`."""
        if self._link is None:
            return False
        self.flush()
        if self._confirmed >= self._asked:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append((self._asked, waiter))
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            return False

    async def placed(self, timeout: float) -> bool:
        """Wait until everything is confirmed, however much it is, as long as confirmations keep coming.

        Args:
            timeout: Seconds that may pass without one.
        """
        while self._link is not None:
            before = self._confirmed
            if await self.settled(timeout):
                return True
            if self._confirmed == before:
                return False
        return False

    def receive(self, gets: Callable[[], Any]) -> None:
        """Pass on every reply that is complete. The hot path of a cluster: one dictionary and one call a message."""
        wanted, stats, on_message = self._wanted, self._stats, self.on_message
        while (reply := gets()) is not MORE:
            if reply.__class__ is list and len(reply) == 3 and reply[0] == b"message":
                channel = wanted.get(reply[1])
                if channel is None:
                    if reply[1] == self._probe_channel:
                        self.on_probe(reply[2])
                    continue
                stats.received += 1
                try:
                    on_message(channel, reply[2])
                except Exception:  # whatever the layer above raises: the next message must arrive all the same
                    logger.exception("a message on %r was not handled", channel)
            elif reply.__class__ is list and len(reply) == 3 and reply[0] in (b"subscribe", b"unsubscribe"):
                self.confirm()
            else:
                if self._link is not None:
                    self._link.reject(reply)
                return

    def wants(self, name: bytes) -> bool:
        """Whether a channel of this name is wanted."""
        return name in self._wanted

    def deliver(self, name: bytes, payload: bytes) -> None:
        """Pass on one message, as :meth:`receive` does."""
        channel = self._wanted.get(name)
        if channel is not None:
            self._stats.received += 1
            try:
                self.on_message(channel, payload)
            except Exception:  # as above
                logger.exception("a message on %r was not handled", channel)

    def _change(self, name: bytes) -> None:
        if self._link is None:
            return
        self._changed[name] = None
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Order what has changed. A channel that was left and wanted again in one turn costs nothing."""
        self._scheduled = False
        wanted = [name for name in self._changed if name in self._wanted and name not in self._ordered]
        unwanted = [name for name in self._changed if name not in self._wanted and name in self._ordered]
        self._changed.clear()
        self._ordered.update(wanted)
        self._ordered.difference_update(unwanted)
        self._order(unwanted, b"UNSUBSCRIBE")
        self._order(wanted, b"SUBSCRIBE")
        self._write()

    def _order(self, names: Iterable[bytes], command: bytes) -> None:
        before = len(self._orders)
        self._orders.extend((command, name) for name in names)
        self._asked += len(self._orders) - before

    def _write(self) -> None:
        """Write as many orders as may be in flight; the rest follows with the confirmations."""
        blocks = []
        while self._orders and self._written - self._confirmed < CHANNELS_IN_FLIGHT:
            command = self._orders[0][0]
            names: list[bytes] = []
            while self._orders and self._orders[0][0] is command and len(names) < CHANNELS_PER_COMMAND:
                names.append(self._orders.popleft()[1])
            self._written += len(names)
            blocks.append(encode_command((command, *names)))
        if blocks and self._link is not None:
            self._link.write(b"".join(blocks))

    def confirm(self) -> None:
        """The broker has carried out one order."""
        self._confirmed += 1
        while self._waiters and self._waiters[0][0] <= self._confirmed:
            _resolve(self._waiters.popleft()[1], True)
        if self._orders:
            self._write()


def _resolve(waiter: asyncio.Future[bool], outcome: bool) -> None:
    if not waiter.done():
        waiter.set_result(outcome)
