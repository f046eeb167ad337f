"""What happens around a client's return: handlers, listeners of rooms, a second claim, the socket of before."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from tests.internals import recovery, rooms
from tests.unit.server.recovering import back, events, recovering

from shoal import Socket
from shoal.testing import TestServer, async_test


@async_test
async def test_a_stale_socket_still_speaks_to_its_client() -> None:
    """An application may hold the object of before: what it emits there waits, or goes to the one that came back."""
    io = recovering()
    async with TestServer(io) as server:
        anna = await server.connect()
        stale = io.sockets[anna.id]
        anna.connection.drop()
        await server.settle()
        stale.emit("while away")
        again = await back(server, anna)
        stale.emit("when back")
        await server.settle()
        assert events(again) == [("while away",), ("when back",)]


@async_test
async def test_a_room_cannot_be_named_like_one_who_is_away() -> None:
    """It would get what is said to that client, now and when it is back."""
    io = recovering()
    async with TestServer(io) as server:
        anna, eve = await server.connect(), await server.connect()
        stale = io.sockets[anna.id]
        anna.connection.drop()
        await server.settle()
        await eve.emit("sit", anna.id)
        assert io.stats.rooms_refused == 1
        stale.emit("secret")
        again = await back(server, anna)
        io.to(anna.id).emit("another")
        await server.settle()
        assert events(again) == [("secret",), ("another",)]
        assert events(eve) == []
        again.connection.drop()
        await server.clock.advance(300)
        await eve.emit("sit", anna.id)
        assert io.stats.rooms_refused == 1


@async_test
async def test_listeners_of_rooms_come_behind_what_was_missed() -> None:
    """They hear of a socket when it is in all of its rooms; what they say there is new to it."""
    io = recovering()

    @io.on("join_room")
    def joined(room: str, socket_id: str) -> None:
        io.to("front", "back").emit("joined", room)

    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        await anna.emit("sit", "back")
        anna.connection.drop()
        anna.received.clear()
        await server.settle()
        io.to("front").emit("one")
        io.to("back").emit("two")
        again = await back(server, anna)
        heard = events(again)
        assert heard[:2] == [("one",), ("two",)]
        assert sorted(heard[2:]) == [("joined", "back"), ("joined", "front")]
        again.connection.drop()
        assert sorted(events(await back(server, again))) == [("joined", "back"), ("joined", "front")]


@async_test
async def test_a_room_that_is_empty_is_created_anew() -> None:
    """One that others are in is not; the client joins both."""
    io = recovering()
    log: list[tuple[str, ...]] = []
    async with TestServer(io) as server:
        anna, other = await server.connect(), await server.connect()
        for client, room in ((anna, "front"), (anna, "back"), (other, "back")):
            await client.emit("sit", room)
        anna.connection.drop()
        await server.settle()
        for event in ("create_room", "join_room"):
            io.on(event)(lambda *args, event=event: log.append((event, *args)))
        await back(server, anna)
        assert sorted(log) == [
            ("create_room", "front"),
            ("join_room", "back", anna.id),
            ("join_room", "front", anna.id),
        ]
        assert log.index(("create_room", "front")) < log.index(("join_room", "front", anna.id))


@async_test
async def test_a_listener_of_rooms_may_send_it_away() -> None:
    """Nothing of it is left in any room."""
    io = recovering()
    banned: set[str] = set()

    @io.on("join_room")
    def joined(room: str, socket_id: str) -> None:
        if socket_id in banned:
            io.sockets[socket_id].disconnect()

    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        await anna.emit("sit", "back")
        anna.connection.drop()
        await server.settle()
        banned.add(anna.id)
        connection = await server.open()
        connection.send("40" + json.dumps(anna.recovery))
        await server.settle()
        assert (io.sockets, rooms(io.of("/")).names()) == ({}, [])


@pytest.mark.parametrize("handler", ["of an event", "of disconnect"])
def test_it_comes_back_behind_the_handlers_of_its_socket_before(handler: str) -> None:
    """Presence that is kept by connect and disconnect ends as it should, however slow they are."""

    @async_test
    async def check() -> None:
        io = recovering()
        online: set[str] = set()
        io.on("connect")(lambda socket: online.add(socket.id))

        @io.on("work")
        async def work(socket: Socket) -> None:
            await asyncio.sleep(3)

        @io.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            if handler == "of disconnect":
                await asyncio.sleep(3)
            online.discard(socket.id)

        async with TestServer(io) as server:
            anna = await server.connect()
            if handler == "of an event":
                anna.send("work")
                await server.settle()
            anna.connection.drop()
            io.emit("news")
            again = await back(server, anna)
            assert online == {anna.id}
            assert again.connected
            assert events(again) == [("news",)]
            assert not recovery(io)._leaving

    check()


@async_test
async def test_a_disconnect_handler_that_never_ends_holds_nobody_up_for_ever() -> None:
    io = recovering()
    io.on("disconnect")(lambda socket, reason: asyncio.sleep(3600))
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        again = await server.connect(auth=anna.recovery, timeout=6)
        assert again.id == anna.id


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_of_two_that_ask_the_second_one_has_it(seconds: float) -> None:
    """However close together: also while the first one's namespace is still being looked for."""

    @async_test
    async def check() -> None:
        io = recovering()

        async def matches(name: str, auth: Any) -> bool:
            await asyncio.sleep(1)
            return name == "/slow"

        io.of(matches)
        async with TestServer(io) as server:
            anna = await server.connect("/slow")
            anna.connection.drop()
            await server.settle()
            connections = [await server.open(), await server.open()]
            for connection in connections:
                connection.send("40/slow," + json.dumps(anna.recovery))
                await server.clock.advance(seconds)
            await server.clock.advance(5)
            assert not connections[0].open
            reply = await connections[1].receive()
            assert isinstance(reply, str)
            assert json.loads(reply.removeprefix("40/slow,"))["sid"] == anna.id
            assert list(io.of("/slow").sockets) == [anna.id]

    check()


