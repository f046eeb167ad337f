"""The link of a program that is no node: it publishes to the cluster, asks it, and receives nothing but answers.

Nodes do not know of it. It bounds what waits for the broker, and says when something cannot be sent: it is for programs
that end, where a message that is still waiting then would be lost without a word.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Any, Final, cast

from ..bus import BusLimits, LogOptions, open_bus
from ..bus.base import LogBus, label_of, prefix_in_database
from ..errors import BrokerError, ConfigurationError
from .log_link import confirmed, log_of
from .messages import (
    TAG_LENGTH,
    Broadcast,
    Envelope,
    Message,
    Reply,
    Request,
    channel_of,
    cluster_channel,
    decode,
    encode,
    reply_channel,
)
from .requests import Replies, pack
from .survey import Surveys

__all__ = ["EmitterLink"]

log: Final = logging.getLogger("shoal.cluster")

# An emitter must not cut the logs of the cluster shorter than its nodes do.
MAX_LENGTH: Final = 1_000_000
MAX_LIFETIME: Final = 86_400.0
# While the broker does not read, whoever emits looks again this often, in seconds, whether there is room.
ROOM_INTERVAL: Final = 0.01


class EmitterLink:
    """One connection to the broker, on the loop that it was started on.

    Args:
        broker: URL of the broker that the nodes share.
        prefix: The nodes' option ``channel_prefix``.
        buffer_bytes: What may wait while the broker is away or does not read. Beyond it sending is an error.

    Raises:
        ConfigurationError: The URL names no broker that is known.
    """

    def __init__(self, broker: str, prefix: str, buffer_bytes: int) -> None:
        self._shown = label_of(broker)
        self._prefix = prefix_in_database(broker, prefix) if broker.partition("://")[0].endswith("+streams") else prefix
        self._limit = buffer_bytes
        self._tag = secrets.token_urlsafe(9)[:TAG_LENGTH]
        self._has_log = broker.partition("://")[0].endswith("+streams")
        options = LogOptions(prefix, f"emitter.{secrets.token_hex(8)}", MAX_LENGTH, MAX_LIFETIME)
        self._bus = open_bus(broker, limits=BusLimits(buffer_bytes=buffer_bytes), options=options)
        self._surveys = Surveys(self._send)
        self._is_up = asyncio.Event()
        self._waiting = 0
        """Bytes of messages whose senders wait for the link."""
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, from now on."""
        self._bus.subscribe(reply_channel(self._prefix, self._tag))
        self._starting = asyncio.get_running_loop().create_task(self._bus.start(self._receive, self._changed))

    async def close(self) -> None:
        """Send what waits, as far as the broker takes it, and let go of it."""
        if self._starting is not None:
            self._starting.cancel()  # it waits for the first attempt, or was not begun
            await asyncio.wait({self._starting})
        await self._bus.close()

    def _changed(self, up: bool) -> None:
        if up:
            self._is_up.set()
        else:
            self._is_up.clear()

    # ---- sending

    async def publish(self, broadcast: Broadcast, timeout: float) -> None:
        """Send a broadcast. Returns when it is on its way to the broker.

        Raises:
            BrokerError: The broker cannot be reached in ``timeout`` seconds, or too much waits for it. Nothing is sent.
        """
        payload = self._encoded(broadcast)
        await self._ready(len(payload), timeout)
        if self._has_log and not broadcast.volatile:
            self._append(broadcast, payload, None)
        else:
            self._bus.publish(channel_of(self._prefix, broadcast.namespace, broadcast.rooms), payload)
        await asyncio.sleep(0)  # the bus writes at the end of this turn

    async def publish_confirmed(self, broadcast: Broadcast, event: str, timeout: float) -> None:
        """Send a broadcast. Returns when the broker has it.

        Raises:
            BrokerError: As for :meth:`publish`, or it was not confirmed in time; in that case it may still arrive.
            ConfigurationError: This broker confirms nothing.
        """
        if not self._has_log:
            raise ConfigurationError(f"broker {self._shown!r} confirms nothing: use redis+streams://")
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        payload = self._encoded(broadcast)
        await self._ready(len(payload), timeout)
        await confirmed(lambda done: self._append(broadcast, payload, done), event, end - loop.time())

    def _append(self, broadcast: Broadcast, payload: bytes, done: Any) -> None:
        namespace, rooms = broadcast.namespace, broadcast.rooms
        channel = channel_of(self._prefix, namespace, rooms)
        cast(LogBus, self._bus).append(channel, log_of(namespace, rooms), payload, done)

    async def notify(self, kind: str, body: Any, timeout: float) -> None:
        """Send every node something that nobody answers. Errors are those of :meth:`publish`."""
        packed = pack(body)
        await self._ready(len(bytes(packed)), timeout)
        self._send([Request("", kind, packed, 0.0)])
        await asyncio.sleep(0)

    async def ask(self, kind: str, body: Any, timeout: float) -> Replies:
        """Ask every node. See :meth:`.survey.Surveys.ask`.

        Raises:
            BrokerError: As for :meth:`publish`; or no node has answered.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        await self._ready(0, timeout)
        return await self._surveys.ask(kind, body, end - loop.time())

    def _send(self, requests: list[Request]) -> None:
        self._bus.publish(cluster_channel(self._prefix), self._encoded(*requests))

    def _encoded(self, *envelopes: Envelope) -> bytes:
        return encode(Message(self._tag, cast(Sequence[Any], envelopes)))

    async def _ready(self, size: int, timeout: float) -> None:
        """Wait until the link is up and has room for a message of ``size`` bytes."""
        if self._bus.up and self._bus.waiting + size <= self._limit:
            return
        if size > self._limit:
            raise BrokerError(f"a message of {size} bytes is more than may wait for the broker: see broker_buffer")
        if self._waiting + size > self._limit:
            raise BrokerError(
                f"the broker at {self._shown} is away or does not read, and more waits for it than {self._limit} bytes"
                " (broker_buffer): nothing sent"
            )
        self._waiting += size
        try:
            async with asyncio.timeout(timeout) as deadline:
                while not self._bus.up or self._bus.waiting + size > self._limit:
                    await self._is_up.wait()
                    if self._bus.up and self._bus.waiting + size > self._limit:
                        await asyncio.sleep(ROOM_INTERVAL)
        except TimeoutError:
            if not deadline.expired():
                raise
            verb = "make room at" if self._bus.up else "reach"
            raise BrokerError(f"cannot {verb} the broker at {self._shown} within {timeout:g} s: nothing sent") from None
        finally:
            self._waiting -= size

    # ---- receiving

    def _receive(self, channel: str, payload: bytes) -> None:
        try:
            message = decode(payload)
        except BrokerError:
            log.debug("unreadable message on %s", channel, exc_info=True)
            return
        for envelope in message.envelopes:
            if type(envelope) is Reply:
                self._take(message.sender, envelope)

    def _take(self, sender: str, reply: Reply) -> None:
        try:
            self._surveys.reply_received(sender, reply)
        except BrokerError:
            log.debug("unreadable answer of %s", sender, exc_info=True)
