"""What handlers hold: emitting, rooms, the socket's own listeners, its data, and the ways to send it away."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.internals import outgoing, rooms
from tests.unit.fuzz import RESERVED, examples

from shoal import AckTimeout, Broadcast, Namespace, PayloadError, Server, Socket
from shoal.errors import RoomRefused, SocketProtocolError
from shoal.testing import TestClient, TestServer, async_test, run


async def pair(io: Server, server: TestServer) -> tuple[TestClient, Socket]:
    client = await server.connect()
    return client, io.sockets[client.id]


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

    @async_test
    async def test_a_failing_room_handler_hurts_nobody(self) -> None:
        io = Server()
        io.on("join_room")(lambda room, sid: 1 / 0)
        async with TestServer(io) as server:
            _, socket = await pair(io, server)
            await socket.join("a")
            assert socket.rooms == {socket.id, "a"}
            assert io.stats.handler_errors > 0


def refuse(event: str, *args: Any) -> None:
    raise PermissionError(f"not {event}")


class TestOwnListeners:
    @async_test
    async def test_on_once_and_off(self) -> None:
        """The arguments are the event's, without the socket; what they return is the ack."""
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            log: list[Any] = []

            @socket.on("x")
            def first(a: int) -> str:
                log.append(("first", a))
                return "first"

            @socket.on("x")
            async def second(a: int) -> None:
                await asyncio.sleep(0.1)
                log.append(("second", a))

            socket.once("x", lambda a: log.append(("once", a)))
            assert await client.call("x", 1) == "first"
            await server.clock.advance(1)
            assert log == [("first", 1), ("second", 1), ("once", 1)]
            socket.off("x", first)
            log.clear()
            await client.emit("x", 2)
            await server.clock.advance(1)
            assert log == [("second", 2)]
            socket.off("x")
            socket.off("never")
            await client.emit("x", 3)
            await server.clock.advance(1)
            assert log == [("second", 2)]

    @async_test
    async def test_once_is_once_even_in_a_burst(self) -> None:
        io = Server()
        log: list[int] = []
        async with TestServer(io) as server:
            client, socket = await pair(io, server)

            @socket.once("x")
            async def x(a: int) -> None:
                await asyncio.sleep(1)
                log.append(a)

            for number in range(3):
                client.send("x", number)
            await server.clock.advance(10)
            assert log == [0]

    @async_test
    async def test_they_come_before_the_namespaces_handlers(self) -> None:
        """Both are called; the star is not, since there was a handler."""
        io = Server()
        log: list[str] = []
        io.on("x")(lambda socket: log.append("namespace"))
        io.on("*")(lambda socket, event: log.append("star"))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.on("x", lambda: log.append("socket"))
            socket.on("y", lambda: log.append("y"))
            for event in ("x", "y", "z"):
                await client.emit(event)
        assert log == ["socket", "namespace", "y", "star"]

    @async_test
    async def test_their_order_is_kept(self) -> None:
        """A socket with listeners of its own handles one event after another too."""
        io = Server()
        log: list[int] = []
        async with TestServer(io) as server:
            client, socket = await pair(io, server)

            @socket.on("x")
            async def x(number: int, seconds: float) -> None:
                await asyncio.sleep(seconds)
                log.append(number)

            for number, seconds in enumerate([3, 0, 1]):
                client.send("x", number, seconds)
            await server.clock.advance(10)
            assert log == [0, 1, 2]

    @async_test
    async def test_disconnect_is_told_to_them(self) -> None:
        io = Server()
        log: list[str] = []

        @io.on("connect")
        def connect(socket: Socket) -> None:
            socket.on("disconnecting", lambda reason: log.append(f"-ing {reason}"))
            socket.once("disconnect", log.append)

        async with TestServer(io) as server:
            client, _ = await pair(io, server)
            client.connection.drop()
            await server.settle()
        assert log == ["-ing transport close", "transport close"]

    @async_test
    async def test_middleware_sees_each_event_and_can_stop_it(self) -> None:
        """In order, before the handlers; what it raises is the event's error, and the next event comes through."""
        io = Server()
        log: list[Any] = []
        io.on("x")(lambda socket, a: log.append(("handled", a)))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)

            @socket.use
            async def first(event: str, *args: Any) -> None:
                await asyncio.sleep(0.1)
                log.append(("first", event, *args))

            @socket.use
            def second(event: str, *args: Any) -> None:
                if args == (1,):
                    raise ValueError("not this one")

            client.send("x", 1)
            client.send("x", 2)
            await server.clock.advance(1)
            assert log == [("first", "x", 1), ("first", "x", 2), ("handled", 2)]

    @async_test
    async def test_what_middleware_raises_is_told_to_the_handlers_of_error(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Those of the socket, then those of its namespace; it is then no failure, and the event gets no ack."""
        io = Server()
        log: list[Any] = []

        @io.on("error")
        async def on_error(socket: Socket, error: Exception) -> None:
            log.append(("namespace", socket.id, str(error)))

        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.use(refuse)
            socket.on("error", lambda error: log.append(("socket", str(error))))
            call = asyncio.ensure_future(client.call("x", timeout=1.0))
            await server.clock.advance(2)
            with pytest.raises(AckTimeout):
                await call
            assert log == [("socket", "not x"), ("namespace", socket.id, "not x")]
            assert io.stats.handler_errors == 0
            assert caplog.records == []

    @async_test
    async def test_without_a_handler_of_error_it_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.use(refuse)
            await client.emit("x")
            assert io.stats.handler_errors == 1
            assert "handler of 'x' failed" in caplog.text
            assert "not x" in caplog.text

    @async_test
    async def test_a_handler_of_error_that_fails_hurts_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        io = Server()
        log: list[int] = []
        io.on("y")(lambda socket, number: log.append(number))

        @io.on("error")
        def on_error(socket: Socket, error: Exception) -> None:
            raise RuntimeError("on purpose")

        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.use(lambda event, *args: refuse(event) if event == "x" else None)
            await client.emit("x")
            await client.emit("y", 1)
            assert log == [1]
            assert io.stats.handler_errors == 1
            assert "on purpose" in caplog.text

    @async_test
    async def test_an_ear_that_fails_is_no_middleware(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged as any handler is, and not told to the handlers of `error`."""
        io = Server()
        log: list[Any] = []
        io.on("error")(lambda socket, error: log.append(error))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.on_any(refuse)
            await client.emit("x")
            assert log == []
            assert io.stats.handler_errors == 1

    @async_test
    async def test_a_client_cannot_send_an_error(self) -> None:
        """Its event of that name goes to the star; those who wait for what middleware raised do not hear it."""
        io = Server()
        log: list[Any] = []
        io.on("error")(lambda socket, error: log.append(("namespace", error)))
        io.on("*")(lambda socket, event, *args: log.append(("star", event, *args)))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            await client.emit("error", 1)
            socket.on("error", lambda error: log.append(("socket", error)))
            await client.emit("error", 2)
            assert log == [("star", "error", 1), ("star", "error", 2)]

    @async_test
    async def test_a_broken_packet_is_told_to_the_handlers_of_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """Of every namespace that the client is in; behind its events, before it has left; one that fails is logged."""
        io = Server()
        log: list[Any] = []

        @io.on("x")
        async def x(socket: Socket, number: int) -> None:
            await asyncio.sleep(1)
            log.append(number)

        @io.on("error")
        def on_error(socket: Socket, error: Exception) -> None:
            log.append(type(error))
            raise RuntimeError("on purpose")

        io.on("disconnect")(lambda socket, reason: log.append(reason))
        io.of("/quiet")
        other = io.of("/other")
        async with TestServer(io) as server:
            client, _ = await pair(io, server)
            await client.enter("/quiet")
            elsewhere = await client.enter("/other")
            other.sockets[elsewhere.id].on("error", lambda error: log.append(("other", type(error))))
            client.send("x", 1)
            client.send("x", 2)
            client.connection.send("4nonsense")
            await server.clock.advance(5)
            assert log == [("other", SocketProtocolError), 1, 2, SocketProtocolError, "parse error"]
            assert io.stats.handler_errors == 1
            assert "on purpose" in caplog.text

    @async_test
    async def test_a_class_may_have_the_handler_of_error(self) -> None:
        io = Server()
        log: list[str] = []

        class Guarded(Namespace):
            def on_connect(self, socket: Socket) -> None:
                socket.use(refuse)

            def on_error(self, socket: Socket, error: Exception) -> None:
                log.append(str(error))

        io.of("/guarded", Guarded)
        async with TestServer(io) as server:
            client = await server.connect("/guarded")
            await client.emit("x")
            assert log == ["not x"]

    @async_test
    async def test_ears_for_everything_that_comes_and_goes(self) -> None:
        """on_any before the handlers, on_any_outgoing for direct emits and broadcasts; each can be taken back."""
        io = Server()
        log: list[Any] = []

        def outgoing(event: str, *args: Any) -> None:
            log.append(("out", event, *args))

        def incoming(event: str, *args: Any) -> None:
            log.append(("in", event, *args))

        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.on_any(incoming)
            socket.on_any_outgoing(outgoing)
            client.on("q", lambda: 1)
            await client.emit("x", 1)
            socket.emit("y", 2)
            await socket.call("q")
            io.emit("broadcast")
            assert log == [("in", "x", 1), ("out", "y", 2), ("out", "q"), ("out", "broadcast")]
            socket.off_any(incoming)
            socket.off_any_outgoing(outgoing)
            await client.emit("x")
            socket.emit("y")
            socket.on_any(incoming)
            socket.on_any_outgoing(outgoing)
            socket.off_any()
            socket.off_any_outgoing()
            await client.emit("x")
            socket.emit("y")
            io.emit("y")
            assert len(log) == 4

    @async_test
    async def test_an_outgoing_listener_that_raises_holds_nothing_up(self, caplog: pytest.LogCaptureFixture) -> None:
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            socket.on_any_outgoing(refuse)
            client.on("vote", lambda: 1)
            socket.emit("x", 1)
            assert await client.receive() == ("x", 1)
            assert await socket.call("vote") == 1
            assert io.stats.handler_errors == 2
        assert "a listener of outgoing events failed" in caplog.text

    @async_test
    async def test_a_concurrent_handler_of_its_own_does_not_hold_the_line(self) -> None:
        io = Server()
        gate, log = asyncio.Event(), list[str]()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)

            async def slow() -> str:
                await gate.wait()
                log.append("slow")
                return "done"

            socket.on("slow", slow, concurrent=True)
            socket.on("next", lambda: log.append("next"))
            answer = asyncio.create_task(client.call("slow"))
            await server.settle()
            await client.call("next")
            gate.set()
            assert await answer == "done"
            assert log == ["next", "slow"]

    @async_test
    async def test_broadcasts_are_told_to_those_alone_who_get_them(self, caplog: pytest.LogCaptureFixture) -> None:
        """By room, exception and call; not to who has left; and one that raises keeps nothing from anybody."""
        io = Server()
        log: list[Any] = []
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            other, other_socket = await pair(io, server)
            await socket.join("room")
            socket.on_any_outgoing(lambda *event: log.append(("one", *event)))
            other_socket.on_any_outgoing(lambda *event: log.append(("other", *event)))
            other_socket.on_any_outgoing(refuse)
            client.on("vote", lambda: 1)
            io.to("room").emit("to", 1)
            io.except_("room").emit("except", 2)
            io.to("nowhere").emit("nowhere")
            socket.broadcast.emit("others", 3)
            socket.volatile.emit("volatile", 4)
            answers = await io.to("room").call("vote")
            assert answers.responses == [1]
            assert log == [
                ("one", "to", 1),
                ("other", "except", 2),
                ("other", "others", 3),
                ("one", "volatile", 4),
                ("one", "vote"),
            ]
            await server.settle()
            assert other.received == [("except", 2), ("others", 3)]
            assert io.stats.handler_errors == 2
            assert "not except" in caplog.text
            await client.disconnect()
            socket.on_any_outgoing(lambda *event: log.append(event))
            await other.disconnect()
            io.emit("afterwards")
            assert len(log) == 5
            assert not outgoing(io.of("/"))


