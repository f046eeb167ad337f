"""To join, to leave and to go costs the same however many others there are: O(rooms of that socket)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.internals import rooms

from shoal import Server
from shoal.testing import TestServer, run

FEW, MANY, MEASURED = 40, 4_000, 20
OWN = [f"own-{number}" for number in range(5)]  # rooms of each one


async def cheapest(crowd: int, act: Callable[[Any], object]) -> float:
    """Seconds that it takes one of `crowd` sockets at best. All are in one room, and each in rooms of its own."""
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
        times = []
        for socket in sockets[-MEASURED:]:
            began = time.perf_counter()
            act(socket)
            times.append(time.perf_counter() - began)
        return min(times)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda socket: socket.join("new"), id="join a new room"),
        pytest.param(lambda socket: socket.leave("all"), id="leave a room of all"),
        pytest.param(lambda socket: socket.closed("transport close"), id="go"),
    ],
)
def test_it_costs_the_same_in_a_crowd(act: Callable[[Any], object]) -> None:
    """Within a factor of five, for caches; a look at each of the others would be a factor of a hundred."""
    assert run(cheapest(MANY, act)) < 5 * run(cheapest(FEW, act)) + 2e-6
