"""What is measured, and what is asked of it: data only.

Each scenario names the servers that take part, the load, the figure that is compared, and its targets; each growth
series names the points at which a cost is taken and how flat it must stay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Load = dict[str, str | int | float]  # options of the load generator, without their dashes


@dataclass(frozen=True)
class Target:
    """`subject`'s figure divided by `against`'s must be at least (a cost: at most) `ratio`.

    Without a `ratio` it is there for comparison.
    """

    against: str
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
    which half of Node's best result is the rate of this one's open loop. `quick_servers`: who takes part in a quick
    run, if any does; `quick_load` is what the load differs in then. A load with a `program` is that one's, not the load
    generator's in C.
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
    ratio: float | None = 1.3
    floor: str | None = None


FANOUT: Load = {"mode": "fanout", "clients": 1000}
ECHO: Load = {"mode": "echo", "clients": 100}

SCENARIOS = (
    Scenario(
        "fanout-1",
        "fan-out, 1,000 clients, 1 publisher",
        FANOUT | {"publishers": 1},
        ("shoal", "node", "bun", "psio", "limit", "bare"),
        (Target("node", 1.7), Target("limit", 0.85), Target("bare", None), Target("limit", None, "bare")),
        quick_servers=("shoal", "node", "limit", "bare"),
    ),
    Scenario(
        "fanout-10",
        "fan-out, 10 publishers",
        FANOUT | {"publishers": 10},
        ("shoal", "node", "bun", "psio", "limit-turn"),
        (Target("node", 15), Target("bun", 8)),
        quick_servers=("shoal", "node", "bun"),
    ),
    Scenario(
        "fanout-100",
        "fan-out, 100 publishers",
        FANOUT | {"publishers": 100},
        ("shoal", "node", "bun", "psio", "limit-turn"),
        (Target("node", 60),),
        quick_servers=("shoal", "node"),
    ),
    Scenario(
        "rooms",
        "fan-out over 100 rooms of 10",
        {"mode": "rooms", "clients": 1000, "rooms": 100, "members": 10, "publishers": 100},
        ("shoal", "node", "bun", "psio"),
        (Target("node", 1.5),),
    ),
    Scenario(
        "echo",
        "acked echo, 100 clients",
        ECHO,
        ("shoal", "node", "bun", "psio", "limit"),
        (Target("node", 1.8), Target("bun", 1.0)),
        unit="answers/s",
        quick_servers=("shoal", "node", "bun"),
    ),
    Scenario(
        "echo-polling",
        "acked echo over long-polling",
        ECHO | {"transport": "polling"},
        ("shoal", "node", "psio"),
        (Target("node", 0.8),),
        unit="answers/s",
    ),
    Scenario(
        "connect",
        "new WebSocket connections",
        {"mode": "connect", "clients": 4000, "hold": 0},
        ("shoal", "node", "bun", "psio", "limit"),
        (Target("node", 3),),
        figure="connects_per_s",
        unit="connections/s",
        quick_servers=("shoal", "node"),
        quick_load={"clients": 1500},
    ),
    Scenario(
        "memory",
        "memory of an idle connection, 5,000 of them",
        {"mode": "connect", "clients": 5000, "hold": 2},
        ("shoal", "node", "bun", "psio"),
        (Target("node", 1 / 3),),
        figure="rss_kib_per_connection",
        unit="KiB",
        higher_is_better=False,
    ),
    Scenario(
        "latency",
        "p99 latency at half of Node's best fan-out rate",
        FANOUT | {"publishers": 10},
        ("shoal", "node", "bun"),  # more than python-socketio can deliver at all
        (Target("node", 1.0),),
        figure="latency_ms.p99",
        unit="ms",
        higher_is_better=False,
        rate_of=("fanout-1", "fanout-10"),
    ),
    Scenario(
        "cluster",
        "four nodes and a broker on one core, 10 publishers",
        FANOUT | {"publishers": 10},
        ("shoal-4", "node-4"),
        (Target("node-4", 8, "shoal-4"),),
    ),
    Scenario(
        "cluster-streams",
        "the same, with a broker that keeps what is sent",
        FANOUT | {"publishers": 10},
        ("shoal-4-streams", "shoal-4", "node-4-streams"),
        (Target("shoal-4", 0.5, "shoal-4-streams"), Target("node-4-streams", 8, "shoal-4-streams")),
    ),
    Scenario(
        "cluster-latency",
        "median latency over four idle nodes, 100 messages a second to 100 clients",
        {"mode": "fanout", "clients": 100, "publishers": 10, "rate": 100},
        ("shoal-4-streams", "shoal-4", "node-4-streams"),
        (Target("shoal-4", None, "shoal-4-streams"), Target("node-4-streams", None, "shoal-4-streams")),
        figure="latency_ms.p50",
        unit="ms",
        higher_is_better=False,
    ),
    Scenario(
        "cluster-latency-p99",
        "the same, 99th percentile",
        {"mode": "fanout", "clients": 100, "publishers": 10, "rate": 100},
        ("shoal-4-streams", "shoal-4", "node-4-streams"),
        (Target("shoal-4", None, "shoal-4-streams"), Target("node-4-streams", None, "shoal-4-streams")),
        figure="latency_ms.p99",
        unit="ms",
        higher_is_better=False,
    ),
    Scenario(
        "return",
        "2,000 clients of a killed node come back to the other three, while 200 others talk: the last one",
        {"program": "returning", "clients": 2000, "others": 200, "rooms": 100, "rate": 200},
        ("shoal-4-streams", "node-4-recovery"),
        (),
        figure="return_s.max",
        unit="s since it tried",
        higher_is_better=False,
        bounds=(
            Bound("seconds since it tried for the last to be back", "return_s.max", 10),
            Bound("clients that are not recovered", "not_recovered", 0),
            Bound("texts lost", "lost", 0),
            Bound("seconds since the kill for all to be back", "all_back_s", None),
            Bound("p99 of the others meanwhile, ms", "others_ms.p99", None),
            Bound("p99 of the others before, ms", "others_before_ms.p99", None),
        ),
    ),
    Scenario(
        "keeping-room",
        "memory in the broker of a room with a member and one text of 64 bytes",
        {"program": "keeping"},
        ("shoal-4-streams",),
        (),
        figure="room_bytes",
        unit="bytes",
        higher_is_better=False,
    ),
    Scenario(
        "keeping-message",
        "memory in the broker of each text more that is kept",
        {"program": "keeping"},
        ("shoal-4-streams",),
        (),
        figure="message_bytes",
        unit="bytes",
        higher_is_better=False,
    ),
    Scenario(
        "polling-hop",
        "acked echo over long-polling, two nodes and a broker on one core: every request at the wrong node",
        ECHO | {"transport": "polling", "hop": 1},
        ("shoal-2",),
        (),
        unit="answers/s",
    ),
    Scenario(
        "polling-home",
        "the same, every request at the right node; and Node, alone",
        ECHO | {"transport": "polling"},
        ("shoal-2", "node"),
        (Target("node", None, "shoal-2"),),
        unit="answers/s",
    ),
    Scenario(
        "asgi-fanout",
        "plain ASGI on stock uvicorn: fan-out, 10 publishers",
        FANOUT | {"publishers": 10},
        ("shoal-asgi", "psio"),
        (Target("psio", 3, "shoal-asgi"),),
    ),
    Scenario(
        "asgi-echo",
        "plain ASGI on stock uvicorn: acked echo",
        ECHO,
        ("shoal-asgi", "psio"),
        (Target("psio", 3, "shoal-asgi"),),
        unit="answers/s",
        quick_servers=("shoal-asgi", "psio"),
    ),
)


def _per_delivery(result: Mapping[str, Any]) -> float:
    return 1e6 * float(result["server_cpu"]) / float(result["received_per_s"])


def _nodes_per_message(result: Mapping[str, Any]) -> float:
    # The last process is the broker, which does pay for every message.
    return 1e6 * float(sum(result["server_cpus"][:-1])) / float(result["sent_per_s"])


def _disjoint(nodes: int) -> Load:
    """A room of ten on each node, each with 100 messages a second of its own."""
    return {
        "mode": "rooms",
        "clients": 10 * nodes,
        "rooms": nodes,
        "members": 10,
        "publishers": nodes,
        "rate": 100 * nodes,
    }


def _crowds(kind: str, publishers: int = 1) -> tuple[tuple[int, str, Load], ...]:
    """So many publishers to ever more clients.

    TCP acknowledges the first sixteen segments of a connection at once, at the sender's expense where both are on one
    machine (Linux, TCP_MAX_QUICKACKS). To 10,000 clients that takes a second: the warm-up must be longer.
    """
    return tuple(
        (n, kind, {"mode": "fanout", "clients": n, "publishers": publishers, "warmup": 3}) for n in (100, 1000, 10000)
    )


GROWTH = (
    Growth(
        "clients",
        "from 100 to 10,000 clients in one room, 1 publisher",
        "clients",
        _crowds("shoal"),
        _per_delivery,
        floor="clients-c",
    ),
    Growth(
        "clients-c",
        "the same by the server in C, 1 publisher: a system call for each client",
        "clients",
        _crowds("limit"),
        _per_delivery,
        ratio=None,
    ),
    Growth(
        "clients-10",
        "from 100 to 10,000 clients in one room, 10 publishers",
        "clients",
        _crowds("shoal", 10),
        _per_delivery,
    ),
    Growth(
        "rooms",
        "one busy room of ten among 1 to 10,000 rooms of 1,000 clients",
        "rooms",
        tuple(
            (n, "shoal", {"mode": "rooms", "clients": 1000, "rooms": n, "members": 10, "publishers": 1, "window": 4})
            for n in (1, 100, 1000, 10000)
        ),
        _per_delivery,
    ),
    Growth(
        "nodes",
        "4, 8 and 16 nodes with a room of ten each, 100 messages a second in every room",
        "nodes",
        tuple((n, f"shoal-{n}", _disjoint(n)) for n in (4, 8, 16)),
        _nodes_per_message,
        "µs of processor time of all nodes per message",
    ),
)
