"""Coming back after a lost connection: to the same id, rooms, data, and to what was said meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from tests.internals import handlers
from tests.unit.server.recovering import back, events, recovering

from shoal import ConfigurationError, ConnectionRefused, Server, Socket
from shoal.testing import TestServer, async_test


@async_test
async def test_a_client_comes_back_to_its_state() -> None:
    """Id, rooms and data; the connect handler sees that it has come back."""
    io = recovering()
    seen: list[tuple[str, bool]] = []
    io.on("connect")(lambda socket: seen.append((socket.id, socket.recovered)))
    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        anna.connection.drop()
        again = await back(server, anna)
        assert again.id == anna.id
        assert again.recovery["pid"] == anna.recovery["pid"]
        socket = io.sockets[again.id]
        assert socket.rooms == {anna.id, "front"}
        assert socket.data == {"seat": "front"}
        assert seen == [(anna.id, False), (anna.id, True)]
        assert (io.stats.recovered, io.stats.not_recovered) == (1, 0)


@async_test
async def test_what_it_missed_comes_once_and_in_order() -> None:
    """Behind the CONNECT reply, in front of what the connect handler says; direct, by room, to all, binary."""
    io = recovering()
    io.on("connect")(lambda socket: socket.emit("welcome", "back" if socket.recovered else "new"))
    async with TestServer(io) as server:
        anna, other = await server.connect(), await server.connect()
        await anna.emit("sit", "front")
        io.emit("before")
        await server.settle()
        socket = io.sockets[anna.id]
        anna.connection.pause()
        io.to("front").emit("lost on the way")
        await server.settle()
        anna.connection.drop()
        socket.emit("direct", 1)
        io.to("front").emit("room", b"x")
        io.to("back").emit("another room")
        io.except_("front").emit("not in front")
        other_socket = io.sockets[other.id]
        other_socket.broadcast.emit("from the other")
        io.volatile.emit("volatile")
        io.local.emit("local")
        assert events(anna) == [("welcome", "new"), ("before",)]
        again = await back(server, anna)
        io.to("front").emit("after")
        await server.settle()
        assert events(again) == [
            ("lost on the way",),
            ("direct", 1),
            ("room", b"x"),
            ("from the other",),
            ("local",),
            ("welcome", "back"),
            ("after",),
        ]


@async_test
async def test_it_may_come_back_again_and_again() -> None:
    io = recovering()
    async with TestServer(io) as server:
        client = await server.connect()
        await client.emit("sit", "front")
        for number in range(5):
            client.connection.drop()
            io.to("front").emit("news", number)
            client = await back(server, client)
            assert events(client) == [("news", number)]
        assert io.stats.recovered == 5


@async_test
async def test_a_client_that_got_no_message_yet_has_missed_all_since_it_came() -> None:
    """It has no offset to show. What was said before it came was never for it."""
    io = recovering()
    async with TestServer(io) as server:
        await server.connect()
        io.emit("too early")
        anna = await server.connect()
        anna.connection.drop()
        io.emit("news")
        assert "offset" not in anna.recovery
        again = await back(server, anna)
        assert again.id == anna.id
        assert events(again) == [("news",)]


@async_test
async def test_it_is_back_before_the_loss_is_noticed() -> None:
    """The old connection ends at once, and its disconnect handler runs before the new one's connect handler."""
    io = recovering()
    steps: list[Any] = []
    io.on("connect")(lambda socket: steps.append(("connect", socket.recovered)))
    io.on("disconnect")(lambda socket, reason: steps.append(("disconnect", reason)))
    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        anna.connection.pause()
        io.to("front").emit("news")
        again = await back(server, anna)
        assert again.id == anna.id
        assert events(again) == [("news",)]
        assert steps == [("connect", False), ("disconnect", "transport close"), ("connect", True)]
        assert list(io.sockets) == [anna.id]
        anna.connection.resume()
        await anna.disconnected()
        assert events(anna) == []  # what waited for it was dropped: the new connection has it


@async_test
async def test_a_namespace_that_ends_with_the_old_connection() -> None:
    """A dynamic one is forgotten with its last socket, and made anew for the one that comes back."""
    io = recovering()
    io.of(re.compile(r"^/room-\d+$"))
    async with TestServer(io) as server:
        anna = await server.connect("/room-1")
        again = await back(server, anna, "/room-1")
        assert again.id == anna.id
        io.of("/room-1").emit("news")
        await server.settle()
        assert events(again) == [("news",)]


