"""A Redis bus through what happens to brokers and networks: kills, stalls, holes, floods.

On a real broker, over asyncio and uvloop. What a node sees is asked of the node, what the broker sees of the broker.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.brokers import HOST, Broker
from tests.contract.buses import Ear, RedisRig, fresh, new_node, node, quick, run
from tests.integration.redis_peers import Proxy

from shoal.bus import open_bus

WATCHFUL = quick(probe_interval=0.1, probe_timeout=0.4, connect_timeout=0.5)
MANY_CHANNELS = 25_000  # more than may be in flight at once


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture(params=["asyncio", "uvloop"])
def rig(request: pytest.FixtureRequest, broker: Broker) -> RedisRig:
    return RedisRig(broker, request.param)


def clients(broker: Broker, name: str = "name=shoal:") -> list[str]:
    """The broker's own list of our connections."""
    return [line for line in broker.command("CLIENT", "LIST").decode().splitlines() if name in line]


def test_a_killed_broker_under_traffic_costs_nothing(rig: RedisRig) -> None:
    """Through two kills under load all that was published is heard, in order; what is heard twice is known by its
    number, since nothing newer was heard before it."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            number = 0

            async def talk(count: int) -> None:
                nonlocal number
                for _ in range(count):
                    for _ in range(20):
                        ear.bus.publish("room", b"%d" % number)
                        number += 1
                    await asyncio.sleep(0)

            for _ in range(2):
                await talk(100)
                rig.cut()
                await talk(20)
                await ear.until(lambda: not ear.bus.up)
                await talk(20)
                rig.restore()
                await ear.until(lambda: ear.bus.up)
            await talk(5)
            await ear.until(lambda: ear.payloads[-1:] == [b"%d" % (number - 1)])
            stats = ear.bus.stats
            assert fresh(ear.payloads) == list(range(number)), stats
            assert stats.published == number
            assert len(ear.payloads) - number <= stats.resent
            assert stats.dropped == stats.unconfirmed == 0

    run(rig, main)


def test_many_channels_are_placed_again(rig: RedisRig) -> None:
    """A node with more channels than fit into one step hears all of them again after a restart of the broker."""

    async def main() -> None:
        async with node(rig) as ear:
            names = [f"room {number}" for number in range(MANY_CHANNELS)]
            await ear.listen(*names)
            rig.cut()
            await ear.until(lambda: not ear.bus.up)
            rig.restore()
            await ear.until(lambda: ear.bus.up)
            assert rig.broker.command("PUBSUB", "NUMSUB", names[0], names[-1]).count(b":1\r\n") == 2
            for name in names:
                ear.bus.publish(name, b"")
            await ear.until(lambda: len(ear.heard) == MANY_CHANNELS)

    run(rig, main)


def test_a_stalled_broker_is_noticed(rig: RedisRig) -> None:
    """A broker that is stopped in its tracks closes nothing. The watchdog notices, and publishes wait for it."""

    async def main() -> None:
        async with node(rig, WATCHFUL) as ear:
            await ear.listen("room")
            rig.broker.pause()
            began = time.monotonic()
            await ear.until(lambda: not ear.bus.up)
            assert time.monotonic() - began < 2.0
            ear.bus.publish("room", b"meanwhile")
            rig.broker.resume()
            await ear.until(lambda: ear.heard)
            assert ear.heard == [("room", b"meanwhile")]
            assert ear.states == [True, False, True]

    run(rig, main)


def test_what_a_stalled_broker_was_sent_is_published_again(rig: RedisRig) -> None:
    """In order, with what was published later; beyond the bound the oldest are not kept, and counted."""

    async def main() -> None:
        async with node(rig, WATCHFUL) as ear:
            await ear.listen("room")
            rig.broker.pause()
            for number in range(100):
                ear.bus.publish("room", b"%d" % number)
                await asyncio.sleep(0)
            assert ear.bus.stats.published == 100, "the kernel takes it"
            await ear.until(lambda: not ear.bus.up)
            assert ear.bus.stats.published == 0
            ear.bus.publish("room", b"100")
            rig.broker.resume()
            await ear.until(lambda: len(fresh(ear.payloads)) == 101)
            stats = ear.bus.stats
            assert (stats.published, stats.resent, stats.unconfirmed, stats.dropped) == (101, 100, 0, 0)

    run(rig, main)


def test_what_a_stalled_broker_was_sent_is_kept_within_the_bound(
    rig: RedisRig, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what the kernel took, as many bytes are kept as may wait; the rest is counted, and said once."""

    async def main() -> None:
        async with node(rig, replace(WATCHFUL, buffer_bytes=10_000)) as ear:
            await ear.listen("room")
            rig.broker.pause()
            for number in range(100):
                ear.bus.publish("room", b"%d " % number + b"x" * 1_000)
                await asyncio.sleep(0)
            await ear.until(lambda: not ear.bus.up)
            stats = ear.bus.stats
            assert 90 <= stats.unconfirmed <= 92
            assert stats.unconfirmed + stats.resent == 100
            rig.broker.resume()
            await ear.until(lambda: ear.payloads and ear.payloads[-1].startswith(b"99 "))

    with caplog.at_level(logging.WARNING, "shoal.bus"):
        run(rig, main)
    assert caplog.text.count("publishes were not confirmed, and no longer kept") == 1


