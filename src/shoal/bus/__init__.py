"""The bus: carries bytes on channels from node to node. :func:`open_bus` makes one from a URL.

Drivers are imported when a URL asks for them, so that a node without a broker needs none installed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import ConfigurationError
from .base import DEFAULT_LIMITS, Bus, BusLimits, BusStats, LogOptions, OnMessage, OnState
from .memory import MemoryBus, MemoryHub

__all__ = ["Bus", "BusLimits", "BusStats", "LogOptions", "MemoryBus", "MemoryHub", "OnMessage", "OnState", "open_bus"]

SCHEMES = ("memory://", "redis://", "rediss://", "redis+streams://", "rediss+streams://")


def open_bus(url: str, *, limits: BusLimits = DEFAULT_LIMITS, options: LogOptions | None = None) -> Bus:
    """Make the bus that a URL describes. It connects when it is started.

    Args:
        url: ``memory://`` (this node alone), ``memory://NAME`` (nodes of this process that use the same name),
            ``redis://[[user][:password]@]host[:port][/db]``, or ``rediss://...`` for the same over TLS.
        limits: Bounds and intervals.
        options: Of the logs of ``redis+streams://...``; for all others of no meaning.

    Raises:
        ConfigurationError: The scheme is unknown, the URL cannot be read, or the driver is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("redis+streams", "rediss+streams"):
        if options is None:
            raise ConfigurationError(f"broker {scheme}://: only a server can be one of its nodes")
        return _open_streams(url, options, limits)
    if separator and scheme == "memory":
        return MemoryBus(MemoryHub.named(rest), limits=limits)
    if separator and scheme in ("redis", "rediss"):
        return _open_redis(url, limits)
    shown = f"{scheme}://" if separator else repr(url)
    raise ConfigurationError(f"broker {shown}: unknown scheme; the known ones are {', '.join(SCHEMES)}")


def _open_redis(url: str, limits: BusLimits) -> Bus:
    with _driver(url):
        from .redis import RedisBus  # noqa: PLC0415 - an extra

        return RedisBus(url, limits=limits)


def _open_streams(url: str, options: LogOptions, limits: BusLimits) -> Bus:
    with _driver(url):
        from .redis_streams import RedisStreamsBus  # noqa: PLC0415 - an extra

        return RedisStreamsBus(url, options, limits=limits)


@contextlib.contextmanager
def _driver(url: str) -> Iterator[None]:
    """Say what to install where a driver is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("redis", "hiredis"):
            raise
        raise ConfigurationError(
            f"broker {url.partition('://')[0]}:// needs a driver that is not installed: pip install 'shoal[redis]'"
        ) from error