class TestItself:
    @async_test
    async def test_its_data_is_a_dict_of_its_own_until_something_else_is_put_there(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            _, one = await pair(io, server)
            _, two = await pair(io, server)
            one.data["a"] = 1
            assert (one.data, two.data) == ({"a": 1}, {})
            one.data = [1]
            assert one.data == [1]

    @async_test
    async def test_its_handshake_says_how_the_client_came_in(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client = await server.connect(headers={"X-A": "1"}, query={"q": "2"}, address="9.9.9.9")
            shake = io.sockets[client.id].handshake
            assert (shake.headers["x-a"], shake.query["q"], shake.address, shake.secure) == ("1", "2", "9.9.9.9", False)
            assert shake.url.startswith("/socket.io/?")
            assert shake.time.endswith("Z")
            assert abs(shake.issued - time.time()) < 60

    @async_test
    async def test_its_connection_tells_transport_and_what_waits(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            closed: list[str] = []
            socket.conn.on("close", closed.append)
            assert (socket.conn.transport, socket.conn.buffered) == ("websocket", 0)
            client.connection.drop()
            await server.settle()
            assert closed == ["transport close"]
            assert repr(socket) == f"<socket {socket.id} in />"

    @async_test
    async def test_sending_it_away_leaves_the_connection_for_other_namespaces(self) -> None:
        io = Server()
        io.of("/other")
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            other = await client.enter("/other")
            socket.emit("last")
            await socket.disconnect()
            socket.emit("never")
            assert await client.receive() == ("last",)
            assert await client.disconnected() == "io server disconnect"
            assert client.received == []
            assert other.connected

    @async_test
    async def test_closing_it_ends_the_connection_with_every_namespace(self) -> None:
        """What was emitted before still arrives, in every namespace."""
        io = Server()
        reasons: list[tuple[str, str]] = []
        for name in ("/", "/other"):
            io.of(name).on("disconnect")(lambda socket, reason: reasons.append((socket.namespace.name, reason)))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            other = await client.enter("/other")
            socket.emit("last")
            io.of("/other").emit("last too")
            await socket.disconnect(close=True)
            assert await client.receive() == ("last",)
            assert await other.receive() == ("last too",)
            assert await other.disconnected() in ("io server disconnect", "transport close")
            await server.settle()
            assert not client.connection.open
            assert dict(reasons).keys() == {"/", "/other"}
            assert len(reasons) == 2
