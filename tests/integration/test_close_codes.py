"""The close codes of all faults of the WebSocket protocol, which are the same on every way in: those of RFC 6455."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from tests.integration.hostile import BOUNDS, Raw, Witness
from tests.interop.wire import WEBSOCKET, Endpoint, case, client
from tests.servers import ServerProcess, lanes, serving
from tests.websocket_faults import CONTINUE, INVALID_DATA, MESSAGE_TOO_BIG, TEXT, faults, frame

LIMIT = int(BOUNDS["SHOAL_MAX_PAYLOAD"])
FAULTS = faults(LIMIT)
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate"}


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn", "behind"))
def plain(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server for WebSockets without compression."""
    with serving("bounds:io", request.param, env=BOUNDS) as server:
        yield server


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn"))
def inflating(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server that takes permessage-deflate."""
    with serving("bounds:io", request.param, env=BOUNDS | {"SHOAL_PER_MESSAGE_DEFLATE": "1"}) as server:
        yield server


async def codes(server: ServerProcess, names: list[str], headers: dict[str, str]) -> dict[str, int | None]:
    """The close code of each of these faults: of a client that is in `/` when it commits it."""
    seen = {}
    for name in names:
        async with (await Raw.joined(server.port, headers=headers))[0] as raw:
            await raw.send(FAULTS[name].data)
            seen[name] = await raw.end()
    return seen


@case
async def test_a_fault_has_the_code_of_the_rfc(plain: ServerProcess) -> None:
    """In one frame, behind another one, or in fragments."""
    expected = {name: fault.code for name, fault in FAULTS.items() if not fault.deflate}
    assert await codes(plain, [*expected], {}) == expected


@case
async def test_a_fault_has_the_code_of_the_rfc_where_compression_was_negotiated(inflating: ServerProcess) -> None:
    """Compressed, or not, which every message may be; but for the bit that now says something."""
    expected = {name: fault.code for name, fault in FAULTS.items() if name != "reserved bit"}
    assert await codes(inflating, [*expected], OFFER) == expected


@case
async def test_a_character_may_be_cut_by_fragments(plain: ServerProcess) -> None:
    """A message has to be UTF-8, not each of its frames."""
    async with (await Raw.joined(plain.port))[0] as raw:
        text = '4299["echo","é"]'.encode()
        await raw.send(frame(TEXT, text[:-3], fin=False) + frame(CONTINUE, text[-3:]))
        assert await raw.next() == '4399["é"]'.encode()


@case
async def test_what_the_server_knows_of_text_that_is_no_utf8(plain: ServerProcess) -> None:
    """The transport has failed, as Node says; the fast lane counts it among what broke the protocol. Behind ASGI's
    `receive` nobody is told."""
    fast = not any("behind" in argument for argument in plain.argv)
    async with Witness(plain.port) as witness:
        before = (await witness.counters())["engine"]["broken"]
        raw, sid = await Raw.joined(plain.port)
        async with raw:
            await raw.send_text(b'42["echo","\xff"]')
            assert await raw.end() == INVALID_DATA
        known = ""
        while not known:
            known = await witness.ask("reason-of", sid)
        assert known == ("transport error" if fast else "transport close")
        assert (await witness.counters())["engine"]["broken"] == before + fast


@case
async def test_a_probe_that_is_no_utf8_harms_no_session(plain: ServerProcess) -> None:
    """The WebSocket is closed with the same code; its session goes on polling."""
    async with client(Endpoint(plain.port, "/socket.io/")) as someone:
        for first in (True, False):
            sid = await someone.open()
            await someone.push(sid, "40")
            async with await Raw.websocket(plain.port, f"{WEBSOCKET}&sid={sid}") as raw:
                if not first:
                    await raw.send_text("2probe")
                    assert await raw.next() == b"3probe"
                await raw.send_text(b"5\xff")
                assert await raw.end() == INVALID_DATA
            assert (await someone.push(sid, '4299["echo",1]')).text == "ok"
            while "4399[1]" not in await someone.packets(sid, 1):
                pass
            await someone.push(sid, "1")


@case
async def test_who_sends_far_too_much_learns_why(plain: ServerProcess) -> None:
    """The close frame arrives though the client sends on for a while before it reads."""
    for _ in range(5):
        async with (await Raw.joined(plain.port))[0] as raw:
            size = 8 << 20
            raw.writer.write(struct.pack("!BBQI", 0x80 | TEXT, 0xFF, size, 0))
            for _ in range(size >> 16):
                raw.writer.write(bytes(1 << 16))
                await raw.writer.drain()
            assert await raw.end() == MESSAGE_TOO_BIG