def test_a_link_that_is_cut_again_and_again_is_back_at_once(rig: RedisRig) -> None:
    """Each time, if it had held for a moment: a broker that cuts a slow node off does so many times."""

    async def main() -> None:
        async with node(rig, quick(backoff_first=2.0, backoff_max=0.2)) as ear:
            await ear.listen("room")
            for cut in range(1, 6):
                await asyncio.sleep(0.3)
                rig.broker.command("CLIENT", "KILL", "TYPE", "normal" if cut % 2 else "pubsub")
                began = time.monotonic()
                await ear.until(lambda: ear.states == [True, *[False, True] * cut])  # noqa: B023 - awaited here
                assert time.monotonic() - began < 0.1

    run(rig, main)


def test_the_second_connection_may_be_lost_in_the_pause(rig: RedisRig) -> None:
    """A node that has lost one connection and waits to try again loses the other one, too: both are replaced then."""

    async def main() -> None:
        async with node(rig, quick(backoff_first=1.0, backoff_max=60.0, connect_timeout=4.0)) as ear:
            await ear.listen("room")
            rig.broker.command("CLIENT", "KILL", "TYPE", "normal")
            await ear.until(lambda: not ear.bus.up)
            rig.broker.command("CLIENT", "KILL", "TYPE", "pubsub")
            await ear.until(lambda: ear.bus.up, 2.0)
            ear.bus.publish("room", b"")
            await ear.until(lambda: ear.heard)

    run(rig, main)


def test_a_subscriber_hears_while_the_publisher_is_replaced(rig: RedisRig) -> None:
    """What others say meanwhile is not lost: of a node's two connections the one that is well stays."""

    async def main() -> None:
        async with node(rig) as ear, node(rig) as speaker:
            await ear.listen("room")
            publishers = {line.split()[0]: line for line in clients(rig.broker, "name=shoal:publisher")}
            before = len(publishers)
            assert before == 2
            speaker_up = speaker.states.copy()
            number = 0
            for line in publishers.values():
                rig.broker.command("CLIENT", "KILL", "ID", line.split()[0].partition("=")[2])
                for _ in range(50):
                    speaker.bus.publish("room", b"%d" % number)
                    number += 1
                    await asyncio.sleep(0.001)
            await ear.until(lambda: len(fresh(ear.payloads)) == number)
            assert len(ear.states) + len(speaker.states) == 2 * (1 + 2 * 1)
            assert speaker_up == [True]

    run(rig, main)


def test_settled_gives_up_on_a_stalled_broker(rig: RedisRig) -> None:
    """`settled` returns False after its own timeout, before the watchdog has noticed anything."""

    async def main() -> None:
        async with node(rig, quick(probe_interval=60.0)) as ear:
            rig.broker.pause()
            ear.bus.subscribe("room")
            began = time.monotonic()
            assert not await ear.bus.settled(0.2)
            assert 0.15 < time.monotonic() - began < 2.0
            assert ear.bus.up
            rig.broker.resume()
            assert await ear.bus.settled(5.0)

    run(rig, main)


