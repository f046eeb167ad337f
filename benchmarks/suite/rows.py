"""What a row of the table is made of. Knows nothing of which rows there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Load = dict[str, str | int | float]  # options of the load generator, without their dashes


@dataclass(frozen=True)
class Target:
    """`subject`'s figure divided by `against`'s must be at least (a cost: at most) `ratio`.

    Without a `ratio` it is there for comparison. Without `against` it is the figure itself that is asked for.
    """

    against: str | None
    ratio: float | None
    subject: str = "shoal"


@dataclass(frozen=True)
class Bound:
    """`subject`'s number at `figure` must be at most `at_most` in every round; without that it is there to be known."""

    title: str
    figure: str
    at_most: float | None
    subject: str = "shoal-4-streams"


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    `figure` is a path into the load generator's result, such as `latency_ms.p99`. `rate_of` names the scenarios of
    which half of Node's best result is the rate of this one's open loop. `loads` is what the load of single servers
    differs in. `same_as` names a scenario before it with the same load: who took part there is not measured again.
    `brief`: half the measured time is enough; `rounds` is how many are enough, and for the servers
    of `once`, which are far from the others, one is. `quick_servers`: who takes part in a
    quick run, if any does; `quick_load` is what the load differs in then.
    """

    key: str
    title: str
    load: Load
    servers: tuple[str, ...]
    targets: tuple[Target, ...]
    figure: str = "received_per_s"
    unit: str = "deliveries/s"
    higher_is_better: bool = True
    bounds: tuple[Bound, ...] = ()
    rate_of: tuple[str, ...] = ()
    loads: Mapping[str, Load] = field(default_factory=dict)
    same_as: str | None = None
    brief: bool = False
    rounds: int | None = None
    once: tuple[str, ...] = ("psio", "psio-msgpack", "psio-tls")
    quick_servers: tuple[str, ...] = ()
    quick_load: Load = field(default_factory=dict)


@dataclass(frozen=True)
class Growth:
    """A cost that must stay flat: taken at each point, it may be at most `ratio` times that at a point before.

    Without a `ratio` it is there for comparison. `floor` names the series of the server in C, beside which it is shown.
    """

    key: str
    title: str
    axis: str
    points: tuple[tuple[int, str, Load], ...]  # x, kind of server, load
    cost: Callable[[Mapping[str, Any]], float] = field(repr=False)
    unit: str = "µs of processor time per delivery"
    ratio: float | None = 1.1
    floor: str | None = None


# Servers that one might choose instead of Shoal, keys of servers.NEEDS. The others show what is possible.
PEERS = ("node", "bun", "psio")


def is_peer(key: str) -> bool:
    """True for each of the ways in which a peer is run."""
    return key.split("-", maxsplit=1)[0] in PEERS
