"""`redis+streams://`: a crowd whose node is killed comes back to the others, all of it, soon, and in nobody's way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.brokers import Broker
from tests.integration.test_streams import cluster, events, real_time, until
from tests.internals import log_bus
from tests.ports import free_port
from tests.servers import ROOT, ServerProcess

from shoal.adapter.stream_states import AT_ONE_TIME
from shoal.bus.redis_scripts import CLAIM

BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from suite import returning  # noqa: E402

sys.path.remove(str(BENCHMARKS))

NODES = 4
CROWD, OTHERS = 300, 40


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def node(port: int, broker: Broker) -> ServerProcess:
    url = broker.url.replace("redis://", "redis+streams://")
    app = [sys.executable, str(BENCHMARKS / "servers" / "shoal_app.py"), str(port)]
    return ServerProcess(app, port, {"SHOAL_BROKER": url, "SHOAL_NODE": str(port)})


def test_a_crowd_comes_back(broker: Broker) -> None:
    """300 clients of a node that is killed: all recovered within 10 s of their own delay, nothing lost, twice or out of
    order, while 40 others talk."""
    with ExitStack() as stack:
        nodes = [node(free_port(), broker) for _ in range(NODES)]
        for each in nodes:
            stack.callback(each.close)
        for each in nodes:
            each.wait_until_up(path="/readyz")
        found = asyncio.run(
            returning.measure(
                [each.port for each in nodes],
                nodes[0].kill,
                clients=CROWD,
                others=OTHERS,
                rooms=20,
                rate=200.0,
                seconds=0.4,
                patience=20.0,
            )
        )
        for each in nodes[1:]:
            each.stop()
    assert (found["recovered"], found["anew"], found["missing"]) == (CROWD, 0, 0), found
    assert (found["lost"], found["duplicates"], found["reordered"]) == (0, 0, 0), found
    assert found["return_s"]["max"] < 10.0, found
    assert found["received"] > CROWD, "nobody had anything to miss"


@real_time
async def test_few_come_back_at_one_time(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for their turn; all come back."""
    async with cluster(broker, "turn", "a", "b") as (a, b):
        crowd = [await a.connect() for _ in range(3 * AT_ONE_TIME)]
        for each in crowd:
            each.connection.drop()
        await until(lambda: not a.io.sockets)
        bus = log_bus(b.io)
        run, asked, most = bus.run, 0, 0
        held: list[Callable[[], None]] | None = []

        def hold(script: bytes, keys: Any, args: Any, answer: Callable[[Any], None]) -> None:
            nonlocal asked, most

            def answered(reply: Any) -> None:
                nonlocal asked
                asked -= 1
                answer(reply)

            def take(reply: Any) -> None:
                if held is None:
                    answered(reply)
                else:
                    held.append(lambda: answered(reply))

            is_claim = script == CLAIM
            asked += is_claim
            most = max(most, asked)
            run(script, keys, args, take if is_claim else answer)

        monkeypatch.setattr(bus, "run", hold)
        async with asyncio.TaskGroup() as tasks:
            coming = [tasks.create_task(b.connect(each)) for each in crowd]
            await until(lambda: held is not None and len(held) >= AT_ONE_TIME)
            await until(lambda: b.io.stats.connections == len(crowd))
            answers, held = held, None
            for answer in answers:
                answer()
        assert [task.result().id for task in coming] == [each.id for each in crowd]
        assert most == AT_ONE_TIME


@real_time
async def test_what_a_crowd_missed_does_not_cut_the_link() -> None:
    """What all of them missed is more than the broker may have waiting for a node: it is told bit by bit."""
    limit = ("--client-output-buffer-limit", "pubsub", "8mb", "8mb", "1")
    with Broker(options=limit) as broker:
        async with cluster(broker, "limit", "a", "b") as (a, b):
            crowd = [await a.connect() for _ in range(60)]
            for each in crowd:
                each.connection.drop()
            await until(lambda: not a.io.sockets)
            for number in range(10):
                await b.io.to([]).emit_confirmed("n", number, "x" * 40_000)
            again = await asyncio.gather(*(b.connect(each) for each in crowd))
            assert [each.id for each in again] == [each.id for each in crowd]
            await until(lambda: all(len(each.received) == 10 for each in again))
            assert all([event[1] for event in events(each)] == list(range(10)) for each in again)
            assert b.io.stats.broker.reconnects == 0