@async_test
async def test_what_a_listener_says_comes_behind_what_it_heard() -> None:
    """On the wire, in the offsets and for those who come back."""
    io = recovering()
    async with TestServer(io) as server:
        anna, ben = await server.connect(), await server.connect()

        @io.sockets[anna.id].on_any_outgoing
        def audit(event: str, *args: Any) -> None:
            if event != "audit":
                io.to(ben.id).emit("audit", event)

        io.emit("news")
        await server.settle()
        assert events(ben) == [("news",), ("audit", "news")]
        ben.connection.drop()
        assert events(await back(server, ben)) == []


@async_test
async def test_who_is_away_can_be_sent_away_and_moved() -> None:
    """By orders to many and by the socket of before: it comes back to what is left, or not at all."""
    io = recovering()
    io.on("disconnecting")(lambda socket, reason: socket.leave("middle"))
    async with TestServer(io) as server:
        clients = [await server.connect() for _ in range(4)]
        stale = [io.sockets[client.id] for client in clients]
        for client in clients:
            for room in ("front", "middle", "back", f"seat {clients.index(client)}"):
                await client.emit("sit", room)
            client.connection.drop()
        await server.settle()
        await io.in_("front").except_("seat 2").leave("front")
        await io.in_("seat 0").disconnect()
        await stale[1].disconnect()
        stale[2].data = "new"
        stale[3].leave("back", "front")
        again = [await back(server, client) for client in clients]
        assert [new.id == old.id for new, old in zip(again, clients, strict=True)] == [False, False, True, True]
        assert io.sockets[clients[2].id].rooms == {clients[2].id, "front", "back", "seat 2"}
        assert io.sockets[clients[2].id].data == "new"
        assert io.sockets[clients[3].id].rooms == {clients[3].id, "seat 3"}


@async_test
async def test_a_stale_socket_of_a_namespace_that_was_made_anew() -> None:
    """What is said there reaches the client; after the client has left for good it is not even kept."""
    io = recovering()
    io.of(re.compile("^/room-[0-9]$"))
    async with TestServer(io) as server:
        anna = await server.connect("/room-1")
        stale = io.of("/room-1").sockets[anna.id]
        anna.connection.drop()
        await server.settle()
        again = await back(server, anna, "/room-1")
        stale.emit("news")
        await server.settle()
        assert events(again) == [("news",)]
        await again.disconnect()
        kept = len(recovery(io).history)
        stale.emit("nobody")
        assert len(recovery(io).history) == kept
