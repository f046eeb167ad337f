"""What an emitter is told when it is made. The options have the names and meanings that they have on a server."""

from __future__ import annotations

from typing import Literal

from ..errors import ConfigurationError
from ..settings import ServerSettings

__all__ = ["Parser", "read_options"]

Parser = Literal["json", "msgpack"]


def read_options(
    broker: str, channel_prefix: str, parser: Parser, request_timeout: float, broker_buffer: int
) -> ServerSettings:
    """Check the options of an emitter.

    Raises:
        ConfigurationError: One of them is wrong; or the broker is ``memory://``, where nobody else can be.
    """
    if broker == "memory://":
        raise ConfigurationError(
            "broker 'memory://' is one server's own, which no emitter reaches: "
            "servers and emitters need a broker in common, such as redis://127.0.0.1:6379"
        )
    return ServerSettings(
        broker=broker,
        channel_prefix=channel_prefix,
        parser=parser,
        request_timeout=request_timeout,
        broker_buffer=broker_buffer,
    )
