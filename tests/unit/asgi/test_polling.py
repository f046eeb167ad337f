"""Long-polling over ASGI: PROTOCOL.md's table, the bounds, and clients that vanish; on a clock that does not wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.asgi.polling import Echo, Poller

from shoal.testing import TestServer, async_test


@async_test
async def test_the_handshake_is_one_open_packet() -> None:
    """Exactly the five keys, the upgrades that there are, and headers that no cache keeps."""
    async with TestServer(Echo()) as server:
        poller = await Poller(server).open()
        assert poller.handshake.text[0] == "0"
        assert poller.handshake.headers["content-type"] == "text/plain; charset=UTF-8"
        assert poller.handshake.headers["cache-control"] == "no-store"
        assert '"upgrades":["websocket"]' in poller.handshake.text
    async with TestServer(Echo(allow_upgrades=False)) as server:
        assert '"upgrades":[]' in (await Poller(server).open()).handshake.text
    async with TestServer(Echo(transports="polling")) as server:
        assert '"upgrades":[]' in (await Poller(server).open()).handshake.text


@async_test
async def test_messages_go_both_ways_in_order() -> None:
    """A POST is answered `ok`; one GET takes all that waits, text and binary."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        response = await poller.post("4a", b"\x00", "4b")
        assert (response.status, response.text) == (200, "ok")
        assert await poller.get() == ["4a", b"\x00", "4b"]
        assert engine.got == ["a", b"\x00", "b"]


@async_test
async def test_a_waiting_poll_is_answered_by_what_is_sent() -> None:
    """And what is sent before the next one waits for it, in order."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        pending = poller.poll()
        await server.settle()
        assert not pending.done()
        session = engine.sessions[poller.sid]
        for number in range(3):
            session.send(str(number))
        assert Poller.packets(await pending) == ["40"]
        assert await poller.get() == ["41", "42"]


@async_test
async def test_the_heartbeat_goes_over_polling() -> None:
    """The ping answers the waiting GET; with pongs the session lives on, without it ends 45 s after the open packet."""
    engine = Echo(ping_interval=25, ping_timeout=20)
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        for _ in range(3):
            assert await poller.get() == ["2"]
            assert (await poller.post("3")).text == "ok"
        assert await poller.get() == ["2"]
        await server.clock.advance(19.8)
        assert engine.clients_count == 1
        await server.clock.advance(0.8)
        assert (await poller.request("GET")).status == 400
        assert engine.reasons == ["ping timeout"]


@async_test
async def test_a_late_request_finds_the_session_expired_before_the_wheel_comes_round() -> None:
    """Derived from the open packet: a GET at the deadline is refused, whatever the timer's resolution."""
    engine = Echo(ping_interval=0.3, ping_timeout=0.2)
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        await server.clock.advance(0.5)
        assert (await poller.request("GET")).json == {"code": 1, "message": "Session ID unknown"}
        assert engine.reasons == ["ping timeout"]
        assert engine.table.final_packets == {}  # nobody comes for a close packet


@async_test
async def test_two_polls_at_once_end_the_session() -> None:
    """The first gets the close packet, the second 400; the session is gone."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        first = poller.poll()
        await server.settle()
        second = await poller.request("GET")
        assert (await first).text == "1"
        assert second.status == 400
        assert (await poller.request("GET")).status == 400
        assert engine.reasons == ["transport error"]
        assert engine.stats.second_polls == 1


@async_test
async def test_two_posts_at_once_end_the_session() -> None:
    """They have no order. The second is refused while the first one's body is still on its way."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        go_on = asyncio.Event()
        answers: list[Any] = []

        async def slowly() -> Any:
            await go_on.wait()
            return {"type": "http.request", "body": b"4late", "more_body": False}

        async def collect(message: Any) -> None:
            answers.append(message)

        query = f"EIO=4&transport=polling&sid={poller.sid}".encode()
        scope = {"type": "http", "method": "POST", "path": "/engine.io/", "query_string": query, "headers": []}
        slow = asyncio.ensure_future(engine(scope, slowly, collect))
        await server.settle()
        assert (await poller.post("4b")).status == 400
        go_on.set()
        await slow
        assert answers[0]["status"] == 200
        assert engine.got == []
        assert engine.reasons == ["transport error"]


