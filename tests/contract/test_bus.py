"""What every bus promises while its broker is there: order, channels, confirmations, and an end that leaves nothing."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.contract.buses import Rig, new_node, node, run

CHANNELS = 10_000


def test_messages_arrive_in_publish_order_across_channels(rig: Rig) -> None:
    """A subscriber of several channels hears one node's publishes in the order in which they were made."""

    async def main() -> None:
        async with node(rig) as speaker, node(rig) as listener:
            await listener.listen("a", "b", "c")
            sent = []
            for number in range(3_000):
                sent.append(("abc"[number % 3], b"%d" % number))
                speaker.bus.publish(*sent[-1])
                if number % 100 == 0:
                    await asyncio.sleep(0)  # several turns of the loop, several writes
            await listener.until(lambda: len(listener.heard) == len(sent))
            assert listener.heard == sent
            assert speaker.heard == []

    run(rig, main)


def test_two_publishers_keep_their_order(rig: Rig) -> None:
    """Where two nodes publish at once, each one's messages stay in order, and all subscribers agree on the whole."""

    async def main() -> None:
        async with node(rig) as one, node(rig) as two:
            await one.listen("room")
            await two.listen("room")
            for number in range(500):
                one.bus.publish("room", b"one %d" % number)
                two.bus.publish("room", b"two %d" % number)
            await one.until(lambda: len(one.heard) == 1_000)
            await two.until(lambda: len(two.heard) == 1_000)
            assert one.heard == two.heard
            for name in (b"one", b"two"):
                numbers = [int(payload[4:]) for payload in one.payloads if payload.startswith(name)]
                assert numbers == list(range(500))

    run(rig, main)


def test_a_node_hears_its_own_publishes(rig: Rig) -> None:
    """The publisher gets its message as every other subscriber does."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            ear.bus.publish("room", b"mine")
            await ear.until(lambda: ear.heard)
            assert ear.heard == [("room", b"mine")]

    run(rig, main)


def test_publish_never_waits(rig: Rig) -> None:
    """When publish returns, no callback has run: delivery is for a later turn of the loop."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            for _ in range(1_000):
                ear.bus.publish("room", b"x")
            assert ear.heard == []
            await ear.until(lambda: len(ear.heard) == 1_000)

    run(rig, main)


def test_only_subscribed_channels_are_heard(rig: Rig) -> None:
    """A channel that was never subscribed, or is unsubscribed, is not heard."""

    async def main() -> None:
        async with node(rig) as speaker, node(rig) as listener:
            await listener.listen("left", "kept")
            listener.bus.unsubscribe("left")
            assert await listener.bus.settled(5.0)
            for channel in ("left", "never", "kep", "kept ", "kept"):
                speaker.bus.publish(channel, channel.encode())
            await listener.until(lambda: listener.heard)
            assert listener.heard == [("kept", b"kept")]

    run(rig, main)


def test_nothing_is_heard_after_unsubscribe(rig: Rig) -> None:
    """What is on its way when a channel is unsubscribed does not arrive any more."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("left", "kept")
            ear.bus.publish("left", b"too late")
            ear.bus.publish("kept", b"in time")
            ear.bus.unsubscribe("left")
            await ear.until(lambda: ear.heard)
            assert ear.heard == [("kept", b"in time")]

    run(rig, main)


def test_subscribing_is_idempotent(rig: Rig) -> None:
    """Twice subscribed is heard once; once unsubscribed is not heard; an unknown channel may be unsubscribed."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("twice", "twice", "fence")
            await ear.listen("twice")
            ear.bus.unsubscribe("unknown")
            ear.bus.publish("twice", b"1")
            ear.bus.publish("fence", b"2")
            await ear.until(lambda: len(ear.heard) >= 2)
            ear.bus.unsubscribe("twice")
            ear.bus.unsubscribe("twice")
            ear.bus.publish("twice", b"3")
            ear.bus.publish("fence", b"4")
            await ear.until(lambda: len(ear.heard) >= 3)
            assert ear.payloads == [b"1", b"2", b"4"]

    run(rig, main)


