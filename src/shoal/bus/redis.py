"""Redis and Valkey Pub/Sub as a bus: two connections, a publisher and a subscriber, up only together.

This module owns the life of the link: connecting, the watchdog, the states and the pauses between attempts. Of two
connections the one that was not lost stays: a subscriber goes on receiving, a publisher goes on counting answers. What
is written and what arrives is the business of the two halves. It knows no bytes of the protocol.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import random
import secrets
from typing import Any, Final

from ..errors import BrokerError
from .base import CLOSE_FLUSH, DEFAULT_LIMITS, BusLimits, BusStats, OnMessage, OnState
from .redis_publish import Publisher, PublishLink
from .redis_subscribe import SubscribeLink, Subscriptions
from .redis_url import Endpoint
from .redis_wire import RedisLink, open_link, reason_of

__all__ = ["RedisBus", "longest_pause"]

PROBE_CHANNEL = "shoal:probe:"
PROBE_TICKS = 4
"""A probe's time is counted in ticks: a loop that was blocked loses one, and receives the answer in the next."""
DOUBLINGS = 30
"""Beyond this many failures the pause between two attempts is at its bound with any options."""

logger: Final = logging.getLogger("shoal.bus")


class RedisBus:
    """A :class:`shoal.bus.Bus` over Redis Pub/Sub.

    Args:
        url: ``redis://`` or ``rediss://``; see :meth:`Endpoint.parse`.
        limits: Bounds and intervals.

    Raises:
        ConfigurationError: The URL cannot be used.
    """

    def __init__(self, url: str, *, limits: BusLimits = DEFAULT_LIMITS) -> None:
        self.up: bool = False
        self.stats: BusStats = BusStats()
        self._endpoint = Endpoint.parse(url)
        self._limits = limits
        self._label = f"broker {self._endpoint.label}"
        # Nobody else may write to it: a foreign answer would hide that this node receives nothing.
        self._probe_channel = PROBE_CHANNEL + secrets.token_hex(8)
        self._publisher = Publisher(limits.buffer_bytes, self.stats, self._label)
        self._subscriptions = Subscriptions(self.stats, self._probe_channel)
        self._links: list[RedisLink] = []
        self._lost: asyncio.Future[str] | None = None
        self._on_state: OnState | None = None
        self._attempted: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._was_up = False
        self._is_doubtful = False  # a connection stayed when the other one was lost: its peer may be another broker now
        self._up_since = math.inf
        self._last_reason = ""  # the reason that was logged last in this outage

    @property
    def waiting(self) -> int:
        """Bytes that wait for the link, or for the socket to take them."""
        return self._publisher.waiting

    async def start(self, on_message: OnMessage, on_state: OnState) -> None:
        """Connect, and keep connecting until :meth:`close`."""
        if self._task is not None or self._closing is not None:
            raise RuntimeError("the bus is closed" if self._closing else "the bus was started before")
        self._subscriptions.on_message = on_message
        self._on_state = on_state
        self._attempted = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"{self._label}: link")
        await self._attempted.wait()

    def publish(self, channel: str, payload: bytes) -> None:
        """Publish at the end of this turn of the loop, or when the broker is back."""
        self._publisher.publish(channel, payload)

    def publish_first(self, channel: str, payload: bytes) -> None:
        """Publish ahead of what waits."""
        if self.up:
            self._publisher.first(channel, payload)

    def hold(self) -> None:
        """Let publishes wait."""
        self._publisher.hold()

    def release(self) -> int:
        """Publish what waits."""
        return self._publisher.release() if self.up else 0

    def subscribe(self, channel: str) -> None:
        """Receive ``channel``."""
        self._subscriptions.add(channel)

    def unsubscribe(self, channel: str) -> None:
        """Receive ``channel`` no more."""
        self._subscriptions.remove(channel)

    async def settled(self, timeout: float) -> bool:
        """Wait for the broker's confirmations."""
        return self.up and await self._subscriptions.settled(timeout)

    async def close(self) -> None:
        """Flush, then disconnect. Every caller returns when it is done."""
        if self._closing is None:
            self._subscriptions.close()
            self._on_state = None
            self._closing = asyncio.create_task(self._close(), name=f"{self._label}: close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self.up:
            await self._publisher.drain(CLOSE_FLUSH)
        self._publisher.close()  # before the link: what it has not confirmed is not kept
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._drop_links(self._links)
        if self._attempted is not None:
            self._attempted.set()

    async def _run(self) -> None:
        failures = 0
        while True:
            self._up_since = math.inf
            try:
                await self._hold_link()
            except (BrokerError, OSError) as error:
                self._log_failure(error)
            except Exception:  # a mistake in here must not leave a node without a link for good
                logger.exception("%s: unexpected failure, reconnecting", self._label)
            assert self._attempted is not None
            self._attempted.set()
            if asyncio.get_running_loop().time() - self._up_since > self._limits.backoff_max:
                failures = 0
                continue  # the link held, this is not a broker that comes and goes: what is said now is not heard here
            # Full jitter: a cluster must not come back as one.
            await asyncio.sleep(random.uniform(0, longest_pause(failures, self._limits)))
            failures += 1

    async def _hold_link(self) -> None:
        """Connect, rise, and return never: the loss of the link is an exception."""
        self._lost = asyncio.get_running_loop().create_future()
        try:
            await self._drop_links([link for link in self._links if not link.is_open])  # also those lost in the pause
            await self._connect()
            self._link_is_up()
            await self._watch(self._lost)
        finally:
            if not self._lost.done():
                self._link_is_down("the link was given up")

    async def _connect(self) -> None:
        """Open the connections that there are none of, place the subscriptions, and send what waits."""
        timeout = self._limits.connect_timeout
        publish = functools.partial(PublishLink, self._publisher, self._publisher_is_lost)
        subscribe = functools.partial(SubscribeLink, self._subscriptions, self._subscriber_is_lost)
        publisher = next((link for link in self._links if isinstance(link, PublishLink)), None)
        subscriber = next((link for link in self._links if isinstance(link, SubscribeLink)), None)
        self._is_doubtful = bool(self._links)
        try:
            async with asyncio.timeout(timeout):
                # The way in first: what others say meanwhile is not heard here, what this node says waits.
                if subscriber is None:
                    subscriber = await open_link(self._endpoint, subscribe)
                    self._links.append(subscriber)
                if publisher is None:
                    publisher = await open_link(self._endpoint, publish)
                    self._links.append(publisher)
                self._raise_if_lost()
        except TimeoutError as error:
            raise BrokerError(f"no answer within {timeout:g} s") from error
        if not self._subscriptions.is_attached(subscriber):
            self._subscriptions.attach(subscriber)
        placed = await self._subscriptions.placed(timeout)
        self._raise_if_lost()
        if not placed:
            raise BrokerError(f"subscriptions not confirmed within {timeout:g} s")
        self._publisher.attach(publisher)

    async def _watch(self, lost: asyncio.Future[str]) -> None:
        """Probe the link until it is lost."""
        loop = asyncio.get_running_loop()
        tick = self._limits.probe_timeout / PROBE_TICKS
        while True:
            await asyncio.wait({lost}, timeout=0 if self._is_doubtful else self._limits.probe_interval)
            self._is_doubtful = False
            self._raise_if_lost()
            received: asyncio.Future[None] = loop.create_future()
            token = secrets.token_bytes(8)
            self._subscriptions.on_probe = functools.partial(_answer, received, token)
            self._publisher.probe(self._probe_channel, token)
            either: set[asyncio.Future[Any]] = {lost, received}
            silent_ticks = 0
            while silent_ticks < PROBE_TICKS and not received.done():
                before = self.stats.received
                await asyncio.wait(either, timeout=tick, return_when=asyncio.FIRST_COMPLETED)
                self._raise_if_lost()
                # A node that is behind with its messages receives its probe late. Both connections work all the same,
                # and a reconnect would lose what it has not received yet.
                is_behind = self.stats.received > before and self._publisher.is_probe_answered
                silent_ticks = 0 if is_behind else silent_ticks + 1
            if not received.done():
                self._link_is_down(f"a probe was not received within {self._limits.probe_timeout:g} s")

    def _raise_if_lost(self) -> None:
        if self._lost is not None and self._lost.done():
            raise BrokerError(self._lost.result())

    async def _drop_links(self, links: list[RedisLink]) -> None:
        self._links = [link for link in self._links if link not in links]
        for link in links:
            link.abort()
        for link in links:
            await link.close()

    def _link_is_up(self) -> None:
        self.up = True
        self._up_since = asyncio.get_running_loop().time()
        self.stats.reconnects += self._was_up
        logger.info("%s: connected", self._label)
        self._was_up, self._last_reason = True, ""
        self._notify(True)
        assert self._attempted is not None
        self._attempted.set()

    def _link_is_down(self, reason: str) -> None:
        """Give up all connections at once, so that nothing is written to a dead one."""
        for link in self._links:
            link.abort()
        self._publisher.detach()
        self._subscriptions.detach()
        self._go_down(reason)

    def _publisher_is_lost(self, reason: str) -> None:
        """The subscriber goes on: it may have much to read, and hears what others say meanwhile."""
        self._publisher.detach()
        self._go_down(reason)

    def _subscriber_is_lost(self, reason: str) -> None:
        """The publisher writes nothing more and goes on reading answers, so that nothing is published again in vain."""
        self._subscriptions.detach()
        self._publisher.hold()
        self._go_down(reason)

    def _go_down(self, reason: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(reason)
        if self.up:
            self.up = False
            self._notify(False)

    def _notify(self, up: bool) -> None:
        if self._on_state is None:
            return
        try:
            self._on_state(up)
        except Exception:  # whatever the layer above raises: the link goes on
            logger.exception("%s: the change of state was not handled", self._label)

    def _log_failure(self, error: Exception) -> None:
        """Log why there is no link: once for each reason, not for each attempt."""
        reason = reason_of(error)
        if self._closing is None:
            level = logging.DEBUG if reason == self._last_reason else logging.WARNING
            logger.log(level, "%s: %s; retrying", self._label, reason)
        self._last_reason = reason


def longest_pause(failures: int, limits: BusLimits) -> float:
    """Return the upper end, in seconds, of the pause after an attempt that ``failures`` others failed before."""
    return min(limits.backoff_max, limits.backoff_first * 2.0 ** min(failures, DOUBLINGS))


def _answer(received: asyncio.Future[None], token: bytes, payload: bytes) -> None:
    if payload == token and not received.done():
        received.set_result(None)