def test_a_stalled_broker_that_is_written_to_costs_bounded_memory(rig: RedisRig) -> None:
    """Publishes to a broker that does not read fill the sockets, then the buffer, then push out the oldest."""

    async def main() -> None:
        async with node(rig, replace(WATCHFUL, buffer_bytes=1_000_000)) as ear:
            await ear.listen("room")
            rig.broker.pause()
            block = b"x" * 100_000
            for number in range(400):
                ear.bus.publish("room", b"%d " % number + block)
                if number % 10 == 0:
                    await asyncio.sleep(0)
            assert ear.bus.stats.dropped > 200, "40 MB do not fit into sockets and 1 MB"
            await ear.until(lambda: not ear.bus.up)
            rig.broker.resume()
            await ear.until(lambda: ear.payloads and ear.payloads[-1].startswith(b"399 "))
            numbers = [int(payload.partition(b" ")[0]) for payload in ear.payloads]
            assert numbers == sorted(set(numbers))
            stats = ear.bus.stats
            assert stats.published + stats.dropped == 400

    run(rig, main)


def test_close_gives_a_stalled_broker_a_second(rig: RedisRig) -> None:
    """`close` waits about a second for a broker that does not answer, and counts what it could not confirm."""

    async def main() -> None:
        async with node(rig, quick(probe_interval=60.0)) as ear:
            rig.broker.pause()
            ear.bus.publish("room", b"")
            began = time.monotonic()
            await ear.bus.close()
            assert 0.9 < time.monotonic() - began < 2.0
            assert ear.bus.stats.unconfirmed == 1
        rig.broker.resume()

    run(rig, main)


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
def test_a_killed_connection_is_replaced(rig: RedisRig, kind: str) -> None:
    """Whichever connection the broker closes is opened anew, the other one stays, and every channel is heard again."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            before = {line.split()[0] for line in clients(rig.broker)}
            rig.broker.command("CLIENT", "KILL", "TYPE", kind)
            await ear.until(lambda: ear.states == [True, False, True])
            ear.bus.publish("room", b"again")
            await ear.until(lambda: ear.heard)
            after = {line.split()[0] for line in clients(rig.broker)}
            assert len(before) == len(after) == 2
            assert len(before & after) == 1

    run(rig, main)


def test_a_deaf_node_knows_it(rig: RedisRig) -> None:
    """A subscriber's connection that stays open and brings nothing is found, and the node hears again after it."""

    async def main() -> None:
        async with Proxy(rig.broker.port).open() as proxy:
            ear = Ear(open_bus(f"redis://{HOST}:{proxy.port}", limits=WATCHFUL))
            await ear.start()
            await ear.listen("room")
            proxy.swallow(b"shoal:subscriber", "to node")
            ear.bus.publish("room", b"not heard")
            await ear.until(lambda: ear.states == [True, False])
            proxy.heal()
            await ear.until(lambda: ear.states == [True, False, True])
            ear.bus.publish("room", b"heard")
            await ear.until(lambda: ear.heard)
            assert ear.heard == [("room", b"heard")]
            await ear.bus.close()

    run(rig, main)


def test_a_node_that_is_not_heard_knows_it(rig: RedisRig) -> None:
    """A publisher's connection that stays open and takes nothing to the broker is found by the same probe."""

    async def main() -> None:
        async with Proxy(rig.broker.port).open() as proxy:
            ear = Ear(open_bus(f"redis://{HOST}:{proxy.port}", limits=WATCHFUL))
            await ear.start()
            await ear.listen("room")
            proxy.swallow(b"shoal:publisher", "to broker")
            await ear.until(lambda: ear.states == [True, False])
            ear.bus.publish("room", b"kept")
            proxy.heal()
            await ear.until(lambda: ear.heard)
            assert ear.heard == [("room", b"kept")]
            assert ear.states == [True, False, True]
            await ear.bus.close()

    run(rig, main)


