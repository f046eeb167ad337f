"""What an emitter is told when it is made. The options have the names and meanings that they have on a server."""

from __future__ import annotations

from typing import Final, Literal

from ..errors import ConfigurationError
from ..settings import ServerSettings

__all__ = ["Parser", "read_options", "require_shared"]

Parser = Literal["json", "msgpack"]

NOT_SHARED: Final = (
    "broker {!r} is inside one process, where no emitter reaches it: "
    "servers and emitters need a broker in common, such as redis://127.0.0.1:6379"
)


def read_options(
    broker: str, channel_prefix: str, parser: Parser, request_timeout: float, broker_buffer: int
) -> ServerSettings:
    """Check the options of an emitter.

    Raises:
        ConfigurationError: One of them is wrong; or the broker is ``memory://``, where nobody else can be.
    """
    if broker == "memory://":
        raise ConfigurationError(NOT_SHARED.format(broker))
    return ServerSettings(
        broker=broker,
        channel_prefix=channel_prefix,
        parser=parser,
        request_timeout=request_timeout,
        broker_buffer=broker_buffer,
    )


def require_shared(broker: str) -> str:
    """The broker's URL, if another thread can reach it.

    Raises:
        ConfigurationError: It is ``memory://NAME``, where all are on one event loop.
    """
    if broker.startswith("memory://"):
        raise ConfigurationError(NOT_SHARED.format(broker))
    return broker
