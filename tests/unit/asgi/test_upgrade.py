"""A session moves from polling to a WebSocket: nothing is lost or doubled, and a wrong step harms no session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.asgi.polling import Echo, Poller

from shoal.errors import ConnectionRefused
from shoal.testing import TestServer, async_test


@async_test
async def test_the_steps_of_an_upgrade() -> None:
    """Probe, noop for the waiting poll, upgrade; then the next frame is the message, and the polls are refused."""
    engine = Echo()
    upgraded: list[str] = []
    engine.on("connect")(lambda session: session.on("upgrade", upgraded.append))
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        pending = poller.poll()
        await server.settle()
        ws = await poller.upgrade()
        ws.send("2probe")
        assert (await pending).text == "6"
        assert ws.received == ["3probe"]
        assert await poller.get() == ["6"]
        ws.send("5")
        ws.send("4hello")
        ws.send(b"\x01")
        await server.settle()
        assert ws.received == ["3probe", "4hello", b"\x01"]
        assert upgraded == ["websocket"]
        assert engine.sessions[poller.sid].transport == "websocket"
        assert (await poller.request("GET")).status == 400
        await ws.socket.end()
    assert engine.reasons == ["transport close"]


@async_test
async def test_nothing_is_lost_or_doubled_on_the_way() -> None:
    """Messages sent at every step arrive once and in order, over the poll or over the WebSocket."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        session = engine.sessions[poller.sid]
        counter = iter(range(100))

        def send() -> None:
            session.send(str(next(counter)))

        send()
        polled = await poller.get()
        send()
        ws = await poller.upgrade()
        send()
        ws.send("2probe")
        await server.settle()
        send()
        polled += await poller.get()
        send()
        ws.send("5")
        send()
        await server.settle()
        send()
        await server.settle()
        over_ws = [packet for packet in ws.received if packet != "3probe"]
        assert [packet for packet in polled if packet != "6"] + over_ws == [f"4{n}" for n in range(next(counter))]
        await ws.socket.end()


@async_test
async def test_a_probe_is_answered_before_a_request_that_comes_later() -> None:
    """The answer does not wait for its turn to be written."""
    async with TestServer(Echo()) as server:
        poller = await Poller(server).open()
        ws = await poller.upgrade()
        ws.send("2probe")
        ws.send("5")
        assert (await poller.request("GET")).status == 400
        assert ws.received == ["3probe"]
        await ws.socket.end()


@async_test
async def test_a_poll_that_waits_is_let_go_soon_after_the_probe() -> None:
    """Not at once: the packet that ends polling may be on its way. So with a poll that comes after the probe."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        ws = await poller.upgrade()
        pending = poller.poll()
        await server.clock.advance(0.06)
        assert not pending.done()  # no probe yet: the client does not upgrade yet
        ws.send("2probe")
        await server.settle()
        for _ in range(2):
            assert not pending.done()
            await server.clock.advance(0.06)
            assert (await pending).text == "6"
            pending = poller.poll()
            await server.settle()
        engine.sessions[poller.sid].send("a")
        assert (await pending).text == "4a"
        ws.send("5")
        await server.settle()
        await ws.socket.end()


@async_test
async def test_a_poll_that_waits_at_the_upgrade_comes_too_late() -> None:
    """Its client sent it while the last packets of polling were on their way: it is refused like those that follow."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        ws = await poller.upgrade()
        pending = poller.poll()
        await server.settle()
        ws.send("2probe")
        ws.send("5")
        ws.send("4a")
        refused = await pending
        assert (refused.status, refused.json) == (400, {"code": 3, "message": "Bad request"})
        await server.settle()
        assert ws.received == ["3probe", "4a"]
        await ws.socket.end()


@pytest.mark.parametrize("wrong", ["4early", "3probe", "2", "5", "", "x"])
def test_a_wrong_first_packet_leaves_the_session_on_polling(wrong: str) -> None:
    """The WebSocket is closed. `5` without a probe counts as an upgrade, as in Node."""

    @async_test
    async def check() -> None:
        engine = Echo()
        async with TestServer(engine) as server:
            poller = await Poller(server).open()
            ws = await poller.upgrade()
            ws.send(wrong)
            await server.settle()
            if wrong == "5":
                assert engine.sessions[poller.sid].transport == "websocket"
                await ws.socket.end()
                return
            assert ws.codes == [1000]
            await poller.post("4a")
            assert await poller.get() == ["4a"]
            again = await poller.upgrade()
            again.send("2probe")
            await server.settle()
            assert again.received == ["3probe"]
            await again.socket.end()

    check()


