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
from typing import Any, Literal
from unittest import mock

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.unit.fanout.recording import Owner, Recorder, Wire
from tests.unit.fuzz import examples

from shoal.fanout import writer
from shoal.fanout.outbox import Outbox, OutboxRules, OutboxStats
from shoal.fanout.rooms import Rooms
from shoal.fanout.ticker import FLUSH_SIZE, Ticker
from shoal.testing import Clock, async_test, run

RULES = OutboxRules(50_000_000, "disconnect", OutboxStats())
ROOMS = ["a", "b"]
Kind = bool | Literal["socket"]
"""Whether a connection's lane takes frames, or that it is a socket."""


class Connection:
    """An outbox on a lane, and all that naive delivery would have given to it."""

    def __init__(self, kind: Kind) -> None:
        self.owner = Owner()
        self.outbox = Outbox(RULES, self.owner)
        self.lanes: list[Any] = []
        if kind == "socket":
            self.lanes.append(Wire(self.outbox))
        else:
            self.lanes.append(Recorder(kind))
            self.outbox.attach(self.lanes[0].write, framed=kind)
        self.expected: list[str | bytes] = []

    def unblock(self) -> None:
        if isinstance(self.lanes[-1], Wire):
            self.lanes[-1].drain()
        else:
            self.outbox.unblock()

    @property
    def got(self) -> list[str | bytes]:
        return [packet for lane in self.lanes for packet in lane.packets]


class Member:
    """A socket: while it is being accepted its way out is an outbox of its own, as in Socket."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.id = name
        self.connection = connection
        self.joined: set[str] = set()
        self.outbox = Outbox(RULES, Owner())
        self.expected: list[str | bytes] = []  # before it is welcomed
        self.welcome = False

    def expect(self, packets: list[str | bytes]) -> None:
        (self.connection.expected if self.welcome else self.expected).extend(packets)


class World:
    """A server's fan-out, and beside each call what it means for the model."""

    def __init__(self, kinds: list[Kind]) -> None:
        self.ticker = Ticker()
        self.connections = [Connection(kind) for kind in kinds]
        self.tables: list[Rooms[Member]] = [Rooms(self.ticker.before_change), Rooms(self.ticker.before_change)]
        self.members: dict[tuple[int, int], Member] = {}
        self.serial = 0
        self.volatile = False

    def message(self, kind: str) -> tuple[bytes, list[bytes], list[str | bytes]]:
        """A new message, its attachments, and both as packets."""
        self.serial += 1
        text = b"" if kind == "binary only" else b"4%d" % self.serial + (b"x" * 100_000 if kind == "large" else b"")
        attachments = [b"%d.%d" % (self.serial, i) for i in range({"text": 0, "large": 0}.get(kind, 2))]
        return text, attachments, [text.decode()] * bool(text) + attachments

    def enter(self, table: int, number: int) -> None:
        if (table, number) not in self.members:
            member = self.members[table, number] = Member(self.connections[number], f"m{table}{number}")
            self.tables[table].enter(member)

    def welcome(self, table: int, number: int) -> None:
        """What Socket does when its connect handler is done."""
        member = self.members.get((table, number))
        if member is None or member.welcome:
            return
        self.ticker.seal()
        member.outbox.flush()
        held = member.outbox.take()
        member.outbox.close()
        member.outbox = member.connection.outbox
        self.tables[table].moved(member)
        self.ticker.send(member, b"40", ())
        if held:
            self.ticker.carry_over(member.outbox, held)
        member.welcome = True
        member.connection.expected += ["40", *member.expected]

    def leave_all(self, table: int, number: int) -> None:
        member = self.members.pop((table, number), None)
        if member is not None:
            self.tables[table].exit(member)
            if not member.welcome:
                member.outbox.close()

    def join(self, table: int, number: int, room: str) -> None:
        member = self.members.get((table, number))
        if member is not None:
            self.tables[table].join(member, room)

    def leave(self, table: int, number: int, room: str) -> None:
        member = self.members.get((table, number))
        if member is not None:
            self.tables[table].leave(member, room)

    def broadcast(self, selection: tuple[int, list[str], list[str]], kind: str, volatile: bool = False) -> None:
        table, rooms, excluded = selection
        text, attachments, packets = self.message(kind)
        self.volatile |= volatile
        for member in [member for (where, _), member in self.members.items() if where == table]:
            inside = {member.id, *member.joined}
            if (not rooms or inside & set(rooms)) and not inside & set(excluded):
                self.expect(member, packets, volatile)
        self.ticker.broadcast(self.tables[table], tuple(rooms), tuple(excluded), text, attachments, volatile)

    def send(self, table: int, number: int, kind: str, volatile: bool = False) -> None:
        member = self.members.get((table, number))
        if member is not None:
            text, attachments, packets = self.message(kind)
            self.volatile |= volatile
            self.expect(member, packets, volatile)
            self.ticker.send(member, text, attachments, volatile)

    def expect(self, member: Member, packets: list[str | bytes], volatile: bool) -> None:
        if not volatile or member.outbox.writable:
            member.expect(packets)

    async def turn(self) -> None:
        """The loop comes round: everything is written."""
        await asyncio.sleep(0)
        self.volatile = False

    async def switch(self, number: int, what: str) -> None:
        """The lane takes no more, takes more again, or is replaced by a WebSocket."""
        if self.volatile:
            await self.turn()  # whether a connection can take a volatile message is asked within the turn
        connection = self.connections[number]
        if what == "block":
            connection.outbox.block()
        elif what == "unblock":
            connection.unblock()
        elif not connection.outbox.framed:
            connection.lanes.append(Recorder(framed=True))
            connection.outbox.attach(connection.lanes[-1].write, framed=True)

    async def end(self) -> None:
        await self.turn()
        for connection in self.connections:
            connection.unblock()
        for connection in self.connections:
            assert connection.got == connection.expected

    def threads(self, count: int) -> None:
        """So many threads live from now on."""
        writer.active_count = lambda: count  # type: ignore[assignment]

    def ring(self, least: int) -> None:
        """A ring is used for so many members and more from now on."""
        writer.RING_FROM = least  # type: ignore[misc]


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


def town(kinds: list[Any]) -> tuple[World, Rooms[Member]]:
    """A world in which everybody is welcome and in room `a`."""
    world = World(kinds)
    for number in range(len(kinds)):
        world.enter(0, number)
        world.welcome(0, number)
        world.join(0, number, "a")
    return world, world.tables[0]


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
