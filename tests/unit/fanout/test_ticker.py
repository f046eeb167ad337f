"""The ticker gives every connection exactly what naive, immediate delivery would give it, in the same order.

Broadcasts to rooms with exceptions, direct messages, joining, leaving, members that are still being accepted, lanes of
both kinds and real sockets beside them, with a ring or without, back-pressure, other threads and upgrades are mixed at
will; two namespaces share the connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.unit.fanout.recording import Wire
from tests.unit.fanout.world import ROOMS, Kind, World, town
from tests.unit.fuzz import examples

from shoal.fanout import ticker, writer
from shoal.fanout.outbox import Outbox, OutboxRules, OutboxStats
from shoal.fanout.ticker import FLUSH_SIZE
from shoal.testing import Clock, async_test, run

tables, numbers, rooms = st.sampled_from([0, 0, 0, 1]), st.integers(0, 2), st.sampled_from(ROOMS)
# A room may be a member's id, and several rooms may hold the same member.
targets = st.lists(rooms | rooms | st.sampled_from(["m00", "m01", "m10"]), max_size=2)
selections = st.tuples(tables, targets, st.just([]) | targets)
kinds = st.sampled_from(["text", "text", "text", "binary", "binary only", "large"])
volatile = st.sampled_from([False, False, False, True])


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """What happens to a world. Broadcasts go to few selections, so that several in a row go to the same one."""
    few = draw(st.lists(selections, min_size=1, max_size=3))
    broadcast = st.tuples(st.just("broadcast"), st.sampled_from(few), kinds, volatile)
    step = st.one_of(
        broadcast,
        broadcast,
        st.tuples(st.just("send"), tables, numbers, kinds, volatile),
        st.tuples(st.sampled_from(["join", "leave"]), tables, numbers, rooms),
        st.tuples(st.sampled_from(["enter", "welcome", "leave_all"]), tables, numbers),
        st.tuples(st.just("turn")),
        st.tuples(st.just("ping"), numbers),
        st.tuples(st.just("switch"), numbers, st.sampled_from(["block", "unblock", "upgrade"])),
        st.tuples(st.just("threads"), st.integers(1, 2)),
        st.tuples(st.just("ring"), st.integers(1, 4)),
    )
    return draw(st.lists(step, max_size=30))


async def live(kinds: list[Kind], ready: int, history: list[tuple[Any, ...]]) -> None:
    """Let a history happen to a world in which some are there already, and compare."""
    world = World(kinds)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(writer, "active_count", return_value=1))
        stack.enter_context(mock.patch.object(writer, "RING_FROM", 2))
        stack.enter_context(mock.patch.object(ticker, "WORTH_A_WRITE", 1))
        stack.callback(world.ticker.forget_loop)
        for connection in world.connections:
            if isinstance(connection.lanes[0], Wire):
                stack.callback(connection.lanes[0].close)
        for i in range(ready):
            world.enter(i // 3, i % 3)
            world.welcome(i // 3, i % 3)
            world.join(i // 3, i % 3, ROOMS[i % 2])
        for name, *arguments in history:
            result = getattr(world, name)(*arguments)
            if result is not None:
                await result
        await world.end()


@settings(max_examples=examples(60))
@given(
    st.lists(st.sampled_from([True, False, "socket"]), min_size=3, max_size=3),
    st.sampled_from([3, 6, 2, 0]),
    histories(),
)
def test_every_connection_gets_what_immediate_delivery_would_give(
    kinds: list[Kind], ready: int, history: list[tuple[Any, ...]]
) -> None:
    run(live(kinds, ready, history))


def long_history(dice: random.Random) -> list[tuple[Any, ...]]:
    """Eighty steps, most of them within a turn, and mostly about the same few rooms and members."""
    pick = dice.choice
    selection = (0, [pick(ROOMS)], []), (pick([0, 0, 1]), pick([[], ["a", "m01"], ["m00"]]), pick([[], ["b"], ["m02"]]))
    kind, loud = ["text", "text", "text", "binary", "binary only", "large"], [False, False, False, True]
    makers: list[Callable[[], tuple[Any, ...]]] = [
        *[lambda: ("broadcast", pick(selection), pick(kind), pick(loud))] * 5,
        *[lambda: ("send", pick([0, 0, 1]), dice.randrange(3), pick(kind), pick(loud))] * 2,
        *[lambda: (pick(["join", "leave"]), 0, dice.randrange(3), pick(ROOMS))] * 3,
        *[lambda: (pick(["enter", "welcome", "leave_all"]), pick([0, 0, 1]), dice.randrange(3))] * 2,
        lambda: ("turn",),
        lambda: ("ping", dice.randrange(3)),
        lambda: ("switch", dice.randrange(3), pick(["block", "unblock", "unblock", "upgrade"])),
        lambda: ("threads", pick([1, 1, 2])),
        lambda: ("ring", pick([1, 2, 3, 4])),
    ]
    return [pick(makers)() for _ in range(80)]


@settings(max_examples=examples(50))
@given(st.integers(0, 2**32))
def test_so_it_does_in_long_histories(seed: int) -> None:
    """What goes wrong needs several steps that fit, which long random stories have and short ones hardly ever."""
    dice = random.Random(seed)
    history = long_history(dice)
    note(f"history: {history}")
    kinds: list[Kind] = [dice.choice([True, False, "socket", "socket"]) for _ in range(3)]
    run(live(kinds, dice.choice([3, 6]), history))


@async_test
async def test_a_turn_of_broadcasts_is_one_write_each() -> None:
    """A hundred messages to a room cost one write per member, and framing once."""
    world, _ = town([True, True, False])
    await world.turn()
    before = [connection.lanes[0].writes for connection in world.connections]
    for _ in range(100):
        world.broadcast((0, ["a"], []), "text")
    await world.turn()
    assert [connection.lanes[0].writes for connection in world.connections] == [count + 1 for count in before]
    assert world.connections[0].lanes[0].raw[-1] is world.connections[1].lanes[0].raw[-1]
    await world.end()


@async_test
async def test_a_mixed_turn_is_one_write_each_too() -> None:
    """Direct messages between broadcasts keep their place and cost no write."""
    world, _ = town([True, False])
    await world.turn()
    before = [connection.lanes[0].writes for connection in world.connections]
    for _ in range(10):
        world.broadcast((0, ["a"], []), "binary")
        world.send(0, 0, "text")
        world.broadcast((0, [], ["m01"]), "text")
    await world.turn()
    assert [connection.lanes[0].writes for connection in world.connections] == [count + 1 for count in before]
    await world.end()


@async_test
async def test_a_ping_beside_a_broadcast_leaves_it_its_short_way() -> None:
    """It is written before, and the broadcast as if there were none: a crowd has a ping in nearly each turn."""
    world, _ = town([True] * 8)
    await world.turn()
    lanes = [connection.lanes[0] for connection in world.connections]
    before = [lane.writes for lane in lanes]
    world.ping(0)
    world.broadcast((0, ["a"], []), "text")
    world.ping(1)
    await world.turn()
    assert [lane.writes - count for lane, count in zip(lanes, before, strict=True)] == [2, 2, *[1] * 6]
    assert lanes[0].packets[-2] == lanes[1].packets[-2] == "2"
    await world.end()


@async_test
async def test_a_member_that_polls_gets_a_turn_as_one_answer() -> None:
    """What was emitted to it alone and what to all: else the second would wait for its next poll."""
    world, _ = town([False] * 8)
    await world.turn()
    lane = world.connections[0].lanes[0]
    before = lane.writes
    world.send(0, 0, "text")
    world.broadcast((0, ["a"], []), "text")
    await world.turn()
    assert lane.writes == before + 1
    await world.end()


@async_test
async def test_nothing_is_written_inside_emit() -> None:
    world, table = town([True])
    await world.turn()
    written = world.connections[0].lanes[0].writes
    world.ticker.broadcast(table, (), (), b"4x", ())
    world.ticker.send(world.members[0, 0], b"4y", ())
    assert world.connections[0].lanes[0].writes == written


@pytest.mark.parametrize("way", ["broadcast", "send", "send binary"])
def test_a_large_turn_is_written_early(way: str) -> None:
    """What waits outside an outbox's bound stays small: beyond FLUSH_SIZE it is written within the turn."""

    @async_test
    async def check() -> None:
        world, table = town([True])
        await world.turn()
        piece = b"4" + b"x" * 50_000
        for _ in range(FLUSH_SIZE // 50_000 + 1):
            if way == "broadcast":
                world.ticker.broadcast(table, ("a",), (), piece, ())
            elif way == "send":
                world.ticker.send(world.members[0, 0], piece, ())
            else:
                world.ticker.send(world.members[0, 0], b"451-", [piece])
        lane = world.connections[0].lanes[0]
        assert sum(len(raw) for raw in lane.raw) > FLUSH_SIZE
        world.ticker.send(world.members[0, 0], b"4last", ())
        assert lane.packets[-1] != "4last"
        await Clock.running().settle()
        assert lane.packets[-1] == "4last"

    check()


@async_test
async def test_one_broken_lane_does_not_stop_the_others() -> None:
    """A transport that raises loses its own data only, on the short way and on the long one."""
    world, table = town([True, True, False])
    await world.turn()

    def broken(data: object) -> None:
        raise OSError("gone")

    for mixed in (False, True):
        world.connections[0].outbox.attach(broken, framed=True)
        world.ticker.broadcast(table, ("a",), (), b"4x", ())
        if mixed:
            world.ticker.send(world.members[0, 1], b"4y", ())
            world.ticker.send(world.members[0, 0], b"4z", ())
        await world.turn()
        assert world.connections[2].got[-1] == "4x"
        assert world.connections[1].got[-1] == ("4y" if mixed else "4x")


@async_test
async def test_a_newcomer_gets_what_is_sent_to_its_id_beside_a_room() -> None:
    """A selection that names an id is made anew once that member is there."""
    world, _ = town([True, False])
    world.leave_all(0, 1)
    for _ in range(2):
        world.broadcast((0, ["a", "m01"], []), "text")
        world.enter(0, 1)
        world.welcome(0, 1)
    await world.end()


@async_test
async def test_a_blocked_member_gets_no_volatile_message_before_its_own() -> None:
    """A direct message brings what was broadcast before it, but not what the member could not take."""
    world, _ = town([True, False])
    await world.turn()
    await world.switch(0, "block")
    await world.switch(1, "block")
    world.broadcast((0, ["a"], []), "text", volatile=True)
    world.send(0, 0, "text")
    world.send(0, 1, "text")
    await world.end()


@async_test
async def test_a_broadcast_to_nobody_costs_nothing() -> None:
    """No batch is opened, nothing is scheduled, nothing counts."""
    world, table = town([True])
    await world.turn()
    before = world.ticker.broadcasts
    world.ticker.broadcast(table, ("empty",), (), b"4x", ())
    assert world.ticker.broadcasts == before


@async_test
async def test_what_is_collected_while_the_turn_is_written_goes_with_it() -> None:
    """The answer to a GET, say, which a lane makes of what its session is given."""
    world, table = town(["text"] * 2)
    answers, written = Outbox(OutboxRules(1_000, "disconnect", OutboxStats()), world.connections[0].owner), []
    answers.attach(written.append, framed=True)

    def lane(packets: list[Any]) -> None:
        world.ticker.collect(answers, packets[0].encode())

    world.members[0, 0].outbox.attach(lane, framed=False)
    world.ticker.broadcast(table, (), (), b"4all", ())
    await asyncio.sleep(0)
    assert written == [b"4all"]
    world.ticker.send(world.members[0, 0], b"4own", ())
    await asyncio.sleep(0)
    assert written == [b"4all", b"4own"]


@async_test
async def test_deliveries_are_counted() -> None:
    """Messages times members, and direct ones; the operators' numbers are plain integers."""
    world, table = town([True, True, False])
    await world.turn()
    broadcasts, deliveries = world.ticker.broadcasts, world.ticker.deliveries
    world.ticker.broadcast(table, ("a",), (), b"4x", ())
    world.ticker.broadcast(table, ("a",), (), b"4y", [b"z"])
    world.ticker.send(world.members[0, 0], b"4z", ())
    await world.turn()
    assert world.ticker.broadcasts - broadcasts == 2
    assert world.ticker.deliveries - deliveries == 7


def test_a_ticker_moves_from_one_loop_to_the_next() -> None:
    """forget_loop() writes what waits, and lets the next loop schedule."""
    world: list[World] = []

    async def first() -> None:
        world.append(town([True])[0])
        world[0].send(0, 0, "text")
        world[0].ticker.forget_loop()

    async def second() -> None:
        world[0].send(0, 0, "text")
        await world[0].end()

    run(first())
    run(second())
