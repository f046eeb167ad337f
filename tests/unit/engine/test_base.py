"""The events of an engine and their listeners; what ends a session, and what it shows of itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.asgi.polling import Poller

from shoal import ConfigurationError, Engine
from shoal.engine.ids import new_session_id, new_socket_id, new_tag, tag_of
from shoal.testing import TestServer, async_test


class TestEvents:
    @async_test
    async def test_they_come_in_order(self) -> None:
        """connect, message, disconnect with Node's reason; a handler may be async."""
        engine = Engine()
        seen: list[Any] = []

        @engine.on("connect")
        def connect(session: Any) -> None:
            seen.append(("connect", session.transport))

        @engine.on("message")
        async def message(session: Any, data: Any) -> None:
            await asyncio.sleep(0)
            seen.append(data)

        @engine.on("disconnect")
        def disconnect(session: Any, reason: str) -> None:
            seen.append(reason)

        async with TestServer(engine) as server:
            connection = await server.open()
            connection.send("4a")
            await server.settle()
            connection.send("1")
            await server.settle()
        assert seen == [("connect", "websocket"), "a", "transport close"]

    @async_test
    async def test_headers_can_be_added(self) -> None:
        """initial_headers on the first answer, headers on each, on both transports; line breaks are not let through."""
        engine = Engine(cookie="io")
        engine.on("initial_headers")(lambda headers, request: headers.update({"X-First": "1", "X-Bad": "a\r\nb"}))
        engine.on("headers")(lambda headers, request: headers.update({"X-Each": "1"}))
        async with TestServer(engine) as server:
            poller = await Poller(server).open()
            assert poller.handshake.headers["x-first"] == poller.handshake.headers["x-each"] == "1"
            assert "x-bad" not in poller.handshake.headers
            assert poller.handshake.headers["set-cookie"].startswith(f"io={poller.sid};")
            await poller.post("4a")
            engine.sessions[poller.sid].send("a")
            response = await poller.request("GET")
            assert "x-first" not in response.headers
            assert response.headers["x-each"] == "1"
            connection = await server.open()
            assert connection.headers["x-first"] == connection.headers["x-each"] == "1"

    @async_test
    async def test_one_that_raises_hurts_nobody(
        self,
    ) -> None:
        engine = Engine()
        seen: list[Any] = []

        @engine.on("message")
        def broken(session: Any, data: Any) -> None:
            raise ZeroDivisionError

        @engine.on("message")
        async def broken_later(session: Any, data: Any) -> None:
            raise ZeroDivisionError

        engine.on("message")(lambda session, data: seen.append(data))
        async with TestServer(engine) as server:
            connection = await server.open()
            connection.send("4a")
            connection.send("4b")
            await server.settle()
            assert seen == ["a", "b"]

    def test_unknown_ones_are_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="unknown event 'mesage'"):
            Engine().on("mesage")

    @async_test
    async def test_they_can_be_taken_back(self) -> None:
        engine = Engine()
        seen: list[str] = []

        def one(session: Any, data: str) -> None:
            seen.append("one")

        def two(session: Any, data: str) -> None:
            seen.append("two")

        engine.on("message")(one)
        engine.on("message")(two)
        engine.off("message", one)
        async with TestServer(engine) as server:
            connection = await server.open()
            connection.send("4a")
            await server.settle()
            engine.off("message")
            connection.send("4a")
            await server.settle()
        assert seen == ["two"]
        engine.off("message")


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ("1", "transport close"),
        ("2", "transport error"),
        ("x", "parse error"),
        ("", "parse error"),
        ("7", "parse error"),
    ],
)
def test_a_packet_that_ends_a_session(packet: str, reason: str) -> None:
    """With Node's reasons; packets that mean nothing here are ignored."""

    @async_test
    async def check() -> None:
        engine = Engine()
        reasons: list[str] = []
        engine.on("disconnect")(lambda session, why: reasons.append(why))
        async with TestServer(engine) as server:
            connection = await server.open()
            for ignored in ("0", "5", "6", "3", "3probe"):
                connection.send(ignored)
            await server.settle()
            assert reasons == []
            connection.send(packet)
            await connection.closed()
        assert reasons == [reason]

    check()