@async_test
async def test_a_websocket_that_is_lost_while_it_probes_leaves_the_session_alone() -> None:
    """Polling goes on, polls wait again, and another attempt may be made."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        ws = await poller.upgrade()
        ws.send("2probe")
        await server.settle()
        await ws.socket.end()
        pending = poller.poll()
        await server.settle()
        assert not pending.done()
        engine.sessions[poller.sid].send("a")
        assert (await pending).text == "4a"
        assert engine.reasons == []


@async_test
async def test_an_upgrade_that_takes_too_long_is_given_up() -> None:
    """The WebSocket is closed after upgrade_timeout; the session stays."""
    engine = Echo(upgrade_timeout=3)
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        ws = await poller.upgrade()
        ws.send("2probe")
        await server.clock.advance(4)
        assert ws.codes == [1000]
        assert engine.stats.upgrade_timeouts == 1
        await poller.post("4a")
        assert await poller.get() == ["4a"]


@async_test
async def test_a_second_websocket_is_accepted_and_closed() -> None:
    """While one probes, and after the upgrade; the first one goes on working."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        first = await poller.upgrade()
        second = await poller.upgrade()
        await server.settle()
        assert second.codes == [1000]
        first.send("2probe")
        first.send("5")
        await server.settle()
        third = await poller.upgrade()
        first.send("4still here")
        await server.settle()
        assert third.codes == [1000]
        assert first.received[-1] == "4still here"
        await first.socket.end()


@async_test
async def test_an_upgrade_of_nothing_is_refused() -> None:
    """An unknown session, or a server that allows none: an HTTP status with Node's code."""
    async with TestServer(Echo()) as server:
        poller = Poller(server)
        poller.sid = "guessed"
        with pytest.raises(ConnectionRefused) as caught:
            await poller.upgrade()
        assert caught.value.data == {"status": 400, "code": 1}
    async with TestServer(Echo(allow_upgrades=False)) as server:
        poller = await Poller(server).open()
        with pytest.raises(ConnectionRefused) as caught:
            await poller.upgrade()
        assert caught.value.data == {"status": 400, "code": 3}


@async_test
async def test_a_session_that_ends_while_a_websocket_probes_ends_both() -> None:
    """The close packet waits for the next poll; the WebSocket is closed when it sends something."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        ws = await poller.upgrade()
        ws.send("2probe")
        await server.settle()
        engine.sessions[poller.sid].close()
        ws.send("5")
        await server.settle()
        assert ws.codes == [1000]
        assert await poller.get() == ["1"]


@async_test
async def test_the_application_is_not_asked_twice() -> None:
    """Its decision was about the session, not about how it is carried."""
    engine = Echo()
    asked: list[Any] = []
    engine.allow_request = asked.append
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        ws = await poller.upgrade()
        assert len(asked) == 1
        await ws.socket.end()


@async_test
async def test_a_pause_in_reading_survives_the_upgrade() -> None:
    """The bound that stopped reading holds on the new transport too."""
    engine = Echo()
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        session = engine.sessions[poller.sid]
        session.pause_reading()
        ws = await poller.upgrade()
        for packet in ("2probe", "5", "4a", "4b"):
            ws.send(packet)
        await server.settle()
        assert len(engine.got) <= 1  # the one that was read already
        session.resume_reading()
        await server.settle()
        assert engine.got == ["a", "b"]
        await ws.socket.end()


@async_test
async def test_a_body_that_is_held_back_at_the_upgrade_is_refused() -> None:
    """Its rest is not handled any more, and its client gets 400; nothing waits for ever."""
    engine = Echo(max_waiting_events=2)
    gate = asyncio.Event()

    async def wait(session: Any, data: str) -> None:
        await gate.wait()

    engine.on("message")(wait)
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        post = asyncio.create_task(poller.request("POST", "\x1e".join(f"4{n}" for n in range(10)).encode()))
        await server.settle()
        assert not post.done()
        ws = await poller.upgrade()
        for packet in ("2probe", "5"):
            ws.send(packet)
        await server.settle()
        assert (await post).status == 400
        gate.set()
        await server.settle()
        assert len(engine.got) < 10
        await ws.socket.end()


@async_test
async def test_a_body_that_takes_too_long_ends_its_session() -> None:
    """Behind it no pong would come in time."""
    engine = Echo(ping_interval=2, ping_timeout=1)
    async with TestServer(engine) as server:
        poller = await Poller(server).open()
        responses: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            responses.append(message)

        scope = {"type": "http", "method": "POST", "path": server.path, "headers": [], "client": None, "scheme": "http"}
        query = f"EIO=4&transport=polling&sid={poller.sid}".encode()
        request = asyncio.create_task(engine({**scope, "query_string": query}, receive, send))
        await server.clock.advance(3.5)
        await request
        assert responses[0]["status"] == 408
        assert engine.sessions == {}
