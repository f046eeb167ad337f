"""What may wait: events for a busy handler, bytes for a client that does not read, pongs.

A queue at its bound acts as its policy says and is counted. Nothing that was accepted is lost, nobody else waits, and
the server's memory does not grow with what an offender sends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from tests.integration.hostile import Raw, Witness, bounded
from tests.interop.wire import POLLING, WEBSOCKET, Client, Endpoint, case, client
from tests.servers import ServerProcess, lanes
from tests.websocket_faults import PING, PONG, TEXT, frame

EVENTS = 3_000
PADDING = "x" * 2_000  # EVENTS of them are more than the kernel's buffers take
SMALL = 8_192  # bytes that the kernel may keep for a client that does not read


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn", "behind"))
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with bounded(request.param) as server:
        yield server


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn", "behind"))
def dropping(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with bounded(request.param, SHOAL_OUTBOX_POLICY="drop-volatile", SHOAL_PING_TIMEOUT="20") as server:
        yield server


async def pour(raw: Raw, gate: str) -> None:
    """Send numbered events for a handler that waits at a gate."""
    for number in range(EVENTS):
        await raw.send_text("42" + json.dumps(["hold", gate, number, PADDING]))


class TestWaitingEvents:
    @case
    async def test_reading_pauses_and_nothing_is_lost(self, server: ServerProcess) -> None:
        """A client that is faster than its handlers is not read from; all events are handled in the end, in order."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:
            before = await witness.counters()
            sending = asyncio.create_task(pour(raw, "ws"))
            await witness.counted("engine", "pauses", before["engine"]["pauses"] + 1)
            # Longer than a heartbeat: a pong that is not read because we do not read must not cost the connection.
            done, _ = await asyncio.wait({sending}, timeout=3.7)
            assert not done, "the server went on reading"
            assert (await witness.counters())["rss"] - before["rss"] < 3_000_000
            await witness.ask("release", "ws")
            answer = asyncio.create_task(raw.next())  # answers pings while the rest is sent
            await sending
            await raw.send_text('4299["echo","behind them"]')
            assert await answer == b'4399["behind them"]'
            assert await witness.ask("held", "ws") == list(range(EVENTS))
            assert (await witness.counters())["engine"]["ping_timeouts"] == before["engine"]["ping_timeouts"]

    @case
    async def test_polling_pauses_and_nothing_is_lost(self, server: ServerProcess) -> None:
        """The POST that is one too many waits; its events, and those behind it, are handled in the end, in order."""
        async with Witness(server.port) as witness, client(Endpoint(server.port, "/socket.io/")) as someone:
            before = (await witness.counters())["engine"]["pauses"]
            sid = await joined_by_polling(someone)
            answers = asyncio.create_task(post_all(someone, sid, "polling"))
            await witness.counted("engine", "pauses", before + 1)
            done, _ = await asyncio.wait({answers}, timeout=0.3)
            assert not done
            await witness.ask("release", "polling")
            await answers
            while len(held := await witness.ask("held", "polling")) < 200:
                await asyncio.sleep(0.01)
            assert held == list(range(200))
            await someone.push(sid, "1")

    @case
    async def test_one_that_gives_up_meanwhile(self, server: ServerProcess) -> None:
        """A client that breaks off while it is not read from leaves nothing behind but what its handler has begun."""
        async with Witness(server.port) as witness:
            while (before := await witness.counters())["sessions"] > 1:  # of the test before
                await asyncio.sleep(0.02)
            async with (await Raw.joined(server.port))[0] as raw:
                sending = asyncio.create_task(pour(raw, "leaver"))
                await witness.counted("engine", "pauses", before["engine"]["pauses"] + 1)
                sending.cancel()
            await witness.ask("release", "leaver")
            while (after := await witness.counters())["sessions"] > before["sessions"]:
                await asyncio.sleep(0.02)
            assert (after["clients"], after["wheel"]) == (before["clients"], before["wheel"])
            held = await witness.ask("held", "leaver")
            assert held == list(range(len(held)))


async def post_all(someone: Client, sid: str, gate: str) -> None:
    for number in range(0, 200, 50):
        events = ["42" + json.dumps(["hold", gate, each]) for each in range(number, number + 50)]
        assert (await someone.push(sid, "\x1e".join(events))).text == "ok"


async def joined_by_polling(someone: Client) -> str:
    sid = await someone.open()
    await someone.push(sid, "40")
    assert (await someone.packets(sid, 1))[0].startswith("40{")
    return sid


