"""The bounds of what is kept for clients that may come back: bytes, states, time."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.internals import recovery
from tests.unit.server.recovering import back, events, recovering

from shoal import Socket
from shoal.testing import TestServer, async_test


@async_test
async def test_who_missed_more_than_fits_begins_anew() -> None:
    """More than half of what may wait for a client: sent at once it could cut the client off, again and again."""
    io = recovering(max_outbox=10_000)
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        for _ in range(6):
            io.emit("news", "x" * 1_000)
        again = await back(server, anna)
        assert again.id != anna.id
        assert events(again) == []
        assert io.stats.not_recovered == 1


@async_test
async def test_the_states_of_those_who_are_away_are_bounded() -> None:
    """The first to leave begins anew; what has expired makes room first, and counts as nothing lost."""
    io = recovering(recovery_states=2)
    async with TestServer(io) as server:
        clients = [await server.connect() for _ in range(3)]
        for client in clients:
            client.connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 1
        ids = [(await back(server, client)).id for client in clients]
        assert [old.id == new for old, new in zip(clients, ids, strict=True)] == [False, True, True]

        late = [await server.connect() for _ in range(4)]
        for client in late[:2]:
            client.connection.drop()
        await server.clock.advance(121)
        for client in late[2:]:
            client.connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 1


@async_test
async def test_what_is_kept_ends_with_time() -> None:
    """With nobody coming or going, and no message said."""
    io = recovering()
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        io.emit("news")
        await server.clock.advance(600)
        assert repr(recovery(io)) == "<recovery, 0 here, 0 away, 0 messages>"


@async_test
async def test_several_namespaces_share_what_fits() -> None:
    """What all sockets of a connection missed must fit into its outbox together."""
    io = recovering(max_outbox=100_000)
    names = ["/a", "/b", "/c"]
    for name in names:
        io.of(name)
    async with TestServer(io) as server:
        first = await server.connect("/a")
        clients = [first, await first.enter("/b"), await first.enter("/c")]
        first.connection.drop()
        for name in names:
            io.of(name).emit("news", "x" * 30_000)
        again = await back(server, first, "/a")
        others = [await again.enter(client.namespace, client.recovery) for client in clients[1:]]
        assert [new.id == old.id for new, old in zip([again, *others], clients, strict=True)] == [True, False, False]


@async_test
async def test_who_was_never_accepted_takes_no_place() -> None:
    """It was not told the secret with which it could come back."""
    io = recovering(recovery_states=1)
    slow = [0.0, 5.0]

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        await asyncio.sleep(slow.pop(0) if slow else 0)

    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        connection = await server.open()
        connection.send("40")
        await server.settle()
        connection.drop()
        await server.clock.advance(10)
        assert (await back(server, anna)).id == anna.id


@async_test
async def test_long_names_of_rooms_are_bounded_too() -> None:
    """A client may have chosen them."""
    io = recovering(recovery_buffer=100_000)
    async with TestServer(io) as server:
        clients = [await server.connect() for _ in range(5)]
        for number, client in enumerate(clients):
            await client.emit("sit", str(number) * 40_000)
            client.connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 3


@async_test
async def test_rooms_that_are_left_meanwhile_count_no_more() -> None:
    """And those that stay count on: what a client that is away takes is known at any time."""
    io = recovering(recovery_buffer=100_000)
    async with TestServer(io) as server:
        clients = [await server.connect() for _ in range(5)]
        for number, client in enumerate(clients):
            await client.emit("sit", str(number) * 40_000)
            await client.emit("sit", "small")
        for client in clients[:2]:
            client.connection.drop()
        await server.settle()
        await io.in_("small").leave("small")
        clients[2].connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 1  # the first
        await io.in_("1" * 40_000).leave("1" * 40_000)
        clients[3].connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 1
        clients[4].connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 3  # one that takes little goes before one that takes much: it left first


@async_test
async def test_no_time_to_come_back_costs_no_turns_of_the_loop() -> None:
    """With a duration of nothing everybody begins anew, and nobody sweeps without a pause."""
    io = recovering(max_disconnection_duration=0)
    async with TestServer(io) as server:
        anna, other = await server.connect(), await server.connect()
        anna.connection.drop()
        io.emit("news")
        await server.settle()  # returns when nothing more can happen at this time
        await server.clock.advance(1)
        assert (await back(server, anna)).id != anna.id
        assert other.connected


@async_test
async def test_who_does_not_come_back_has_expired() -> None:
    """Told once, when its time is over; not of those who come back, nor of those who were sent away."""
    io = recovering(max_disconnection_duration=60.0)
    seen: list[Any] = []
    io.on("socket_expired")(lambda *args: seen.append(args))
    async with TestServer(io) as server:
        anna, bert, carl = [await server.connect() for _ in range(3)]
        await anna.emit("sit", "front")
        for client in (anna, bert):
            client.connection.drop()
        await io.sockets[carl.id].disconnect()
        await back(server, bert)
        await server.clock.advance(59)
        assert seen == []
        await server.clock.advance(3)
        assert seen == [(anna.id, {"front"}, {"seat": "front"})]
        await server.clock.advance(300)
        assert len(seen) == 1
