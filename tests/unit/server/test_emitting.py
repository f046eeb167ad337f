"""Emitting from a socket and from a server: what is sent, what is refused, and whom a selection of rooms names."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.internals import rooms
from tests.unit.fuzz import RESERVED, examples
from tests.unit.server.sockets import pair

from shoal import Broadcast, PayloadError, Server
from shoal.testing import TestServer, async_test, run


class TestEmitting:
    @pytest.mark.parametrize("name", sorted(RESERVED))
    def test_reserved_names_are_refused(self, name: str) -> None:
        """Everywhere: the official client would close the connection."""

        @async_test
        async def check() -> None:
            io = Server()
            async with TestServer(io) as server:
                client, socket = await pair(io, server)
                for emit in (io.emit, io.to("x").emit, socket.emit, socket.broadcast.emit, socket.volatile.emit):
                    with pytest.raises(PayloadError, match="reserved"):
                        emit(name)
                for call in (socket.call, io.to("x").call):
                    with pytest.raises(PayloadError, match="reserved"):
                        await call(name)
                await server.settle()
                assert client.received == []

        check()

    @async_test
    async def test_what_cannot_be_sent_is_an_error_at_the_emit(self) -> None:
        """And nobody gets a part of it; a call leaves nothing behind."""
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            with pytest.raises(PayloadError):
                io.emit("x", b"binary", object())
            with pytest.raises(PayloadError):
                await socket.call("x", object())
            with pytest.raises(PayloadError):
                await io.call("x", object())
            io.emit("fine")
            assert await client.receive() == ("fine",)
            assert not socket._acks

    @async_test
    async def test_an_await_in_front_does_no_harm(self) -> None:
        """python-socketio wants it; here the event is on its way already."""
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            [remote] = await io.fetch_sockets()
            emits: list[Any] = [io.emit, io.to(socket.id).emit, io.of("/").emit, socket.emit, remote.emit]
            for number, emit in enumerate(emits):
                await emit("x", number)
            for send in cast(list[Any], [io.send, socket.send]):
                await asyncio.gather(send("y"))
            await cast(Any, io.server_side_emit)("z")
            await server.settle()
            assert client.received == [*[("x", number) for number in range(5)], ("message", "y"), ("message", "y")]

    @pytest.mark.parametrize("namespace", ["/", "/other"])
    def test_what_an_emit_returns_is_no_answer(self, namespace: str) -> None:
        """A lambda that only emits, or joins a room, acknowledges with nothing, as a function would."""

        @async_test
        async def check() -> None:
            io = Server()
            here = io.of(namespace)
            here.on("plain")(lambda socket: socket.emit("x"))
            here.on("join")(lambda socket: socket.join("room"))

            @here.on("async")
            async def last(socket: Any) -> Any:
                return cast(Any, here.emit)("x")

            async with TestServer(io) as server:
                client = await server.connect(namespace)
                for event in ("plain", "join", "async"):
                    assert await client.call(event) is None
                assert io.stats.handler_errors == 0

        check()

    @async_test
    async def test_after_it_has_left_nothing_happens(self) -> None:
        """Emitting, joining and leaving rooms: no error, no effect."""
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            await client.disconnect()
            socket.emit("x")
            socket.send("x")
            socket.volatile.emit("x")
            await socket.join("room")
            await socket.leave("room")
            await socket.disconnect()
            assert rooms(io.of("/")).names() == []
            assert not socket.connected

    @async_test
    async def test_broadcasting_from_a_socket_leaves_it_out(self) -> None:
        """socket.broadcast, socket.to, socket.except_ and socket.local; each to the others only."""
        io = Server()
        async with TestServer(io) as server:
            me, socket = await pair(io, server)
            other, other_socket = await pair(io, server)
            third, third_socket = await pair(io, server)
            for each in (socket, other_socket):
                await each.join("room")
            await third_socket.join("third")
            socket.broadcast.emit("broadcast")
            socket.to("room").emit("to")
            socket.in_("room", "third").emit("in")
            socket.except_("third").emit("except")
            socket.local.emit("local")
            socket.broadcast.to("room").except_(other.id).emit("nobody")
            await server.settle()
            assert me.received == []
            assert [event.event for event in other.received] == ["broadcast", "to", "in", "except", "local"]
            assert [event.event for event in third.received] == ["broadcast", "in", "local"]

    @async_test
    async def test_send_is_the_event_message(self) -> None:
        """To one client, to all, and to those of a namespace."""
        io = Server()
        plain = io.of("/plain")
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            other, _ = await pair(io, server)
            elsewhere = await server.connect("/plain")
            socket.send("a", 1)
            io.send("b")
            plain.send("c", 2)
            await server.settle()
            assert client.received == [("message", "a", 1), ("message", "b")]
            assert other.received == [("message", "b")]
            assert elsewhere.received == [("message", "c", 2)]

    @async_test
    async def test_compress_changes_no_event(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.compress(False).emit("x", 1)
            assert await client.receive() == ("x", 1)

    @async_test
    async def test_a_volatile_event_is_lost_on_a_client_that_cannot_take_it(self) -> None:
        """Others get it, and so does this one when it reads again."""
        io = Server()
        async with TestServer(io) as server:
            slow, socket = await pair(io, server)
            quick, _ = await pair(io, server)
            slow.connection.pause()
            for _ in range(30):
                io.emit("filler", "x" * 10_000)
                await server.settle()
            io.volatile.emit("volatile", 1)
            socket.volatile.emit("volatile", 2)
            io.emit("sure")
            await server.settle()
            slow.connection.resume()
            await server.settle()
            io.volatile.emit("volatile", 3)
            await server.settle()
            interesting = [event for event in slow.received if event.event != "filler"]
            assert interesting == [("sure",), ("volatile", 3)]
            assert [e for e in quick.received if e.event != "filler"] == [("volatile", 1), ("sure",), ("volatile", 3)]
            assert io.engine.outbox_stats.volatile_dropped == 2


class TestBuilder:
    def test_it_is_immutable(self) -> None:
        """One can be kept and used again; each step is a new one."""
        io = Server()
        base = io.to("a")
        assert base.to("b") is not base
        assert repr(base) == repr(io.to("a"))
        assert isinstance(base.volatile.local.timeout(1).except_("c").in_("d").compress(False), Broadcast)
        assert repr(base) == repr(io.to("a"))

    @async_test
    async def test_rooms_are_named_one_by_one_or_in_lists(self) -> None:
        """As Node takes them; a number is the room of that text, and text is never taken apart."""
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            await socket.join("abc", 7, ["x", "y"])  # type: ignore[arg-type]
            assert socket.rooms == {socket.id, "abc", "7", "x", "y"}
            for rooms in (["abc"], [7], [["none", "y"]], [("none", 7)]):
                io.to(*rooms).emit("to", rooms)  # type: ignore[arg-type]
                await server.settle()
                assert len(client.received) == 1
                assert client.received.pop().event == "to"
            io.to("a").emit("never")
            io.except_(["x"]).emit("never")  # type: ignore[arg-type]
            await server.settle()
            assert client.received == []

    @settings(max_examples=examples(40))
    @given(
        st.lists(st.sets(st.sampled_from("abc")), min_size=1, max_size=5),
        st.lists(st.sampled_from("abc"), max_size=3),
        st.lists(st.sampled_from("abc"), max_size=2),
    )
    def test_each_selected_socket_gets_an_event_once(
        self, joined: list[set[str]], rooms: list[str], excluded: list[str]
    ) -> None:
        """In any of the rooms, in none of the excluded ones; without rooms, everybody."""

        async def main() -> None:
            io = Server()
            async with TestServer(io) as server:
                pairs = [await pair(io, server) for _ in joined]
                for (_, socket), names in zip(pairs, joined, strict=True):
                    await socket.join(*names)
                io.to(*rooms).except_(*excluded).emit("x")
                found = await io.to(*rooms).except_(*excluded).fetch_sockets()
                expected = [(not rooms or bool(names & set(rooms))) and not names & set(excluded) for names in joined]
                await server.settle()
                assert [client.received == [("x",)] for client, _ in pairs] == expected
                assert [client.received == [] for client, _ in pairs] == [not each for each in expected]
                assert {one.id for one in found} == {
                    socket.id for (_, socket), each in zip(pairs, expected, strict=True) if each
                }

        run(main())


@async_test
async def test_no_room_at_all_is_everyone_and_none_is_a_room_of_that_name() -> None:
    """As in Node's server, and as the pages warn."""
    io = Server()
    async with TestServer(io) as server:
        client, socket = await pair(io, server)
        names: list[str] = []
        io.to(*names).emit("all")
        io.to(cast(str, None)).emit("none")
        await server.settle()
        assert client.received == [("all",)]
        socket.join("None")
        io.to(cast(str, None)).emit("none")
        await server.settle()
        assert client.received == [("all",), ("none",)]
