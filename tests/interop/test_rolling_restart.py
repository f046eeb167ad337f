"""Sixty clients while one server after another is restarted: how many each of them has at the end.

What docs/balancing.md says of restarts is what these tests show, with real balancers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.interop.fleet import Crowd, Fleet, unevenness

CLIENTS = 60
EVEN = 1.5
PATIENCE = 120.0  # seconds for one test; it takes some ten

each_balancer = pytest.mark.parametrize("balancer", ["haproxy", "nginx"])


def bounded(test: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    asyncio.run(asyncio.wait_for(test(*args), PATIENCE))


@each_balancer
def test_restarts_that_are_quicker_than_the_clients_leave_everything_even(balancer: str, tmp_path: Path) -> None:
    """Each server stops, starts, and its clients come back, to whoever has the fewest: the server that is new."""
    fleet = Fleet(balancer, tmp_path, 4)
    with fleet.balanced(4):
        bounded(one_after_another, fleet)


async def one_after_another(fleet: Fleet) -> None:
    # The first clients come back after half of their delay. On a slow machine they are given longer: their first half
    # is one and a half times of what a restart takes, since the next one may take longer than this.
    took = await fleet.restart(fleet.ports[0])
    async with Crowd.of(fleet, CLIENTS, delay=max(1.0, 3 * took)) as crowd:
        assert unevenness(crowd.counts()) <= EVEN
        for port in fleet.ports:
            await fleet.restart(port)
            await crowd.complete()
        assert unevenness(crowd.counts()) <= EVEN, crowd.counts()
        assert crowd.failed == 0


@each_balancer
def test_servers_that_start_before_others_stop_leave_everything_even(balancer: str, tmp_path: Path) -> None:
    """With one place more than servers, however long a start takes, the clients of each server move to the new one."""
    fleet = Fleet(balancer, tmp_path, 5)
    with fleet.balanced(4):
        bounded(first_the_new_one, fleet)


async def first_the_new_one(fleet: Fleet) -> None:
    async with Crowd.of(fleet, CLIENTS) as crowd:
        *running, spare = fleet.ports
        for port in running:
            await fleet.start(spare)
            await fleet.stop(port)
            await crowd.complete()
            spare = port
        assert unevenness(crowd.counts()) <= EVEN, crowd.counts()
        assert crowd.failed == 0


@each_balancer
def test_servers_that_are_away_for_longer_fill_up_with_the_next_clients(balancer: str, tmp_path: Path) -> None:
    """The last one ends empty, since its clients are elsewhere; the next clients all go there. None waits for it."""
    fleet = Fleet(balancer, tmp_path, 4)
    with fleet.balanced(4):
        bounded(each_away_for_long, fleet)


async def each_away_for_long(fleet: Fleet) -> None:
    async with Crowd.of(fleet, CLIENTS) as crowd:
        for port in fleet.ports:
            await fleet.stop(port)
            await crowd.complete()
            await fleet.start(port)
        *others, last = crowd.counts()
        assert last == 0
        assert unevenness(others) <= EVEN, others
        await fleet.session(fleet.ports[-1])  # HAProxy asks whether it is back a few times a second
        await crowd.grow(sum(others) // len(others))
        assert unevenness(crowd.counts()) <= EVEN, crowd.counts()
        assert crowd.failed == 0


@each_balancer
def test_a_session_of_a_server_that_is_gone_is_unknown_at_once(balancer: str, tmp_path: Path) -> None:
    """Another server answers for it, so that the client knows and begins anew; other sessions notice nothing."""
    fleet = Fleet(balancer, tmp_path, 3)
    with fleet.balanced(3):
        bounded(a_server_ends, fleet)


async def a_server_ends(fleet: Fleet) -> None:
    gone, stays = fleet.ports[:2]
    lost, kept = await fleet.session(gone), await fleet.session(stays)
    fleet.running.pop(gone).close()  # as a crash would
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10.0) as http:
        for _ in range(5):
            began = time.monotonic()
            answer = await http.get(fleet.polling(lost))
            assert (answer.status_code, answer.json()["code"]) == (400, 1)
            assert time.monotonic() - began < 1.0
            assert (await http.post(fleet.polling(kept), content="3")).text == "ok"
