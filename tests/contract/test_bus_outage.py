"""What every bus promises when its broker goes and comes back: it says so, keeps what fits, and hears again."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from tests.contract.buses import KINDS, Rig, fresh, new_node, node, quick, run

from shoal.bus.redis_publish import JUST_NOW

KEPT = 10_000  # bytes


def test_a_broker_that_comes_back_is_found(fragile_rig: Rig) -> None:
    """Subscriptions made before and during the outage are heard after it; the state is told in the right order."""
    rig = fragile_rig

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("before", "given up")
            rig.cut()
            await ear.until(lambda: ear.states == [True, False])
            assert not ear.bus.up
            assert not await ear.bus.settled(5.0)
            ear.bus.subscribe("during")
            ear.bus.unsubscribe("given up")
            rig.restore()
            await ear.until(lambda: ear.states == [True, False, True])
            for channel in ("given up", "before", "during"):
                ear.bus.publish(channel, channel.encode())
            await ear.until(lambda: len(ear.heard) >= 2)
            assert ear.heard == [("before", b"before"), ("during", b"during")]
            assert ear.bus.stats.reconnects == 1

    run(rig, main)


def test_subscriptions_are_placed_before_the_state_is_told(fragile_rig: Rig) -> None:
    """What anybody publishes when a node says that it is up again is heard by that node."""
    rig = fragile_rig

    async def main() -> None:
        async with node(rig) as speaker, node(rig) as listener:
            channels = [f"room {number}" for number in range(500)]
            await listener.listen(*channels)
            rig.cut()
            await listener.until(lambda: not listener.bus.up)
            await speaker.until(lambda: not speaker.bus.up)
            rig.restore()
            await speaker.until(lambda: speaker.bus.up)
            await listener.until(lambda: listener.bus.up)
            for channel in channels:
                speaker.bus.publish(channel, b"")
            await listener.until(lambda: len(listener.heard) == len(channels))

    run(rig, main)


def test_publishes_wait_for_the_broker_in_order(fragile_rig: Rig) -> None:
    """What is published during an outage, and from within the state callback that ends it, arrives once, in order."""
    rig = fragile_rig

    async def main() -> None:
        async with new_node(rig) as ear:

            def on_state(up: bool) -> None:
                ear.on_state(up)
                if ear.states == [True, False, True]:
                    ear.bus.publish("room", b"100")

            await ear.bus.start(ear.on_message, on_state)
            await ear.until(lambda: ear.bus.up)
            await ear.listen("room")
            rig.cut()
            await ear.until(lambda: not ear.bus.up)
            assert ear.bus.waiting == 0
            for number in range(100):
                ear.bus.publish("room", b"%d" % number)
                await asyncio.sleep(0)
            assert ear.bus.waiting >= 190  # the digits, and what a bus adds
            rig.restore()
            await ear.until(lambda: len(ear.heard) == 101)
            await ear.until(lambda: ear.bus.waiting == 0)
            assert list(map(int, ear.payloads)) == list(range(101))

    run(rig, main)


def test_the_oldest_publishes_are_dropped_at_the_bound(fragile_rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the bound the newest publishes stay, in order; the rest is counted, and logged once for each outage."""
    rig = fragile_rig

    async def main() -> None:
        async with node(rig, quick(buffer_bytes=KEPT)) as ear:
            await ear.listen("room")
            for outage in (1, 2):
                rig.cut()
                await ear.until(lambda: not ear.bus.up)
                for number in range(100):
                    ear.bus.publish("room", b"%d " % number + b"x" * 1_000)
                dropped = ear.bus.stats.dropped
                assert 90 * outage <= dropped <= 92 * outage, "a message is its payload and little more"
                ear.heard.clear()
                rig.restore()
                await ear.until(lambda: ear.payloads and ear.payloads[-1].startswith(b"99 "))
                numbers = [int(payload.split()[0]) for payload in ear.payloads]
                assert numbers == list(range(100 - len(numbers), 100))
                assert dropped + len(numbers) * outage == 100 * outage
                assert ear.bus.stats.dropped == dropped
                await asyncio.sleep(2 * JUST_NOW)  # else a part of it is published again

    with caplog.at_level(logging.WARNING, "shoal.bus"):
        run(rig, main)
    assert caplog.text.count("the oldest are dropped") == 2


