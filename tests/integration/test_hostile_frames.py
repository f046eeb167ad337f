"""WebSocket frames that break the protocol, come in crumbs, or come in floods: only their sender notices."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterator

import pytest
from tests.integration.hostile import PATIENT, Raw, Witness, bounded
from tests.interop.wire import POLLING, WEBSOCKET, Endpoint, case, client, eventually
from tests.servers import ServerProcess, lanes
from tests.websocket_faults import BINARY, CLOSE, CONTINUE, FRAMES, PING, PONG, TEXT, frame, header


@pytest.fixture(scope="module", params=lanes("fastlane", "behind"))
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with bounded(request.param, **PATIENT) as server:
        yield server


@pytest.fixture(scope="module", params=lanes("fastlane", "behind"))
def impatient(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """One whose heartbeat ends a connection within seconds."""
    with bounded(request.param) as server:
        yield server


def ours(server: ServerProcess) -> bool:
    """Whether the frames are read by us; else by the ASGI server, whose codes are its own."""
    return "tests.apps.serve" in server.argv


class TestBrokenFrames:
    @pytest.mark.parametrize("name", FRAMES)
    @case
    async def test_a_frame_that_breaks_the_protocol(self, server: ServerProcess, name: str) -> None:
        """Its connection is closed with the code of RFC 6455, and counted; the reason is `transport error`."""
        data, code = FRAMES[name]
        async with Witness(server.port) as witness:
            before = (await witness.counters())["engine"]["broken"]
            raw, sid = await Raw.joined(server.port)
            async with raw:
                await raw.send(data)
                assert await raw.end() == code
            if ours(server):
                await witness.counted("engine", "broken", before + 1)
            assert await reason(witness, sid) in ("transport error", "transport close")

    @pytest.mark.parametrize(
        ("text", "why"),
        [("2probe", "transport error"), ("9", "parse error"), ("", "parse error"), ("x" * 1000, "parse error")],
    )
    @case
    async def test_text_that_is_no_packet(self, server: ServerProcess, text: str, why: str) -> None:
        """The session ends in order, with Node's reason, and is counted."""
        async with Witness(server.port) as witness:
            before = (await witness.counters())["engine"]["broken"]
            raw, sid = await Raw.joined(server.port)
            async with raw:
                await raw.send_text(text)
                assert await raw.end() == 1000
            await witness.counted("engine", "broken", before + 1)
            assert await reason(witness, sid) == why

    @case
    async def test_a_broken_probe_harms_no_session(self, server: ServerProcess) -> None:
        """A WebSocket that breaks the protocol while it probes is closed; its session goes on polling."""
        async with Witness(server.port), client(Endpoint(server.port, "/socket.io/")) as someone:
            for data in (*(data for data, _ in FRAMES.values()), frame(TEXT, b"nonsense"), frame(TEXT, b"5x")):
                sid = await someone.open()
                await someone.push(sid, "40")
                async with await Raw.websocket(server.port, f"{WEBSOCKET}&sid={sid}") as raw:
                    await raw.send_text("2probe")
                    assert await raw.next() == b"3probe"
                    await raw.send(data)
                    await raw.end(5.0)
                assert (await someone.push(sid, '4299["echo",1]')).text == "ok"
                while "4399[1]" not in await someone.packets(sid, 1):
                    pass
                await someone.push(sid, "1")

    @case
    async def test_bytes_behind_the_close(self, server: ServerProcess) -> None:
        """Nothing that comes behind a close frame is handled."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:
            events = frame(TEXT, b'42["hold","behind",1]')
            await raw.send(frame(CLOSE, struct.pack("!H", 1000)) + events * 100)
            assert await raw.end() in (1000, None)
            await witness.ask("release", "behind")
            assert await witness.ask("held", "behind") == []


class TestCrumbs:
    @case
    async def test_frames_byte_by_byte(self, server: ServerProcess) -> None:
        """A slow client is a client: every kind of frame may come in single bytes."""
        async with Witness(server.port), (await Raw.joined(server.port))[0] as raw:
            wanted = [
                frame(TEXT, b'4299["echo",1]'),
                frame(TEXT, b'4299["ech', fin=False) + frame(PING, b"p") + frame(CONTINUE, b'o",2]'),
                frame(TEXT, b'451-99["echo",{"_placeholder":true,"num":0}]') + frame(BINARY, b"\x01"),
                frame(TEXT, b'4299["echo","' + b"x" * 200 + b'"]'),
            ]
            for data in wanted:
                for byte in data:
                    await raw.send(bytes((byte,)))
                    await asyncio.sleep(0)
            answers = [await raw.next() for _ in range(5)]
            expected = [b"4399[1]", b"4399[2]", b'461-99[{"_placeholder":true,"num":0}]', b"\x01"]
            assert answers == [*expected, b'4399["' + b"x" * 200 + b'"]']

    @case
    async def test_a_frame_that_never_ends(self, impatient: ServerProcess) -> None:
        """One that dribbles answers no ping: the heartbeat ends it, `ping timeout`, however busy it looks."""
        async with Witness(impatient.port) as witness:
            before = (await witness.counters())["engine"]["ping_timeouts"]
            raw, sid = await Raw.joined(impatient.port)
            async with raw:
                await raw.send(header(TEXT, 90_000) + b"mask")
                dribbling = asyncio.create_task(dribble(raw))
                await raw.end()
                assert raw.cut
                dribbling.cancel()
            await witness.counted("engine", "ping_timeouts", before + 1)
            assert await reason(witness, sid) == "ping timeout"

    @case
    async def test_a_body_that_never_ends(self, impatient: ServerProcess) -> None:
        """The same over long-polling: a POST that dribbles does not keep its session alive."""
        async with Witness(impatient.port) as witness, client(Endpoint(impatient.port, "/socket.io/")) as someone:
            before = (await witness.counters())["engine"]["ping_timeouts"]
            sid = await someone.open()
            await someone.push(sid, "40")
            async with await Raw.connect(impatient.port) as raw:
                head = f"POST /socket.io/?{POLLING}&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"
                await raw.send(head.encode())
                dribbling = asyncio.create_task(dribble(raw))
                await witness.counted("engine", "ping_timeouts", before + 1)
                dribbling.cancel()
            assert (await someone.poll(sid)).json()["code"] == 1


async def dribble(raw: Raw) -> None:
    while True:
        await raw.send(b"x")
        await asyncio.sleep(0.01)


class TestFloods:
    @pytest.mark.parametrize("opcode", [PING, PONG])
    @case
    async def test_control_frames_by_the_ten_thousand(self, server: ServerProcess, opcode: int) -> None:
        """They are answered or ignored; others have their turn between them."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:
            answered = len(witness.times)
            reading = asyncio.create_task(raw.ask("echo", "through"))
            for _ in range(30):
                await raw.send(frame(opcode) * 1_000)
            assert await reading == ["through"]
            assert await raw.ask("echo", "behind them") == ["behind them"]
            # A flood may be over before the witness asks again; each of its answers is bounded, whenever it asks.
            await eventually(lambda: len(witness.times) > answered)

    @case
    async def test_pongs_of_engine_io(self, server: ServerProcess) -> None:
        """Answers to pings that nobody sent change nothing: the heartbeat keeps its own time."""
        async with Witness(server.port), (await Raw.joined(server.port))[0] as raw:
            await raw.send(frame(TEXT, b"3") * 20_000)
            assert await raw.ask("echo", 1) == [1]

    @case
    async def test_acknowledgements_that_nobody_asked_for(self, server: ServerProcess) -> None:
        """They are dropped."""
        async with Witness(server.port), (await Raw.joined(server.port))[0] as raw:
            for number in range(2_000):
                await raw.send_text(f"43{number}[1]")
            await raw.send_text("43[1]")
            assert await raw.ask("echo", 1) == [1]

    @case
    async def test_events_that_nobody_handles(self, server: ServerProcess) -> None:
        """They are dropped, whatever their names: nothing is remembered of them."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:
            before = (await witness.counters())["rss"]
            for number in range(5_000):
                await raw.send_text("42" + json.dumps([f"no such event {number}" + "x" * 500]))
            assert await raw.ask("echo", 1) == [1]
            assert (await witness.counters())["rss"] - before < 3_000_000


async def reason(witness: Witness, sid: str) -> str:
    """Why a socket has left, once it has."""
    while not (known := await witness.ask("reason-of", sid)):
        await asyncio.sleep(0.01)
    return str(known)
