"""Host and port as one value: reading it from text, writing it into URLs and configurations.

Knows the brackets of IPv6 and which characters a host may have, so that no text of a user can break out of a
generated configuration. It resolves nothing and opens nothing.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ..errors import ConfigurationError

__all__ = ["Address", "check_host", "check_port", "parse_address"]

MAX_DIGITS = 5
_ip = ipaddress.ip_address
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens. ``host`` may be a name, an IPv4 or a bare IPv6 address; empty means every interface."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> Address:
        """The address to connect to: loopback where this one means every interface."""
        return Address(_EVERYWHERE.get(self.host, self.host), self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect to it."""
        return self.host == "localhost" or (bool(self.host) and not self.is_name and _ip(self.host).is_loopback)

    @property
    def is_name(self) -> bool:
        """Whether the host has to be resolved."""
        try:
            _ip(self.host)
        except ValueError:
            return bool(self.host)
        return False


def check_host(host: str) -> str:
    """Return ``host`` without brackets.

    Raises:
        ConfigurationError: It has characters that no host name or address has.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _HOST.fullmatch(bare):
        raise ConfigurationError(f"{host!r} is no host name or address")
    return bare


def check_port(port: int) -> int:
    """Return ``port``.

    Raises:
        ConfigurationError: It is outside 1..65535.
    """
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"{port} is no port: use 1 to 65535")
    return port


def parse_address(text: str, *, default_host: str | None = None) -> Address:
    """Read ``host:port`` or ``[ipv6]:port``; with ``default_host``, a port alone too.

    Raises:
        ConfigurationError: The text is neither.
    """
    host, colon, port = text.strip().rpartition(":")
    if not port.isdecimal() or len(port) > MAX_DIGITS or (not colon and default_host is None):
        raise ConfigurationError(f"{text!r} is no address: write host:port")
    if not colon or (not host and default_host is not None):
        return Address(default_host or "", check_port(int(port)))
    return Address(check_host(host), check_port(int(port)))
