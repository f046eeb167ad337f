"""The costs that must stay flat, and the points at which they are taken: data only."""

from collections.abc import Mapping
from typing import Any

from suite.rows import Growth, Load


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
        "1 to 16 nodes with a room of ten each, 100 messages a second in every room",
        "nodes",
        tuple((n, f"shoal-{n}", _disjoint(n)) for n in (1, 4, 8, 16)),
        _nodes_per_message,
        "µs of processor time of all nodes per message",
    ),
)
