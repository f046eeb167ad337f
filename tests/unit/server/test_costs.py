"""To join, to leave and to go costs the same however many others there are: O(rooms of that socket)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.internals import rooms

from shoal import Server
from shoal.testing import TestServer, run

FEW, MANY, MEASURED = 60, 4_000, 20
OWN = [f"own-{number}" for number in range(5)]  # rooms of each one
ACTS: dict[str, Callable[[Any], object]] = {
    "join a new room": lambda socket: socket.join("new"),
    "leave a room of all": lambda socket: socket.leave("all"),
    "go": lambda socket: socket.closed("transport close"),
}


@functools.cache
def cheapest(crowd: int) -> dict[str, float]:
    """Seconds that each act takes one of `crowd` sockets at best, each act with sockets of its own.

    All are in one room, and each in rooms of its own. To bring them together costs more than all that is measured.
    """
    return run(_cheapest(crowd))


async def _cheapest(crowd: int) -> dict[str, float]:
    io = Server()

    @io.on("connect")
    def connect(socket: Any) -> None:
        socket.join("all", *[f"{socket.id}-{name}" for name in OWN])

    async with TestServer(io) as server:
        connections = []
        for _ in range(crowd):
            connections.append(await server.open())
            connections[-1].send("40")
        await server.settle()
        sockets = list(rooms(io.of("/")).by_id.values())
        assert len(sockets) == len(rooms(io.of("/")).members("all")) == crowd
        found = {}
        for name, act in ACTS.items():
            times = []
            for socket in [sockets.pop() for _ in range(MEASURED)]:
                began = time.perf_counter()
                act(socket)
                times.append(time.perf_counter() - began)
            found[name] = min(times)
        return found


@pytest.mark.parametrize("act", ACTS)
def test_it_costs_the_same_in_a_crowd(act: str) -> None:
    """Within a factor of five, for caches; a look at each of the others would be a factor of a hundred."""
    assert cheapest(MANY)[act] < 5 * cheapest(FEW)[act] + 2e-6