@async_test
async def test_a_message_that_is_no_utf8_closes_the_websocket_with_1007() -> None:
    """A lone surrogate, which an ASGI server that decodes leniently may hand over."""
    engine = Engine()
    async with TestServer(engine) as server:
        connection = await server.open()
        connection.send("4\ud800")
        assert await connection.closed() == 1007
        assert engine.sessions == {}


@async_test
async def test_a_message_beyond_max_payload_closes_the_websocket_with_1009() -> None:
    """Text and binary; as large as the bound is let through, and another client's messages go on."""
    engine = Engine(max_payload=100)
    got: list[Any] = []
    engine.on("message")(lambda session, data: got.append(len(data)))
    async with TestServer(engine) as server:
        other = await server.open()
        for large in ("4" + "x" * 100, b"x" * 101, "4" + "é" * 50):
            connection = await server.open()
            connection.send("4" + "x" * 99)
            connection.send(b"x" * 100)
            connection.send(large)
            assert await connection.closed() == 1009
            other.send("4ok")
            await server.settle()
        assert got == [99, 100, 2] * 3
        assert engine.stats.too_large == 3


@async_test
async def test_a_client_that_does_not_read_is_cut_off_at_the_bound() -> None:
    """The other client reads on."""
    engine = Engine(max_outbox=50_000)
    reasons: list[str] = []
    engine.on("disconnect")(lambda session, reason: reasons.append(reason))
    async with TestServer(engine) as server:
        good, bad = await server.open(), await server.open()
        bad.pause()
        for number in range(30):
            for session in list(engine.sessions.values()):
                session.send(f"{number}" + "x" * 5_000)
            await server.settle()
        assert reasons == ["transport error"]
        assert engine.outbox_stats.overflows == 1
        assert [(await good.receive())[:3] for _ in range(30)][-1] == "429"


@async_test
async def test_closing_the_engine_closes_every_session() -> None:
    """What was sent before arrives first; nothing is left in the wheel."""
    engine = Engine()
    reasons: list[str] = []
    engine.on("disconnect")(lambda session, reason: reasons.append(reason))
    async with TestServer(engine) as server:
        connection, poller = await server.open(), await Poller(server).open()
        pending = poller.poll()
        await server.settle()
        for session in engine.sessions.values():
            if session.transport == "websocket":
                session.send("last")
        await engine.close()
        assert await connection.receive() == "4last"
        assert await connection.closed() == 1000
        assert (await pending).text == "1"
        assert reasons == ["server shutting down"] * 2
        await server.settle()
        assert len(engine.context.wheel) == 0
        assert (await server.open()).open  # and it can be used again


@async_test
async def test_a_session_shows_what_it_is() -> None:
    """Its listeners are called once at its end; after it, sending and closing do nothing."""
    engine = Engine()
    async with TestServer(engine) as server:
        connection = await server.open()
        [session] = engine.sessions.values()
        assert session.id == connection.handshake["sid"]
        assert connection.handshake["upgrades"] == []
        assert (session.transport, session.open, session.buffered) == ("websocket", True, 0)
        closed: list[str] = []
        session.on("close")(closed.append)
        session.close("enough")
        session.close("again")
        session.send("late")
        assert closed == ["enough"]
        assert not session.open
        await connection.closed()


def test_ids_begin_with_their_nodes_tag_and_never_repeat() -> None:
    """A session's id holds 128 random bits, a socket's has the 20 characters that peers expect."""
    tag = new_tag()
    sessions = {new_session_id(tag) for _ in range(1_000)}
    sockets = {new_socket_id(tag) for _ in range(1_000)}
    assert len(sessions) == len(sockets) == 1_000
    assert {len(sid) for sid in sockets} == {20}
    assert {len(sid) for sid in sessions} == {6 + 22}
    assert {tag_of(each) for each in sessions | sockets} == {tag}
    assert len({new_tag() for _ in range(1_000)}) == 1_000


@async_test
async def test_a_listener_of_a_session_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The others are called all the same."""
    engine = Engine()
    closed: list[str] = []

    def broken(reason: str) -> None:
        raise ZeroDivisionError

    async with TestServer(engine) as server:
        await server.open()
        [session] = engine.sessions.values()
        session.on("close", broken)
        session.on("close", closed.append)
        session.close("enough")
    assert closed == ["enough"]
    assert "a listener of 'close' failed" in caplog.text