class TestOutbox:
    @case
    async def test_a_client_that_never_reads_is_cut_off(self, server: ServerProcess) -> None:
        """At `max_outbox` it is disconnected with the reason `transport error`; memory stays where it was."""
        async with Witness(server.port) as witness:
            before = await witness.counters()
            raw, sid = await Raw.joined(server.port, buffer=SMALL)
            async with raw:
                sent = await witness.ask("flood", sid, 20_000, 4_000)
                assert sent < 20_000
                await witness.counted("outbox", "overflows", before["outbox"]["overflows"] + 1)
                assert await witness.ask("reason-of", sid) == "transport error"
                assert (await witness.counters())["rss"] - before["rss"] < 10_000_000

    @case
    async def test_a_client_that_never_polls_is_cut_off(self, server: ServerProcess) -> None:
        """The same over long-polling: its next GET is told that the session is unknown."""
        async with Witness(server.port) as witness, client(Endpoint(server.port, "/socket.io/")) as someone:
            before = await witness.counters()
            sid = await someone.open()
            await someone.push(sid, "40")
            socket_id = json.loads((await someone.packets(sid, 1))[0][2:])["sid"]
            assert await witness.ask("flood", socket_id, 1_000, 4_000) < 100
            gone = await someone.poll(sid)
            assert (gone.status_code, gone.json()["code"]) == (400, 1)
            await witness.counted("outbox", "overflows", before["outbox"]["overflows"] + 1)

    @case
    async def test_acknowledgements_that_nobody_reads(self, server: ServerProcess) -> None:
        """What a client makes the server say counts too: acks fill the outbox like anything else."""
        async with Witness(server.port) as witness:
            before = await witness.counters()
            raw, sid = await Raw.joined(server.port, buffer=SMALL)
            async with raw:
                sending = asyncio.create_task(ask_for_ever(raw))
                await witness.counted("outbox", "overflows", before["outbox"]["overflows"] + 1)
                sending.cancel()
            assert await witness.ask("reason-of", sid) == "transport error"

    @case
    async def test_volatile_events_are_dropped(self, dropping: ServerProcess) -> None:
        """With `drop-volatile` a client that does not read loses volatile events, and nothing else; it stays."""
        async with Witness(dropping.port) as witness:
            raw, sid = await Raw.joined(dropping.port, buffer=SMALL)
            async with raw:
                assert await witness.ask("flood", sid, 4_000, 4_000, True) == 4_000
                counters = await witness.counters()
                assert counters["outbox"]["overflows"] == 0
                assert counters["outbox"]["volatile_dropped"] > 100
                await witness.ask("flood", sid, 1, 10)
                received = []
                while (event := json.loads((await raw.next())[2:]))[2] != "x" * 10:
                    received.append(event[1])
                assert received == sorted(received)
                assert len(received) == 4_000 - counters["outbox"]["volatile_dropped"]

    @case
    async def test_the_bound_holds_with_either_policy(self, dropping: ServerProcess) -> None:
        """With `drop-volatile` what is not volatile still ends at `max_outbox`."""
        async with Witness(dropping.port) as witness:
            raw, sid = await Raw.joined(dropping.port, buffer=SMALL)
            async with raw:
                assert await witness.ask("flood", sid, 20_000, 4_000) < 20_000
                await witness.counted("outbox", "overflows", 1)


async def ask_for_ever(raw: Raw) -> None:
    event = frame(TEXT, b'421["echo","' + b"x" * 10_000 + b'"]')
    while True:
        await raw.send(event)
        await asyncio.sleep(0)


@pytest.mark.parametrize("server", lanes("fastlane"), indirect=True)  # elsewhere the ASGI server answers pings
class TestPings:
    @case
    async def test_a_client_that_pings_and_never_reads(self, server: ServerProcess) -> None:
        """Its pongs do not pile up; a client that does read gets each of them."""
        async with Witness(server.port) as witness:
            raw, _ = await Raw.joined(server.port, buffer=SMALL)
            async with raw:
                before = (await witness.counters())["rss"]
                pings = frame(PING, b"x" * 125) * 1_000
                for _ in range(80):
                    await raw.send(pings)
                assert (await witness.counters())["rss"] - before < 3_000_000
            polite, _ = await Raw.joined(server.port)
            async with polite:
                await polite.send(b"".join(frame(PING, str(number).encode()) for number in range(100)))
                pongs = []
                while len(pongs) < 100:
                    opcode, payload = await polite.read_frame()
                    pongs += [payload] if opcode == PONG else []
                assert pongs == [str(number).encode() for number in range(100)]

    @case
    async def test_a_half_open_upgrade_that_pings(self, server: ServerProcess) -> None:
        """The same on a WebSocket that has not become a session."""
        async with Witness(server.port) as witness, client(Endpoint(server.port, "/socket.io/")) as someone:
            sid = await someone.open()
            before = (await witness.counters())["rss"]
            async with await Raw.websocket(server.port, f"{WEBSOCKET}&sid={sid}", buffer=SMALL) as raw:
                for _ in range(80):
                    await raw.send(frame(PING, b"x" * 125) * 1_000)
                assert (await witness.counters())["rss"] - before < 3_000_000
            assert (await someone.get(f"{POLLING}&sid=unknown")).status_code == 400