def test_start_returns_without_a_broker(fragile_rig: Rig) -> None:
    """Where no broker answers, start returns, nothing is told, and the link comes up when the broker does."""
    rig = fragile_rig

    async def main() -> None:
        rig.cut()
        async with new_node(rig) as ear:
            ear.bus.subscribe("room")
            await ear.start()
            assert not ear.bus.up
            assert ear.states == []
            assert not await ear.bus.settled(5.0)
            ear.bus.publish("room", b"early")
            rig.restore()
            await ear.until(lambda: ear.heard)
            assert ear.states == [True]
            assert ear.heard == [("room", b"early")]
            assert ear.bus.stats.reconnects == 0

    run(rig, main)


def test_close_does_not_wait_for_a_broker_that_is_away(fragile_rig: Rig) -> None:
    """During an outage close returns at once, drops what waits, counts it, and leaves no task."""
    rig = fragile_rig

    async def main() -> None:
        async with node(rig) as ear:
            rig.cut()
            await ear.until(lambda: not ear.bus.up)
            ear.bus.publish("room", b"1")
            ear.bus.publish("room", b"2")
            began = time.monotonic()
            await ear.bus.close()
            assert time.monotonic() - began < 0.5
            assert ear.states == [True, False]
            assert ear.bus.stats.dropped == 2
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run(rig, main)


def test_every_outage_is_survived(fragile_rig: Rig) -> None:
    """Outage after outage, the states alternate and the last message is heard, behind whatever is repeated."""
    rig = fragile_rig

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            for outage in range(1, 4):
                rig.cut()
                await ear.until(lambda: not ear.bus.up)
                ear.bus.publish("room", b"%d" % outage)
                rig.restore()
                await ear.until(lambda: ear.bus.up)
                await ear.until(lambda: len(fresh(ear.payloads)) == ear.bus.stats.published)
            assert fresh(ear.payloads) == [1, 2, 3]
            assert ear.bus.stats.published == 3
            assert ear.states == [True, *[False, True] * 3]
            assert ear.bus.stats.reconnects == 3

    run(rig, main)


# With a log nothing is held: who was away reads what it missed.
holding = pytest.mark.parametrize("fragile_rig", [kind for kind in KINDS if "streams" not in kind], indirect=True)


@holding
def test_what_waits_can_be_held(fragile_rig: Rig) -> None:
    """Until `release` nothing that waited or is published leaves, but what is to be first; then all of it, in order."""
    rig = fragile_rig

    async def main() -> None:
        async with new_node(rig) as ear, node(rig) as other:
            await other.listen("room")

            def on_state(up: bool) -> None:
                ear.on_state(up)
                if ear.states == [True, False, True]:
                    ear.bus.hold()

            await ear.bus.start(ear.on_message, on_state)
            await ear.until(lambda: ear.bus.up)
            rig.cut()
            await ear.until(lambda: not ear.bus.up)
            ear.bus.publish_first("room", b"lost")
            ear.bus.publish("room", b"1")
            assert ear.bus.release() == 0
            rig.restore()
            await ear.until(lambda: ear.bus.up)
            await other.until(lambda: other.bus.up)
            ear.bus.publish("room", b"2")
            ear.bus.publish_first("room", b"first")
            await other.until(lambda: other.heard)
            other.bus.publish("room", b"meanwhile")
            await other.until(lambda: len(other.heard) == 2)
            assert ear.bus.release() == 2
            ear.bus.publish("room", b"3")
            await other.until(lambda: len(other.heard) == 5)
            assert other.payloads == [b"first", b"meanwhile", b"1", b"2", b"3"]
            assert ear.bus.release() == 0

    run(rig, main)


@holding
def test_a_hold_ends_with_the_link(fragile_rig: Rig) -> None:
    """What is published after the next outage leaves, though nobody has released what waited; its bound holds."""
    rig = fragile_rig

    async def main() -> None:
        async with node(rig, quick(buffer_bytes=KEPT)) as ear:
            await ear.listen("room")
            ear.bus.hold()
            for number in range(20):
                ear.bus.publish("room", b"%d " % number + b"x" * 1_000)
            rig.cut()
            await ear.until(lambda: not ear.bus.up)
            rig.restore()
            await ear.until(lambda: ear.payloads and ear.payloads[-1].startswith(b"19 "))
            assert len(ear.heard) + ear.bus.stats.dropped == 20
            assert ear.bus.stats.dropped > 10

    run(rig, main)