def test_a_node_that_is_behind_is_not_deaf(rig: RedisRig) -> None:
    """A node that is a second behind with its messages hears its probe late, and keeps its connections and messages."""

    async def main() -> None:
        async with new_node(rig, WATCHFUL) as ear, node(rig) as speaker:
            slow: list[int] = []

            def on_message(channel: str, payload: bytes) -> None:
                time.sleep(0.02)
                slow.append(len(payload))

            await ear.bus.start(on_message, ear.on_state)
            await ear.listen("room")
            for _ in range(60):
                speaker.bus.publish("room", b"x" * 64_000)
            deadline = time.monotonic() + 10.0
            while len(slow) < 60 and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            assert len(slow) == 60
            assert ear.states == [True]

    run(rig, main)


def test_a_subscriber_that_the_broker_gives_up_is_back(broker: Broker) -> None:
    """A node that reads so slowly that the broker hangs up on it goes down, and comes back by itself."""
    rig = RedisRig(broker, "asyncio")
    broker.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            flood(broker.port, "room", 64)  # 64 MB, while this loop does not read
            await ear.until(lambda: ear.states == [True, False, True])
            ear.heard.clear()
            ear.bus.publish("room", b"back")
            await ear.until(lambda: b"back" in ear.payloads)

    run(rig, main)
    assert "overcoming of output buffer limits" in broker.log


def flood(port: int, channel: str, megabytes: int) -> None:
    """Publish from a blocking socket: the event loop stands still meanwhile."""
    block = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$1048576\r\n%b\r\n" % (len(channel), channel.encode(), b"x" * 2**20)
    with socket.create_connection((HOST, port), timeout=10) as peer:
        for _ in range(megabytes):
            peer.sendall(block)
            assert peer.recv(100).startswith(b":")


def test_random_changes_end_with_what_was_said_last(rig: RedisRig) -> None:
    """After thousands of subscribes and unsubscribes, in turns of any length, the broker has exactly what is wanted."""

    async def main() -> None:
        dice = random.Random(7)
        names = [f"room {number}" for number in range(40)]
        wanted: set[str] = set()
        async with node(rig) as ear:
            for _ in range(5_000):
                name = dice.choice(names)
                if dice.random() < 0.5:
                    ear.bus.subscribe(name)
                    wanted.add(name)
                else:
                    ear.bus.unsubscribe(name)
                    wanted.discard(name)
                if dice.random() < 0.1:
                    await asyncio.sleep(0)
            assert await ear.bus.settled(5.0)
            listed = rig.broker.command("PUBSUB", "CHANNELS", "room *").decode().split("\r\n")
            assert {line for line in listed if line.startswith("room")} == wanted

    run(rig, main)


def test_a_message_larger_than_the_buffer_is_published(rig: RedisRig) -> None:
    """The bound is for what waits: while the broker is there, a message may be larger."""

    async def main() -> None:
        async with node(rig, quick(buffer_bytes=10_000)) as ear:
            await ear.listen("room")
            for size in (20_000, 5_000_000):
                ear.bus.publish("room", b"x" * size)
                await ear.until(lambda: len(ear.heard) == ear.bus.stats.published)
            assert [len(payload) for payload in ear.payloads] == [20_000, 5_000_000]
            assert ear.bus.stats.dropped == 0

    run(rig, main)


def test_close_leaves_no_connection(rig: RedisRig, caplog: pytest.LogCaptureFixture) -> None:
    """The broker sees two named connections of a node, and none after close."""

    async def main() -> None:
        async with node(rig):
            assert len(clients(rig.broker, "name=shoal:publisher")) == 1
            assert len(clients(rig.broker, "name=shoal:subscriber")) == 1
        deadline = time.monotonic() + 5.0
        while clients(rig.broker) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert clients(rig.broker) == []

    with caplog.at_level(logging.WARNING):
        run(rig, main)
    assert caplog.text == "", "an orderly life has nothing to warn of"