def test_a_channel_left_and_wanted_again_is_heard(rig: Rig) -> None:
    """Changes of mind within one turn and over several turns end with what was said last."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            ear.bus.unsubscribe("room")
            ear.bus.subscribe("room")
            ear.bus.subscribe("brief")
            ear.bus.unsubscribe("brief")
            assert await ear.bus.settled(5.0)
            ear.bus.unsubscribe("room")
            await asyncio.sleep(0)
            ear.bus.subscribe("room")
            assert await ear.bus.settled(5.0)
            ear.bus.publish("brief", b"no")
            ear.bus.publish("room", b"yes")
            await ear.until(lambda: ear.heard)
            assert ear.heard == [("room", b"yes")]

    run(rig, main)


def test_settled_means_that_others_are_heard(rig: Rig) -> None:
    """Whatever another node publishes after `settled` has returned True is heard."""

    async def main() -> None:
        async with node(rig) as speaker, node(rig) as listener:
            for number in range(50):
                listener.bus.subscribe(f"room {number}")
                assert await listener.bus.settled(5.0)
                speaker.bus.publish(f"room {number}", b"%d" % number)
            await listener.until(lambda: len(listener.heard) == 50)
            assert await asyncio.gather(*(listener.bus.settled(5.0) for _ in range(10))) == [True] * 10

    run(rig, main)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\r\n", b"*1\r\n$4\r\nPING\r\n", bytes(range(256)), b"-ERR no\r\n", b"x" * 1_000_000],
    ids=["empty", "line end", "command", "all bytes", "error", "1 MB"],
)
def test_payloads_are_passed_through(rig: Rig, payload: bytes) -> None:
    """The bytes that arrive are the bytes that were published."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            ear.bus.publish("room", payload)
            ear.bus.publish("room", b"fence")
            await ear.until(lambda: len(ear.heard) == 2)
            assert ear.payloads == [payload, b"fence"]
            assert type(ear.payloads[0]) is bytes

    run(rig, main)


