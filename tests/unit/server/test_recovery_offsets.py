"""What a client shows to come back: its secret and the offset of the last event that it got."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.server.recovering import back, events, recovering

from shoal.testing import TestServer, async_test


@async_test
async def test_an_offset_from_before_it_came_brings_nothing_more() -> None:
    """Who turns the offset back hears nothing that was said before it was there."""
    io = recovering()
    async with TestServer(io) as server:
        await server.connect()
        io.emit("secret")
        anna = await server.connect()
        anna.connection.drop()
        io.emit("news")
        again = await server.connect(auth={**anna.recovery, "offset": f"{io.engine.tag}.0"})
        assert events(again) == [("news",)]


BAD: list[Any] = [
    {"pid": 7},
    {"pid": ["x"]},
    {"pid": ""},
    {"pid": "guessed", "offset": "1"},
    {"offset": "1"},
    {},
]


@pytest.mark.parametrize("auth", BAD, ids=repr)
def test_a_secret_that_is_none(auth: Any) -> None:
    """Begins anew, as any client does."""

    @async_test
    async def check() -> None:
        io = recovering()
        async with TestServer(io) as server:
            anna = await server.connect()
            anna.connection.drop()
            other = await server.connect(auth=auth)
            assert other.id != anna.id
            assert (await back(server, anna)).id == anna.id

    check()


FOREIGN: list[Any] = [
    "",
    "-1",
    "x",
    "1",
    "99",
    ".1",
    "abcdef.1",
    "{tag}",
    "{tag}.",
    "{tag}.x",
    "{tag}.-1",
    "{tag}.١",
    1,
    ["1"],
]
FOREIGN += [None, "{tag}." + "9" * 19, "{tag}." + "9" * 5_000]


@pytest.mark.parametrize("offset", FOREIGN, ids=lambda offset: repr(offset)[:20])
def test_an_offset_that_is_none_of_this_server(offset: Any) -> None:
    """The client got it from an earlier process, and nothing from this one: it has missed all since it came."""

    @async_test
    async def check() -> None:
        io = recovering()
        async with TestServer(io) as server:
            anna = await server.connect()
            io.emit("news")
            await server.settle()
            anna.connection.drop()
            shown = offset.replace("{tag}", io.engine.tag) if isinstance(offset, str) else offset
            again = await server.connect(auth={**anna.recovery, "offset": shown})
            assert again.id == anna.id
            assert events(again) == [("news",)]

    check()


@async_test
async def test_an_offset_that_was_not_given_yet() -> None:
    """Begins anew: nobody can say what it has."""
    io = recovering()
    async with TestServer(io) as server:
        anna = await server.connect()
        io.emit("news")
        await server.settle()
        anna.connection.drop()
        again = await server.connect(auth={**anna.recovery, "offset": f"{io.engine.tag}.2"})
        assert again.id != anna.id
        assert io.stats.not_recovered == 1


@async_test
async def test_an_offset_of_an_earlier_server_hides_nothing() -> None:
    """The official client keeps its offset when it begins anew; the numbers of another process mean nothing here."""
    before, io = recovering(), recovering()
    async with TestServer(before) as server:
        anna = await server.connect()
        for number in range(50):
            before.emit("old", number)
        await server.settle()
        old = anna.recovery
    async with TestServer(io) as server:
        anna = await server.connect(auth=old)
        anna.connection.pause()
        for number in range(60):
            io.emit("news", number)
        await server.settle()
        anna.connection.drop()
        again = await server.connect(auth={"pid": anna.recovery["pid"], "offset": old["offset"]})
        assert again.id == anna.id
        assert events(again) == [("news", number) for number in range(60)]


@async_test
async def test_every_event_without_an_ack_has_an_offset() -> None:
    """The official client takes any text at the end for one: a volatile event has that of the message before."""
    io = recovering()
    io.use(lambda socket: socket.emit("in middleware", "text"))
    async with TestServer(io) as server:
        anna = await server.connect()
        io.emit("news", "text")
        io.volatile.emit("volatile", "text")
        io.sockets[anna.id].emit("direct", "text")
        await server.settle()
        tag = io.engine.tag
        assert [tuple(event) for event in anna.received] == [
            ("in middleware", "text", f"{tag}.0"),
            ("news", "text", f"{tag}.1"),
            ("volatile", "text", f"{tag}.1"),
            ("direct", "text", f"{tag}.2"),
        ]
        anna.on("question", lambda *args: args)
        assert await io.sockets[anna.id].call("question", "text") == "text"


@async_test
async def test_an_idle_client_of_a_busy_server_comes_back() -> None:
    """Its offset is old, but all that was said since is known to have been for others, or to have arrived."""
    io = recovering()
    async with TestServer(io) as server:
        anna, ben = await server.connect(), await server.connect()
        io.emit("for both")
        await server.settle()
        for _ in range(40):
            io.to(ben.id).emit("for him")
            await server.clock.advance(25)
        anna.connection.drop()
        io.to(anna.id).emit("for her")
        again = await back(server, anna)
        assert again.id == anna.id
        assert events(again) == [("for her",)]
