"""What every Engine.IO v4 endpoint does, Socket.IO's included: handshake, heartbeat, closing, upgrade.

Each class is a contract. A test module makes it real by inheriting it and providing the fixture `endpoint`. The
servers behind announce a ping interval of 300 ms, a ping timeout of a second unless the class says otherwise, and a
maximum payload of 1,000,000 bytes.
"""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from tests.interop.wire import POLLING, WEBSOCKET, Client, Endpoint, case, client, parse_open
from tests.servers import stricter

HANDSHAKE_KEYS = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}


def is_handshake(handshake: dict[str, object], upgrades: list[str], ping_timeout: int) -> None:
    """Assert that an OPEN packet holds exactly what the protocol names."""
    assert set(handshake) == HANDSHAKE_KEYS
    assert isinstance(handshake["sid"], str)
    assert handshake["sid"]
    assert handshake["upgrades"] == upgrades
    assert (handshake["pingInterval"], handshake["pingTimeout"]) == (300, ping_timeout)
    assert isinstance(handshake["pingInterval"], int)
    assert isinstance(handshake["pingTimeout"], int)
    assert handshake["maxPayload"] == 1_000_000


async def is_gone(someone: Client, sid: str) -> None:
    """Assert that the server no longer knows the session."""
    assert (await someone.poll(sid)).status_code == 400


class Handshake:
    """Opening a session, and every way of asking wrongly."""

    ping_timeout = 1000  # milliseconds

    @case
    async def test_polling_opens_a_session(self, endpoint: Endpoint) -> None:
        """The first GET is answered with the OPEN packet, alone."""
        async with client(endpoint) as someone:
            response = await someone.get(POLLING)
            assert response.status_code == 200
            is_handshake(parse_open(response.text), ["websocket"], self.ping_timeout)
            assert response.headers["content-type"].lower().replace(" ", "") == "text/plain;charset=utf-8"
            assert response.headers["cache-control"] == "no-store"

    @case
    async def test_session_ids_differ(self, endpoint: Endpoint) -> None:
        """No two sessions share an id."""
        async with client(endpoint) as someone:
            assert len({await someone.open() for _ in range(20)}) == 20

    @pytest.mark.parametrize("query", ["transport=polling", "EIO=abc&transport=polling", "EIO=3&transport=polling"])
    @case
    async def test_polling_refuses_another_protocol_version(self, endpoint: Endpoint, query: str) -> None:
        """A missing or foreign EIO is answered with 400, code 5."""
        async with client(endpoint) as someone:
            response = await someone.get(query)
            assert response.status_code == 400
            assert response.json() == {"code": 5, "message": "Unsupported protocol version"}

    @pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=abc", "EIO=4&transport="])
    @case
    async def test_polling_refuses_another_transport(self, endpoint: Endpoint, query: str) -> None:
        """A missing or unknown transport is answered with 400, code 0; none is assumed."""
        async with client(endpoint) as someone:
            response = await someone.get(query)
            assert response.status_code == 400
            assert response.json() == {"code": 0, "message": "Transport unknown"}

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    @case
    async def test_a_session_opens_with_get_alone(self, endpoint: Endpoint, method: str) -> None:
        """A POST or PUT without sid is a bad handshake: 400, code 2."""
        async with client(endpoint) as someone:
            response = await someone.http.request(method, endpoint.http(POLLING))
            assert response.status_code == 400
            assert response.json() == {"code": 2, "message": "Bad handshake method"}

    @case
    async def test_an_unknown_session_is_refused(self, endpoint: Endpoint) -> None:
        """A sid that was never given out is answered with 400, code 1, by both methods."""
        async with client(endpoint) as someone:
            for response in (await someone.poll("nobody"), await someone.push("nobody", "4hello")):
                assert response.status_code == 400
                assert response.json() == {"code": 1, "message": "Session ID unknown"}

    @case
    async def test_websocket_transport_needs_an_upgrade(self, endpoint: Endpoint) -> None:
        """A plain GET that asks for the websocket transport is answered with 400, code 3."""
        async with client(endpoint) as someone:
            response = await someone.get(WEBSOCKET)
            assert response.status_code == 400
            assert response.json() == {"code": 3, "message": "Bad request"}

    @case
    async def test_websocket_opens_a_session(self, endpoint: Endpoint) -> None:
        """The first frame is the OPEN packet, with nothing to upgrade to."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            is_handshake(await frames.open_packet(), [], self.ping_timeout)

    @stricter("Node switches protocols first and writes its HTTP refusal into the open WebSocket")
    @pytest.mark.parametrize(
        "query", ["transport=websocket", "EIO=abc&transport=websocket", "EIO=3&transport=websocket"]
    )
    @case
    async def test_websocket_refuses_another_protocol_version(self, endpoint: Endpoint, query: str) -> None:
        """A WebSocket with a missing or foreign EIO is refused before it opens."""
        async with client(endpoint) as someone:
            assert 400 <= await someone.refused(query) < 500

    @pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=abc"])
    @case
    async def test_websocket_refuses_another_transport(self, endpoint: Endpoint, query: str) -> None:
        """A WebSocket with a missing or unknown transport is refused before it opens."""
        async with client(endpoint) as someone:
            assert 400 <= await someone.refused(query) < 500

    @case
    async def test_the_path_ends_with_a_slash(self, endpoint: Endpoint) -> None:
        """The path without its slash is somebody else's: 404."""
        async with client(endpoint) as someone:
            response = await someone.http.get(endpoint.http(POLLING).replace("/?", "?"))
            assert response.status_code == 404