@pytest.mark.parametrize(
    "channel", ["", " ", "a b\r\nc", "*", "[ab]?", "räume/房间/🐟", "lone \ud83d surrogate", "x" * 10_000], ids=ascii
)
def test_any_text_names_a_channel(rig: Rig, channel: str) -> None:
    """Channels are texts: none is a pattern, and each arrives under the name that it was subscribed by."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen(channel, "fence")
            ear.bus.publish("b", b"no pattern")
            ear.bus.publish(channel, b"1")
            ear.bus.publish("fence", b"2")
            await ear.until(lambda: len(ear.heard) >= 2)
            assert ear.heard == [(channel, b"1"), ("fence", b"2")]

    run(rig, main)


def test_ten_thousand_channels(rig: Rig) -> None:
    """A node that hears many channels hears each, in order, and can leave them all."""

    async def main() -> None:
        async with node(rig) as speaker, node(rig) as listener:
            names = [f"room {number}" for number in range(CHANNELS)]
            await listener.listen("fence", *names)
            for name in names:
                speaker.bus.publish(name, name.encode())
            await listener.until(lambda: len(listener.heard) == CHANNELS)
            assert [channel for channel, _ in listener.heard] == names
            for name in names:
                listener.bus.unsubscribe(name)
            assert await listener.bus.settled(5.0)
            for name in (names[0], names[-1], "fence"):
                speaker.bus.publish(name, b"")
            await listener.until(lambda: listener.heard[-1] == ("fence", b""))
            assert len(listener.heard) == CHANNELS + 1

    run(rig, main)


def test_callbacks_that_raise_hurt_nobody(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """An error in a callback is logged; the next message and the next change of state arrive."""

    async def main() -> None:
        heard: list[bytes] = []
        done = asyncio.Event()

        def fails(channel: str, payload: bytes) -> None:
            heard.append(payload)
            if payload == b"2":
                done.set()
            raise LookupError("my mistake")

        def fails_too(up: bool) -> None:
            raise LookupError("mine too")

        async with new_node(rig) as ear:
            await ear.bus.start(fails, fails_too)
            await ear.listen("room")
            ear.bus.publish("room", b"1")
            ear.bus.publish("room", b"2")
            await done.wait()
            assert heard == [b"1", b"2"]

    with caplog.at_level(logging.ERROR, "shoal.bus"):
        run(rig, main)
    assert caplog.text.count("LookupError: my mistake") == 2
    assert caplog.text.count("LookupError: mine too") == 1


def test_counters_tell_what_happened(rig: Rig) -> None:
    """Publishes and messages are counted; nothing was dropped."""

    async def main() -> None:
        async with node(rig) as ear:
            await ear.listen("room")
            for _ in range(7):
                ear.bus.publish("room", b"")
            ear.bus.publish("nobody", b"")
            await ear.until(lambda: len(ear.heard) == 7)
            stats = ear.bus.stats
            assert (stats.published, stats.received, stats.dropped) == (8, 7, 0)
            assert (stats.unconfirmed, stats.reconnects) == (0, 0)

    run(rig, main)


def test_a_bus_starts_once(rig: Rig) -> None:
    """Starting twice, or after close, is a mistake and says so."""

    async def main() -> None:
        async with node(rig) as ear:
            with pytest.raises(RuntimeError, match="started before"):
                await ear.start()
            assert ear.states == [True]
            await ear.bus.close()
            with pytest.raises(RuntimeError, match="closed"):
                await ear.start()

    run(rig, main)


def test_what_is_published_before_start_is_delivered(rig: Rig) -> None:
    """Publishing and subscribing may come before the bus is started."""

    async def main() -> None:
        async with node(rig) as listener, new_node(rig) as early:
            await listener.listen("room")
            early.bus.publish("room", b"1")
            early.bus.subscribe("room")
            assert not early.bus.up
            assert not await early.bus.settled(5.0)
            await early.start()
            early.bus.publish("room", b"2")
            await listener.until(lambda: len(listener.heard) == 2)
            assert listener.payloads == [b"1", b"2"]
            await early.until(lambda: b"2" in early.payloads)

    run(rig, main)


def test_close_flushes_and_leaves_nothing(rig: Rig) -> None:
    """Publishes made just before close arrive; no task stays, and no callback runs any more."""

    async def main() -> None:
        async with node(rig) as listener, node(rig) as leaver:
            await listener.listen("room")
            await leaver.listen("room")
            before = asyncio.all_tasks()
            for number in range(1_000):
                leaver.bus.publish("room", b"%d" % number)
            another = asyncio.create_task(leaver.bus.close())  # runs in the next turn
            await leaver.bus.close()
            await another
            await leaver.bus.close()
            assert not leaver.bus.up
            await listener.until(lambda: len(listener.heard) == 1_000)
            assert asyncio.all_tasks() <= before, "the listener has one"
            assert leaver.heard == []
            assert leaver.states == [True]
            assert leaver.bus.stats.dropped == leaver.bus.stats.unconfirmed == 0

    run(rig, main)


def test_a_closed_bus_is_silent(rig: Rig) -> None:
    """After close, publish and subscribe do nothing and raise nothing; what is published is counted as dropped."""

    async def main() -> None:
        async with new_node(rig) as unused:
            await unused.bus.close()
        async with node(rig) as ear:
            await ear.bus.close()
            ear.bus.publish("room", b"")
            ear.bus.subscribe("room")
            ear.bus.unsubscribe("room")
            assert not await ear.bus.settled(5.0)
            assert ear.bus.stats.dropped == 1

    run(rig, main)
