"""Emit from outside: a program that is no node sends an event to the clients of a cluster.

It connects, publishes one message, waits until the broker has it, and leaves. It receives nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Final, cast

from ..bus import LogOptions, open_bus
from ..bus.base import LogBus
from ..errors import BrokerError
from ..protocol.socketio import EVENT, encode
from .log_link import log_of
from .messages import Broadcast, Message, channel_of
from .messages import encode as encode_message

__all__ = ["emit_once"]

MAX_LENGTH: Final = 1_000_000
MAX_LIFETIME: Final = 86_400.0


async def emit_once(
    broker: str,
    event: str,
    *args: Any,
    namespace: str = "/",
    rooms: Iterable[str] = (),
    prefix: str = "shoal",
    timeout: float = 5.0,
) -> None:
    """Emit one event to the clients of every node.

    Args:
        broker: URL of the broker that the nodes share.
        event: The event's name.
        args: Its arguments.
        namespace: With its slash.
        rooms: Only to clients in any of these; none: to everyone.
        prefix: The nodes' option ``channel_prefix``.
        timeout: Seconds that reaching the broker may take.

    Raises:
        ConfigurationError: The URL names no broker that is known.
        BrokerError: It could not be reached in time.
        PayloadError: An argument has no JSON form.
    """
    names = tuple(rooms)
    text, attachments = encode(EVENT, namespace, [event, *args])
    message = Message("", [Broadcast(namespace, names, (), text, attachments)])
    # It must not cut the logs of the cluster shorter than its nodes do.
    options = LogOptions(prefix, f"emitter.{secrets.token_hex(8)}", MAX_LENGTH, MAX_LIFETIME)
    bus = open_bus(broker, options=options)
    await bus.start(_ignore_message, _ignore)
    try:
        if not await bus.settled(timeout):
            raise BrokerError(f"cannot reach the broker at {broker} within {timeout:g} s")
        channel, payload = channel_of(prefix, namespace, names), encode_message(message)
        if hasattr(bus, "append"):
            cast(LogBus, bus).append(channel, log_of(namespace, names), payload)
        else:
            bus.publish(channel, payload)
    finally:
        await bus.close()  # sends what waits


def _ignore_message(channel: str, payload: bytes) -> None:
    """Nothing is subscribed."""


def _ignore(up: bool) -> None:
    """``settled`` tells the same."""