class Heartbeat:
    """The server pings, the client answers, and silence ends the session."""

    @case
    async def test_polling_pings_and_pongs(self, endpoint: Endpoint) -> None:
        """A waiting GET returns the ping alone, three times over."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            for _ in range(3):
                response = await someone.poll(sid)
                assert (response.status_code, response.text) == (200, "2")
                answer = await someone.push(sid, "3")
                assert (answer.status_code, answer.text) == (200, "ok")

    @case
    async def test_websocket_pings_and_pongs(self, endpoint: Endpoint) -> None:
        """The ping comes as a frame, three times over."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            await frames.open_packet()
            for _ in range(3):
                await frames.ping()
                await frames.send("3")

    @case
    async def test_polling_session_dies_in_silence(self, endpoint: Endpoint) -> None:
        """1.3 seconds after the OPEN packet, to the millisecond, a session without pong is gone.

        Eight sessions, opened one after another, because the margin is the time of one request.
        """
        async with client(endpoint) as someone:

            async def one() -> int:
                sid = await someone.open()
                opened = time.monotonic()
                await asyncio.sleep(1.3 - (time.monotonic() - opened))
                return (await someone.poll(sid)).status_code

            await someone.open()  # the connection is warm
            pending = []
            for _ in range(8):
                pending.append(asyncio.create_task(one()))
                await asyncio.sleep(0.02)
            assert await asyncio.gather(*pending) == [400] * 8

    @case
    async def test_websocket_session_dies_in_silence(self, endpoint: Endpoint) -> None:
        """A WebSocket without pong is closed after ping interval and ping timeout, and no sooner."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            await frames.open_packet()
            opened = time.monotonic()
            assert await frames.closed(5.0) == ["2"]
            assert 1.25 < time.monotonic() - opened < 4.0


class Closing:
    """The client says goodbye."""

    @case
    async def test_polling_client_closes(self, endpoint: Endpoint) -> None:
        """A waiting GET is released with a noop, and the session is gone."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            waiting = asyncio.create_task(someone.poll_past_pings(sid))
            await asyncio.sleep(0.02)  # the GET must be there first; the other order is also legal
            assert (await someone.push(sid, "1")).status_code == 200
            assert await waiting == (200, "6")
            await is_gone(someone, sid)

    @stricter("Node leaves it to the ping timeout")
    @case
    async def test_websocket_client_closes(self, endpoint: Endpoint) -> None:
        """The server closes the connection in answer."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            await frames.open_packet()
            await frames.send("1")
            assert await frames.closed_though_ponging() == []

    @case
    async def test_a_dropped_websocket_ends_the_session(self, endpoint: Endpoint) -> None:
        """A client that closes the WebSocket itself leaves no session behind."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            sid = (await frames.open_packet())["sid"]
            await frames.close()
            await is_gone(someone, sid)


class Upgrade:
    """From long-polling to WebSocket, on a session that lives on."""

    @case
    async def test_a_waiting_poll_is_released(self, endpoint: Endpoint) -> None:
        """The probe is answered, and the GET that waits gets a noop, so that the client can switch."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            waiting = asyncio.create_task(someone.poll_past_pings(sid))
            await asyncio.sleep(0.02)
            frames = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            await frames.send("2probe")
            assert await frames.next() == "3probe"
            assert await waiting == (200, "6")

    @case
    async def test_a_poll_after_the_probe_is_released(self, endpoint: Endpoint) -> None:
        """A GET that arrives between probe and upgrade gets a noop as well."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            frames = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            await frames.send("2probe")
            assert await frames.next() == "3probe"
            assert await someone.poll_past_pings(sid) == (200, "6")

    @case
    async def test_polling_ends_with_the_upgrade(self, endpoint: Endpoint) -> None:
        """After probe and upgrade, sent back to back, a GET is refused and the WebSocket goes on."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            frames = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            await frames.send("2probe")
            await frames.send("5")
            assert await frames.next() == "3probe"
            await is_gone(someone, sid)
            await frames.ping()

    @case
    async def test_a_second_websocket_is_accepted_and_closed(self, endpoint: Endpoint) -> None:
        """After the upgrade another WebSocket of the same session opens and is closed; the first goes on."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            first = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            await first.send("2probe")
            await first.send("5")
            assert await first.next() == "3probe"
            second = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            assert await second.closed() == []
            await first.ping()
            await first.send("3")
            await first.ping()

    @case
    async def test_an_unknown_session_cannot_upgrade(self, endpoint: Endpoint) -> None:
        """A WebSocket with a sid that was never given out gets nowhere."""
        async with client(endpoint) as someone:
            assert 400 <= await someone.refused(f"{WEBSOCKET}&sid=nobody") < 500

    @case
    async def test_two_sessions_do_not_meet(self, endpoint: Endpoint) -> None:
        """While one session upgrades, another one's poll keeps waiting for its own ping."""
        async with client(endpoint) as someone:
            upgrading, other = await someone.open(), await someone.open()
            waiting = asyncio.create_task(someone.poll(other))
            frames = await someone.websocket(f"{WEBSOCKET}&sid={upgrading}")
            await frames.send("2probe")
            assert await frames.next() == "3probe"
            response: httpx.Response = await waiting
            assert (response.status_code, response.text) == (200, "2")
