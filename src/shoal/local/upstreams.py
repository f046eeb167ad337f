"""What a balancer needs to know: the servers, the names that session ids call them by, and a few numbers.

Reads both from what an operator writes. It knows no product and writes no configuration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigurationError
from ..settings import ROUTABLE_NAME
from .address import Address, parse_address

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "BalancerSetup",
    "Upstream",
    "check_algorithm",
    "name_upstreams",
    "parse_upstreams",
]

Algorithm = Literal["leastconn", "roundrobin"]
"""How a new session finds its server: the one with the fewest connections, or the next one in turn."""
ALGORITHMS: tuple[Algorithm, ...] = ("leastconn", "roundrobin")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server behind the balancer, and the name that its session ids and the balancer's log call it by."""

    name: str
    address: Address

    @property
    def routable(self) -> bool:
        """Whether session ids can begin with its name."""
        return ROUTABLE_NAME.fullmatch(self.name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerSetup:
    """What the two generators need to know."""

    servers: tuple[Upstream, ...]
    listen: Address
    algorithm: Algorithm = "leastconn"
    directory: str = "/tmp"  # in a container it is the one place that a non-root user may write
    """Where nginx keeps its pid and spools request bodies. HAProxy writes nothing."""
    workers: int = 0
    """Processes of nginx, threads of HAProxy; 0 is one per core."""
    connections: int = 16_384
    """Connections at once, per nginx worker and per HAProxy process. A WebSocket takes two in nginx."""
    user: str | None = None
    """``user group`` of nginx's workers. Needed only where nginx is started by root."""


def check_algorithm(text: str) -> Algorithm:
    """Return ``text`` if it is an algorithm.

    Raises:
        ConfigurationError: It is none.
    """
    for algorithm in ALGORITHMS:
        if text == algorithm:
            return algorithm
    raise ConfigurationError(f"--algorithm {text}: use one of {', '.join(ALGORITHMS)}")


def name_upstreams(addresses: Iterable[Address]) -> tuple[Upstream, ...]:
    """Name servers by their ports where those differ, as ``shoal serve`` names itself; else by host, else by both."""
    found = tuple(addresses)
    if len({address.port for address in found}) == len(found):
        return tuple(Upstream(str(a.port), a) for a in found)
    if len({address.host for address in found}) == len(found):
        return tuple(Upstream(a.host, a) for a in found)
    return tuple(Upstream(str(a), a) for a in found)


def parse_upstreams(text: str) -> tuple[Upstream, ...]:
    """Read servers with commas between: ``host:port``, or ``name=host:port``.

    Raises:
        ConfigurationError: An address is none, a name cannot stand in a session's id, or a name comes twice.
    """
    parts = [part.rpartition("=") for part in text.split(",")]
    for name, equals, _ in parts:
        if equals and not ROUTABLE_NAME.fullmatch(name.strip()):
            raise ConfigurationError(
                f"{name!r} cannot stand in a session's id: a node's name has 1 to 32 letters, digits, '-' and '_'"
            )
    unnamed = iter(name_upstreams(parse_address(address) for _, equals, address in parts if not equals))
    found = tuple(
        Upstream(name.strip(), parse_address(address)) if equals else next(unnamed) for name, equals, address in parts
    )
    for name, times in Counter(upstream.name for upstream in found).items():
        if times > 1:
            raise ConfigurationError(f"two servers are called {name!r}: name them as in one=host:1111,two=host:2222")
    return found
