"""A server's fan-out, and beside it a model that delivers at once: what each connection must have got in the end."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from tests.unit.fanout.recording import Owner, Recorder, Wire

from shoal.fanout import writer
from shoal.fanout.outbox import Outbox, OutboxRules, OutboxStats
from shoal.fanout.rooms import Rooms
from shoal.fanout.ticker import Ticker
from shoal.protocol.frames import text_frame

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
        self.pings = 0

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

    def ping(self, number: int) -> None:
        """As a session does, which cares for no order."""
        connection = self.connections[number]
        if connection.outbox.framed:
            connection.pings += 1
            self.ticker.collect(connection.outbox, text_frame(b"2"))

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
            got = connection.got
            assert [packet for packet in got if packet != "2"] == connection.expected
            assert got.count("2") == connection.pings

    def threads(self, count: int) -> None:
        """So many threads live from now on."""
        writer.active_count = lambda: count  # type: ignore[assignment]

    def ring(self, least: int) -> None:
        """A ring is used for so many members and more from now on."""
        writer.RING_FROM = least  # type: ignore[misc]


def town(kinds: list[Any]) -> tuple[World, Rooms[Member]]:
    """A world in which everybody is welcome and in room `a`."""
    world = World(kinds)
    for number in range(len(kinds)):
        world.enter(0, number)
        world.welcome(0, number)
        world.join(0, number, "a")
    return world, world.tables[0]