@pytest.mark.parametrize("body", [b"abc", b"", b"4a\x1e7", b"\xff", b"4a\x1eb!"])
def test_a_broken_payload_ends_the_session(body: bytes) -> None:
    """None of its packets is taken; the next GET is 400."""

    @async_test
    async def check() -> None:
        engine = Echo()
        async with TestServer(engine) as server:
            poller = await Poller(server).open()
            assert (await poller.request("POST", body)).status == 200
            assert (await poller.request("GET")).status == 400
            assert (engine.got, engine.reasons, engine.stats.broken) == ([], ["parse error"], 1)

    check()


@async_test
async def test_packets_behind_the_one_that_ends_the_session_are_not_taken() -> None:
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        await poller.post("4a", "1", "4b")
        assert engine.got == ["a"]
        assert engine.reasons == ["transport close"]


@async_test
async def test_a_client_that_closes_gets_a_noop() -> None:
    """The waiting GET only needs to end; a later one is 400."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        pending = poller.poll()
        await server.settle()
        await poller.post("1")
        assert (await pending).text == "6"
        assert (await poller.request("GET")).status == 400


class TestClose:
    """A session that the server closes while nobody polls keeps its last packets for a moment."""

    def test_the_next_poll_gets_what_waited_and_the_close_packet(self) -> None:
        @async_test
        async def check() -> None:
            engine = Echo()
            async with TestServer(engine) as server:
                poller = await Poller(server).open()
                session = engine.sessions[poller.sid]
                session.send("last")
                session.close()
                assert await poller.get() == ["4last", "1"]
                assert (await poller.request("GET")).status == 400
                assert engine.table.final_packets == {}

        check()

    def test_a_client_that_does_not_come_back_costs_nothing(self) -> None:
        @async_test
        async def check() -> None:
            engine = Echo(close_timeout=5)
            async with TestServer(engine) as server:
                poller = await Poller(server).open()
                engine.sessions[poller.sid].close()
                assert len(engine.table.final_packets) == 1
                await server.clock.advance(6)
                assert (engine.table.final_packets, len(engine.context.wheel)) == ({}, 0)

        check()


class TestBounds:
    def test_a_body_that_is_too_large_is_refused_while_it_arrives(self) -> None:
        """413 as soon as the bound is passed, and no more is read. The session lives."""

        @async_test
        async def check() -> None:
            engine = Echo(max_payload=1_000)
            async with TestServer(engine) as server:
                poller = await Poller(server).open()
                taken = 0
                sent: list[Any] = []

                async def endless() -> Any:
                    nonlocal taken
                    taken += 1
                    return {"type": "http.request", "body": b"4" * 300, "more_body": True}

                async def collect(message: Any) -> None:
                    sent.append(message)

                query = f"EIO=4&transport=polling&sid={poller.sid}".encode()
                scope = {"type": "http", "method": "POST", "path": "/engine.io/", "query_string": query, "headers": []}
                await engine(scope, endless, collect)
                assert (taken, sent[0]["status"]) == (4, 413)
                assert engine.stats.too_large == 1
                await poller.post("4" * 1_000)
                assert engine.got == ["4" * 999]

        check()

    def test_the_number_of_packets_is_bounded(self) -> None:
        @async_test
        async def check() -> None:
            engine = Echo(max_packets_per_poll=10)
            async with TestServer(engine) as server:
                good, bad = await Poller(server).open(), await Poller(server).open()
                await good.post(*["4a"] * 10)
                await bad.post(*["4b"] * 11)
                assert engine.got == ["a"] * 10
                assert (await bad.request("GET")).status == 400
                assert await good.get() == ["4a"] * 10

        check()

    def test_a_client_that_never_polls_is_cut_off(self) -> None:
        """Its outbox has a bound; another client's messages go on."""

        @async_test
        async def check() -> None:
            engine = Echo(max_outbox=10_000)
            async with TestServer(engine) as server:
                good, bad = await Poller(server).open(), await Poller(server).open()
                for number in range(12):
                    engine.sessions[good.sid].send(f"{number}" + "x" * 1_000)
                    if bad.sid in engine.sessions:
                        engine.sessions[bad.sid].send("x" * 1_000)
                    assert len(await good.get()) == 1
                    await server.settle()
                assert engine.reasons == ["transport error"]
                assert engine.outbox_stats.overflows == 1
                assert (await bad.request("GET")).status == 400

        check()


