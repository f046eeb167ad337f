"""Engine.IO v4 to the letter, against `Engine`: the contracts of every endpoint, and an echo's way with messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.interop.contracts import Closing, Handshake, Heartbeat, Upgrade, is_gone
from tests.interop.wire import WEBSOCKET, Endpoint, case, client
from tests.servers import lanes, serving, tracebacks

SEPARATOR = "\x1e"


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn"))
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    with serving("engine_echo:engine", request.param) as server:
        yield Endpoint(server.port, "/engine.io/")
    assert not tracebacks(server.final_log), server.final_log


class TestHandshake(Handshake):
    pass


class TestHeartbeat(Heartbeat):
    pass


class TestClosing(Closing):
    pass


class TestUpgrade(Upgrade):
    @case
    async def test_the_session_goes_on_over_the_websocket(self, endpoint: Endpoint) -> None:
        """After the upgrade the echo comes over the WebSocket, with no noop before it."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            frames = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            await frames.send("2probe")
            assert await frames.next() == "3probe"
            assert await someone.poll_past_pings(sid) == (200, "6")
            await frames.send("5")
            await frames.send("4hello")
            assert await frames.next() == "4hello"

    @case
    async def test_what_was_queued_crosses_over(self, endpoint: Endpoint) -> None:
        """Messages that waited for a poll when the client switched come over the WebSocket, in order."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            frames = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            await frames.send("2probe")
            assert await frames.next() == "3probe"
            assert (await someone.push(sid, SEPARATOR.join(["4one", "4two", "bAQID"]))).text == "ok"
            await frames.send("5")
            assert [await frames.next() for _ in range(3)] == ["4one", "4two", b"\x01\x02\x03"]

    @case
    async def test_a_failed_probe_leaves_polling_alone(self, endpoint: Endpoint) -> None:
        """A WebSocket that says something else than the probe is dropped; polling goes on."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            frames = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            await frames.send("4hello")
            assert await frames.closed() == []
            await someone.push(sid, "4still here")
            assert await someone.poll_past_pings(sid) == (200, "4still here")

    @case
    async def test_an_abandoned_upgrade_leaves_polling_alone(self, endpoint: Endpoint) -> None:
        """A WebSocket that goes away after the probe costs nothing; polling goes on."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            frames = await someone.websocket(f"{WEBSOCKET}&sid={sid}")
            await frames.send("2probe")
            assert await frames.next() == "3probe"
            await frames.close()
            await someone.push(sid, "4still here")
            if (answer := await someone.poll_past_pings(sid)) == (200, "6"):  # due to the probe
                answer = await someone.poll_past_pings(sid)
            assert answer == (200, "4still here")


class TestPolling:
    @case
    async def test_messages_come_back_in_order(self, endpoint: Endpoint) -> None:
        """One POST holds many packets; the next GET holds all their echoes, in order."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            response = await someone.push(sid, SEPARATOR.join(["4test1", "4test2", "4test3"]))
            assert (response.status_code, response.text) == (200, "ok")
            assert await someone.poll_past_pings(sid) == (200, SEPARATOR.join(["4test1", "4test2", "4test3"]))

    @case
    async def test_text_and_binary_come_back(self, endpoint: Endpoint) -> None:
        """Binary travels as base64 behind a `b`, in its place among the texts."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            payload = SEPARATOR.join(["4hello", "bAQIDBA==", "4€ and 𝄞"])
            assert (await someone.push(sid, payload)).text == "ok"
            assert await someone.poll_past_pings(sid) == (200, payload)

    @case
    async def test_a_waiting_poll_gets_the_message_at_once(self, endpoint: Endpoint) -> None:
        """The echo is the answer of the GET that was waiting for it."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            waiting = asyncio.create_task(someone.poll_past_pings(sid))
            await asyncio.sleep(0.02)
            await someone.push(sid, "4hello")
            assert await waiting == (200, "4hello")

    @case
    async def test_a_bad_packet_closes_the_session(self, endpoint: Endpoint) -> None:
        """What is no packet ends the session."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            await someone.push(sid, "abc")
            await is_gone(someone, sid)

    @case
    async def test_a_second_poll_closes_the_session(self, endpoint: Endpoint) -> None:
        """Of two GETs at a time the first gets the close packet, the second an error, and the session is gone."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            first = asyncio.create_task(someone.poll(sid))
            await asyncio.sleep(0.005)
            second = asyncio.create_task(someone.poll(sid))
            told, refused = await first, await second
            assert (told.status_code, told.text) == (200, "1")
            assert refused.status_code in (400, 500)
            await is_gone(someone, sid)

    @case
    async def test_too_large_a_payload_is_refused(self, endpoint: Endpoint) -> None:
        """A POST beyond the maximum payload is answered with 413, and another session is unharmed."""
        async with client(endpoint) as someone:
            other = await someone.open()
            sid = await someone.open()
            assert (await someone.push(sid, "4" + "x" * 1_000_000)).status_code == 413
            await someone.push(other, "4hello")
            assert await someone.poll_past_pings(other) == (200, "4hello")

    @case
    async def test_the_largest_payload_comes_back(self, endpoint: Endpoint) -> None:
        """A POST of exactly the maximum payload is taken."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            packet = "4" + "x" * 999_999
            assert (await someone.push(sid, packet)).text == "ok"
            assert await someone.poll_past_pings(sid) == (200, packet)


class TestWebSocket:
    @case
    async def test_text_comes_back_as_text(self, endpoint: Endpoint) -> None:
        """A text frame is echoed as a text frame."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            await frames.open_packet()
            await frames.send("4hello")
            assert await frames.next() == "4hello"

    @case
    async def test_binary_comes_back_as_binary(self, endpoint: Endpoint) -> None:
        """A binary frame is echoed as it is, without a type byte."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            await frames.open_packet()
            await frames.send(b"\x01\x02\x03\x04")
            assert await frames.next() == b"\x01\x02\x03\x04"

    @case
    async def test_many_messages_come_back_in_order(self, endpoint: Endpoint) -> None:
        """A thousand frames, text and binary of many lengths, come back as they went."""
        sent: list[str | bytes] = [
            bytes([number % 256]) * (number % 300) + b"!" if number % 3 == 0 else f"4{number}" + "é" * (number % 200)
            for number in range(1000)
        ]
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            await frames.open_packet()

            async def send() -> None:
                for frame in sent:
                    await frames.send(frame)

            sending = asyncio.create_task(send())
            received: list[str | bytes] = []
            while len(received) < len(sent):
                received.append(await frames.next())
            await sending
            assert received == sent

    @pytest.mark.parametrize("frame", ["abc", ""])
    @case
    async def test_a_bad_packet_closes_the_connection(self, endpoint: Endpoint, frame: str) -> None:
        """What is no packet ends the connection, sooner than the heartbeat would."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            await frames.open_packet()
            await frames.send(frame)
            assert await frames.closed_though_ponging() == []

    @case
    async def test_too_large_a_message_closes_the_connection(self, endpoint: Endpoint) -> None:
        """A message beyond the maximum payload ends its connection; another one is unharmed."""
        async with client(endpoint) as someone:
            frames, other = await someone.websocket(), await someone.websocket()
            await frames.open_packet()
            await other.open_packet()
            await frames.send("4" + "x" * 1_000_001)
            assert await frames.closed_though_ponging() == []
            await other.send("4hello")
            assert await other.next() == "4hello"