@async_test
async def test_each_namespace_has_its_own_state() -> None:
    """What was said in one is not told in the other, and a secret of one opens no other."""
    io = recovering()
    io.of("/a")
    io.of("/b")
    async with TestServer(io) as server:
        first = await server.connect("/a")
        second = await first.enter("/b")
        first.connection.drop()
        io.of("/a").emit("a")
        io.of("/b").emit("b")
        with_the_wrong_one = await server.connect("/a", second.recovery)
        assert with_the_wrong_one.id not in (first.id, second.id)
        again = await back(server, first, "/a")
        again_too = await again.enter("/b", second.recovery)
        assert (events(again), events(again_too)) == ([("a",)], [("b",)])
        assert (again.id, again_too.id) == (first.id, second.id)


@pytest.mark.parametrize("seconds", [119.0, 121.0])
def test_it_may_be_away_for_two_minutes(seconds: float) -> None:
    @async_test
    async def check() -> None:
        io = recovering()
        async with TestServer(io) as server:
            anna, other = await server.connect(), await server.connect()
            anna.connection.drop()
            io.emit("news")
            await server.clock.advance(seconds)
            again = await back(server, anna)
            assert (again.id == anna.id) is (seconds < 120)
            assert events(again) == ([("news",)] if seconds < 120 else [])
            assert other.connected

    check()


@async_test
async def test_a_loss_that_is_noticed_late_costs_no_message() -> None:
    """What was said before the ping timeout told of it is still there at the end of the two minutes."""
    io = recovering()
    async with TestServer(io) as server:
        anna, other = await server.connect(), await server.connect()
        anna.connection.pause()
        io.emit("news")
        await server.clock.advance(46)
        assert anna.id not in io.sockets
        await server.clock.advance(110)
        io.emit("more")
        again = await back(server, anna)
        assert events(again) == [("news",), ("more",)]
        assert other.connected


@async_test
async def test_who_left_on_purpose_begins_anew() -> None:
    """Whoever ended it: the client, or the application."""
    io = recovering()
    async with TestServer(io) as server:
        anna, ben = await server.connect(), await server.connect()
        await anna.disconnect()
        await io.sockets[ben.id].disconnect()
        await server.settle()
        assert (await back(server, anna)).id != anna.id
        assert (await back(server, ben)).id != ben.id
        assert (io.stats.recovered, io.stats.not_recovered) == (0, 2)


@async_test
async def test_a_state_is_given_once() -> None:
    """A second one with the same secret takes it over from the first: there is never more than one."""
    io = recovering()
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        first = await back(server, anna)
        second = await back(server, anna)
        await server.settle()
        assert first.id == second.id
        assert (first.connected, second.connected) == (False, True)
        assert list(io.sockets) == [anna.id]


@async_test
async def test_middleware_is_not_asked_again() -> None:
    io = recovering()
    asked: list[bool] = []
    io.use(lambda socket: asked.append(socket.recovered))
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        await back(server, anna)
        assert asked == [False]


@async_test
async def test_middleware_may_be_asked_again_and_refuse() -> None:
    """Then nothing of what was missed reaches it, and the state is spent."""
    io = recovering(skip_middlewares=False)

    @io.use
    async def only_once(socket: Socket) -> None:
        if socket.recovered:
            raise ConnectionRefused("once is enough")

    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        io.emit("news")
        with pytest.raises(ConnectionRefused, match="once is enough"):
            await back(server, anna)
        assert not io.sockets
        handlers(io.of("/")).middleware.clear()
        assert (await back(server, anna)).id != anna.id


@async_test
async def test_a_connection_that_is_lost_before_it_was_accepted_loses_nothing() -> None:
    """It comes back a third time, to all that it has not got."""
    io = recovering()
    gate: list[float] = [0.0, 5.0, 0.0]

    @io.on("connect")
    async def slowly(socket: Socket) -> None:
        await asyncio.sleep(gate.pop(0))

    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        anna.connection.drop()
        io.to("front").emit("one")
        connection = await server.open()
        connection.send("40" + json.dumps(anna.recovery))
        await server.settle()
        connection.drop()
        io.to("front").emit("two")
        await server.clock.advance(10)
        again = await back(server, anna)
        assert again.id == anna.id
        assert events(again) == [("one",), ("two",)]
        assert io.sockets[again.id].data == {"seat": "front"}


@async_test
async def test_without_the_option_nothing_is_added() -> None:
    """No secret in the CONNECT reply, no offset in events."""
    io = Server()
    async with TestServer(io) as server:
        anna = await server.connect(auth={"pid": "x", "offset": "1"})
        io.emit("news", "text")
        await server.settle()
        assert anna.recovery == {}
        assert [tuple(event) for event in anna.received] == [("news", "text")]


def test_it_is_for_one_node() -> None:
    with pytest.raises(ConfigurationError, match="connection_state_recovery needs"):
        Server(connection_state_recovery=True, broker="redis://127.0.0.1:1")


def test_an_event_before_the_server_runs() -> None:
    """Nobody can miss it."""
    recovering().emit("early")
