"""Joining and leaving rooms: what is refused, and the events that tell of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.server.sockets import pair

from shoal import Server
from shoal.errors import RoomRefused
from shoal.testing import TestServer, async_test


class TestRooms:
    @async_test
    async def test_joining_is_done_when_it_returns(self) -> None:
        """Awaiting it is for what other nodes say; not awaiting it loses nothing here, and warns of nothing."""
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.join("a", "b")
            io.to("a").emit("x")
            assert socket.rooms == {socket.id, "a", "b"}
            socket.leave("a")
            io.to("a").emit("y")
            await server.settle()
            assert client.received == [("x",)]
            await socket.join("b")
            await socket.leave("never joined")
            assert socket.rooms == {socket.id, "b"}

    @async_test
    async def test_its_rooms_are_a_copy(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            _, socket = await pair(io, server)
            socket.rooms.clear()
            assert socket.rooms == {socket.id}

    @async_test
    async def test_its_own_id_is_a_room_that_it_cannot_leave(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            await socket.leave(socket.id)
            await socket.join(socket.id)
            io.to(socket.id).emit("x")
            await server.settle()
            assert client.received == [("x",)]

    @async_test
    async def test_a_room_named_like_another_sockets_id_is_refused(self) -> None:
        """Whoever joins it would read what is meant for that client."""
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            _, spy = await pair(io, server)
            with pytest.raises(RoomRefused, match="id of another socket"):
                spy.join(socket.id)
            await io.in_(spy.id).join(socket.id)
            io.to(socket.id).emit("secret")
            await server.settle()
            assert client.received == [("secret",)]
            assert spy.rooms == {spy.id}

    @async_test
    async def test_the_number_of_rooms_is_bounded(self) -> None:
        """max_rooms; leaving makes room, joining again costs nothing."""
        io = Server(max_rooms=3)
        async with TestServer(io) as server:
            _, socket = await pair(io, server)
            await socket.join("a", "b", "c")
            await socket.join("a")
            with pytest.raises(RoomRefused):
                socket.join("d")
            assert io.stats.rooms_refused == 1
            await socket.leave("a")
            await socket.join("d")
            assert socket.rooms == {socket.id, "b", "c", "d"}

    @async_test
    async def test_room_events_are_told(self) -> None:
        """create and delete once a room, join and leave once a socket; at the end of a connection too."""
        io = Server()
        log: list[Any] = []
        for event in ("create_room", "delete_room", "join_room", "leave_room"):
            io.on(event)(lambda *args, event=event: log.append((event, *args)))
        async with TestServer(io) as server:
            client, one = await pair(io, server)
            _, two = await pair(io, server)
            log.clear()
            await one.join("a")
            await one.join("a", one.id)
            await two.join("a")
            await two.leave("a", "never")
            await client.disconnect()
            assert [entry for entry in log if entry[1] == "a"] == [
                ("create_room", "a"),
                ("join_room", "a", one.id),
                ("join_room", "a", two.id),
                ("leave_room", "a", two.id),
                ("leave_room", "a", one.id),
                ("delete_room", "a"),
            ]
            log.clear()
            await two.join("b")
            await two.leave("b")
            assert log == [
                ("create_room", "b"),
                ("join_room", "b", two.id),
                ("leave_room", "b", two.id),
                ("delete_room", "b"),
            ]

    @async_test
    async def test_a_failing_room_handler_hurts_nobody(self) -> None:
        io = Server()
        io.on("join_room")(lambda room, sid: 1 / 0)
        async with TestServer(io) as server:
            _, socket = await pair(io, server)
            await socket.join("a")
            assert socket.rooms == {socket.id, "a"}
            assert io.stats.handler_errors > 0
