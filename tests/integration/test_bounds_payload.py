"""What one message may be: its size while it arrives, its packets, attachments and depth.

Each test lets one client break a bound, and shows that it is cut off with the documented code and counted, while a
second client's messages keep flowing.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterator

import pytest
from tests.integration.hostile import PATIENT, Raw, Witness, bounded
from tests.interop.wire import POLLING, Client, Endpoint, case, client
from tests.servers import ServerProcess, lanes
from tests.websocket_faults import BINARY, CONTINUE, TEXT, frame, header

LIMIT = 100_000  # SHOAL_MAX_PAYLOAD
PLACEHOLDER = '{"_placeholder":true,"num":%d}'


@pytest.fixture(scope="module", params=lanes("fastlane", "behind"))
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with bounded(request.param, **PATIENT) as server:
        yield server


@pytest.fixture(scope="module", params=lanes("fastlane", "behind"))
def inflating(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with bounded(request.param, SHOAL_PER_MESSAGE_DEFLATE="1", **PATIENT) as server:
        yield server


# Frames are ours to read there alone, and long-polling is the same code everywhere.
fast_lane = pytest.mark.parametrize("server", lanes("fastlane"), indirect=True)


class TestWebSocket:
    @fast_lane
    @pytest.mark.parametrize("length", [LIMIT + 1, 2**20, 2**40, 2**63 - 1])
    @case
    async def test_a_header_that_promises_too_much(self, server: ServerProcess, length: int) -> None:
        """The connection is closed with 1009 before a byte of the message has come."""
        async with Witness(server.port) as witness:
            before = (await witness.counters())["engine"]["too_large"]
            async with (await Raw.joined(server.port))[0] as raw:
                await raw.send(header(TEXT, length) + b"mask")
                assert await raw.end() == 1009
            await witness.counted("engine", "too_large", before + 1)

    @case
    async def test_too_large_a_message(self, server: ServerProcess) -> None:
        """It is not handled; its sender is closed with 1009 or cut off, and known to have broken the transport."""
        async with Witness(server.port) as witness:
            before = (await witness.counters())["engine"]["too_large"]
            raw, sid = await Raw.joined(server.port)
            async with raw:
                await raw.send_text("42" + json.dumps(["echo", "x" * LIMIT]))
                assert await raw.end() in (1009, None)
            await witness.counted("engine", "too_large", before + 1)
            assert await witness.ask("reason-of", sid) in ("transport error", "transport close")

    @case
    async def test_the_largest_message(self, server: ServerProcess) -> None:
        """A message of exactly the bound is handled."""
        async with (await Raw.joined(server.port))[0] as raw:
            event = '4299["echo","%s"]'
            await raw.send_text(event % ("x" * (LIMIT - len(event) + 2)))
            assert (await raw.next()).startswith(b'4399["xxx')

    @case
    async def test_too_many_bytes_in_fragments(self, server: ServerProcess) -> None:
        """The bound holds for the message, however small its fragments are."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:
            await raw.send(frame(TEXT, b'42["echo","', fin=False))
            for _ in range(3 * LIMIT // 10_000):
                await raw.send(frame(CONTINUE, b"x" * 10_000, fin=False))
            if "uvicorn" in server.argv:
                await raw.send(frame(CONTINUE, b'"]'))  # an ASGI server hands over whole messages only
            assert await raw.end() in (1009, None)
            assert witness.times

    @fast_lane
    @case
    async def test_a_hundred_thousand_fragments_of_nothing(self, server: ServerProcess) -> None:
        """Fragments without content cost no memory, and others have their turn between them."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:
            before, answered = (await witness.counters())["rss"], len(witness.times)
            await raw.send(frame(TEXT, b"4299", fin=False))
            nothing = frame(CONTINUE, fin=False) * 10_000
            for _ in range(10):
                await raw.send(nothing)
            await raw.send(frame(CONTINUE, b'["echo",1]'))
            assert await raw.next() == b"4399[1]"
            assert len(witness.times) - answered > 20, "reads of forty thousand frames each held the witness up"
            assert (await witness.counters())["rss"] - before < 4_000_000

    @case
    async def test_a_message_that_swells(self, inflating: ServerProcess) -> None:
        """With `per_message_deflate` the bound holds for what is unpacked, while it is unpacked: it costs no memory."""
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = packer.compress(b'42["echo","' + b"x" * 60_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert len(bomb) < LIMIT
        async with Witness(inflating.port) as witness:
            before = await witness.counters()
            headers = {"Sec-WebSocket-Extensions": "permessage-deflate"}
            async with await Raw.websocket(inflating.port, headers=headers) as raw:
                await raw.send(frame(TEXT, bomb.removesuffix(b"\x00\x00\xff\xff"), rsv=4))
                assert await raw.end() in (1009, None)
            after = await witness.counters()
            assert after["rss"] - before["rss"] < 20_000_000
            if "uvicorn" not in inflating.argv:
                assert after["engine"]["too_large"] == before["engine"]["too_large"] + 1


class TestPolling:
    @case
    async def test_a_body_that_never_ends(self, server: ServerProcess) -> None:
        """A streamed body without a length is answered with 413 as soon as it is too large; the session goes on."""
        url = Endpoint(server.port, "/socket.io/")
        async with Witness(server.port) as witness, client(url) as someone, await Raw.connect(server.port) as raw:
            before = (await witness.counters())["engine"]["too_large"]
            sid = await someone.open()
            head = f"POST /socket.io/?{POLLING}&sid={sid} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            await raw.send(head.encode())
            answer = asyncio.create_task(raw.head())
            chunks = 0
            while not answer.done() and chunks < 100:
                await raw.send(b"1388\r\n" + b"4" * 5_000 + b"\r\n")
                chunks += 1
                await asyncio.sleep(0.005)
            assert await answer == 413
            assert LIMIT // 5_000 <= chunks < 100
            await witness.counted("engine", "too_large", before + 1)
            assert (await someone.push(sid, "40")).text == "ok"
            assert (await someone.packets(sid, 1))[0].startswith("40{")

    @case
    async def test_too_large_a_body(self, server: ServerProcess) -> None:
        """A body that says how large it is gets 413; one of exactly the bound is taken."""
        async with Witness(server.port), client(Endpoint(server.port, "/socket.io/")) as someone:
            sid = await joined_by_polling(someone)
            assert (await someone.push(sid, "4" * (LIMIT + 1))).status_code == 413
            event = '4299["echo","%s"]'
            assert (await someone.push(sid, event % ("x" * (LIMIT - len(event) + 2)))).text == "ok"
            assert (await someone.packets(sid, 1))[0].startswith('4399["xxx')

    @case
    async def test_too_many_packets(self, server: ServerProcess) -> None:
        """A request with more packets than the bound ends its session; one with as many is taken."""
        async with Witness(server.port) as witness, client(Endpoint(server.port, "/socket.io/")) as someone:
            before = (await witness.counters())["engine"]["too_many_packets"]
            sid = await joined_by_polling(someone)
            event = '4299["echo"]'
            assert (await someone.push(sid, "\x1e".join([event] * 100))).text == "ok"
            assert await someone.packets(sid, 100) == ["4399[]"] * 100
            assert (await someone.push(sid, "\x1e".join([event] * 101))).text == "ok"
            gone = await someone.poll(sid)
            assert (gone.status_code, gone.json()["code"]) == (400, 1)
            await witness.counted("engine", "too_many_packets", before + 1)


class TestSocketIO:
    @pytest.mark.parametrize(
        "packet",
        [
            pytest.param(f'4511-["echo",{",".join(PLACEHOLDER % n for n in range(11))}]', id="attachments"),
            pytest.param(f'45999999999-["echo",{PLACEHOLDER % 0}]', id="a billion attachments"),
            pytest.param('42["echo",' + "[" * 64 + "]" * 64 + "]", id="depth of arrays"),
            pytest.param('42["echo",' + '{"a":' * 64 + "1" + "}" * 64 + "]", id="depth of objects"),
            pytest.param("42" + "[" * 45_000, id="depth, and no end"),
            pytest.param("42" + "[" * 45_000 + "]" * 45_000, id="depth that would exhaust a stack"),
        ],
    )
    @case
    async def test_a_packet_beyond_a_bound(self, server: ServerProcess, packet: str) -> None:
        """It is not handled; the connection is closed in order, with the reason `parse error`, and counted."""
        async with Witness(server.port) as witness:
            before = (await witness.counters())["server"]["parse_errors"]
            raw, sid = await Raw.joined(server.port)
            async with raw:
                await raw.send_text(packet)
                assert await raw.end() == 1000
            await witness.counted("server", "parse_errors", before + 1)
            assert await witness.ask("reason-of", sid) == "parse error"

    @case
    async def test_as_much_as_the_bounds_allow(self, server: ServerProcess) -> None:
        """Ten attachments, and the deepest JSON, are taken."""
        async with (await Raw.joined(server.port))[0] as raw:
            await raw.send_text(f'4510-99["echo",{",".join(PLACEHOLDER % n for n in range(10))}]')
            for number in range(10):
                await raw.send(frame(BINARY, bytes([number])))
            assert (await raw.next()).startswith(b"4610-99[")
            assert [await raw.next() for _ in range(10)] == [bytes([number]) for number in range(10)]
            await raw.send_text('4299["echo",' + "[" * 63 + "]" * 63 + "]")
            assert (await raw.next()).startswith(b"4399[[[[")

    @case
    async def test_too_many_bytes_of_attachments(self, server: ServerProcess) -> None:
        """Attachments that are too large together end the connection, though each one is small enough."""
        async with Witness(server.port) as witness:
            before = (await witness.counters())["server"]["parse_errors"]
            raw, sid = await Raw.joined(server.port)
            async with raw:
                await raw.send_text(f'453-["echo",{",".join(PLACEHOLDER % n for n in range(3))}]')
                for _ in range(2):
                    await raw.send(frame(BINARY, b"x" * 80_000))
                assert await raw.end() == 1000
            await witness.counted("server", "parse_errors", before + 1)
            assert await witness.ask("reason-of", sid) == "parse error"


async def joined_by_polling(someone: Client) -> str:
    """A session whose client is in `/`."""
    sid = await someone.open()
    await someone.push(sid, "40")
    assert (await someone.packets(sid, 1))[0].startswith("40{")
    return sid