@async_test
async def test_a_client_that_vanishes_while_it_polls_is_noticed() -> None:
    """After a second the server watches for http.disconnect; the session then ends at once, not by ping timeout."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        gone: asyncio.Event = asyncio.Event()

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def ignore(message: Any) -> None:
            pass

        query = f"EIO=4&transport=polling&sid={poller.sid}".encode()
        scope = {"type": "http", "method": "GET", "path": "/engine.io/", "query_string": query, "headers": []}
        poll = asyncio.ensure_future(engine(scope, receive, ignore))
        await server.clock.advance(5)
        assert engine.clients_count == 1
        gone.set()
        await server.settle()
        assert engine.reasons == ["transport close"]
        await poll


@async_test
async def test_nobody_watches_a_client_whose_poll_is_answered() -> None:
    """The task that waited for its departure ends with the poll."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def ignore(message: Any) -> None:
            pass

        query = f"EIO=4&transport=polling&sid={poller.sid}".encode()
        scope = {"type": "http", "method": "GET", "path": "/engine.io/", "query_string": query, "headers": []}
        poll = asyncio.ensure_future(engine(scope, receive, ignore))
        await server.clock.advance(5)
        assert len(engine.context.tasks) == 1
        engine.sessions[poller.sid].send("a")
        await poll
        await server.settle()
        assert len(engine.context.tasks) == 0


@async_test
async def test_a_client_that_leaves_in_the_middle_of_a_body_ends_its_session() -> None:
    """What it had sent is not handled, and nothing is answered."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        parts = [{"type": "http.request", "body": b"4half", "more_body": True}, {"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return parts.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        query = f"EIO=4&transport=polling&sid={poller.sid}".encode()
        scope = {"type": "http", "method": "POST", "path": "/engine.io/", "query_string": query, "headers": []}
        await engine(scope, receive, send)
        assert (engine.got, engine.reasons, sent) == ([], ["transport error"], [])
        assert engine.table.final_packets == {}


@async_test
async def test_a_poll_that_the_server_program_cancels_can_be_repeated() -> None:
    """Some servers cancel the application of a client that left: what waits is kept for the next poll."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        pending = poller.poll()
        await server.settle()
        pending.cancel()
        await server.settle()
        engine.sessions[poller.sid].send("kept")
        assert await poller.get() == ["4kept"]
        pending = poller.poll()
        await server.settle()
        pending.cancel()
        await server.settle()
        again = poller.poll()
        await server.settle()
        assert not again.done()  # it is no second poll at once
        engine.sessions[poller.sid].send("at once")
        assert Poller.packets(await again) == ["4at once"]


@async_test
async def test_while_reading_is_paused_a_post_waits() -> None:
    """Back-pressure reaches the client: its POST is answered when the server goes on."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        session = engine.sessions[poller.sid]
        session.pause_reading()
        post = asyncio.ensure_future(poller.post("4a"))
        await server.settle()
        assert engine.got == []
        session.resume_reading()
        assert (await post).text == "ok"
        assert engine.got == ["a"]


@async_test
async def test_a_session_that_is_paused_is_not_timed_out_for_it() -> None:
    """The pong is among what was not read; it gets its time anew when reading goes on."""
    engine = Echo(ping_interval=10, ping_timeout=5)
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        session = engine.sessions[poller.sid]
        assert await poller.get() == ["2"]
        session.pause_reading()
        post = asyncio.ensure_future(poller.post("3"))
        await server.clock.advance(60)
        assert engine.clients_count == 1
        session.resume_reading()
        await post
        await server.clock.advance(7)
        assert engine.clients_count == 1
        await server.clock.advance(20)
        assert engine.reasons == ["ping timeout"]
