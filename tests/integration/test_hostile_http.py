"""Requests that never end, handshakes that are none: the bounds before there is a session, on the fast lane.

An ASGI server has its own parser, and its own bounds or none; what is asked here of ours is not asked of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from tests.integration.hostile import PATIENT, Raw, Witness, bounded
from tests.interop.wire import POLLING, WEBSOCKET, Endpoint, case, client
from tests.servers import ServerProcess

REQUEST = f"GET /socket.io/?{POLLING} HTTP/1.1\r\nHost: x\r\n".encode()
KEY = "Sec-WebSocket-Key"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with bounded("fastlane", **PATIENT) as server:
        yield server


class TestHeads:
    @pytest.mark.parametrize(
        ("beginning", "more"),
        [
            pytest.param(REQUEST + b"X: ", b"x" * 20_000, id="one header"),
            pytest.param(REQUEST, b"X: x\r\n" * 3_000, id="many headers"),
            pytest.param(REQUEST, b"x" * 20_000, id="a header's name"),
            pytest.param(f"GET /socket.io/?{POLLING}&".encode(), b"x" * 20_000, id="the query"),
            pytest.param(
                REQUEST.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
                b"X: x\r\n" * 3_000,
                id="trailers",
            ),
        ],
    )
    @case
    async def test_a_head_that_never_ends(self, server: ServerProcess, beginning: bytes, more: bytes) -> None:
        """It is cut off soon after `max_head` bytes, and counted, long before it costs memory."""
        async with Witness(server.port) as witness, await Raw.connect(server.port) as raw:
            before = await witness.counters()
            await raw.send(beginning)
            ending = asyncio.create_task(raw.rest())
            for _ in range(500):
                await raw.send(more)
                await asyncio.sleep(0)
                if ending.done():
                    break
            answer = await ending
            assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")) or not answer, answer[:100]
            after = await witness.counters()
            # 64 KiB of the smallest headers are 11,000 pairs of objects: 2 MB where no freed memory is at hand.
            assert after["rss"] - before["rss"] < 4_000_000
            if not answer.startswith(b"HTTP/1.1 400 "):  # the parser itself refuses some
                assert after["engine"]["bad_heads"] == before["engine"]["bad_heads"] + 1

    @case
    async def test_requests_that_wait_behind_another(self, server: ServerProcess) -> None:
        """Some are answered in their order; of too many the connection is closed long before they cost memory."""
        async with Witness(server.port) as witness:
            before = await witness.counters()
            async with await Raw.connect(server.port) as raw:
                await raw.send((REQUEST + b"\r\n") * 20)
                for _ in range(20):
                    assert await raw.head() == 200
            raws = [await Raw.connect(server.port) for _ in range(5)]
            for raw in raws:
                async with raw:
                    await raw.send((REQUEST + b"\r\n") * 5000)
                    answer = await raw.rest()
                    assert answer.startswith(b"HTTP/1.1 429 ") or not answer, answer[:100]
            after = await witness.counters()
            assert after["engine"]["too_many_requests"] == before["engine"]["too_many_requests"] + len(raws)
            assert after["rss"] - before["rss"] < 10_000_000

    @pytest.mark.parametrize("beginning", [b"", b"GET /socket.io/?EIO", REQUEST])
    @case
    async def test_a_head_that_dribbles(self, server: ServerProcess, beginning: bytes) -> None:
        """It has `head_timeout` seconds, from the connection on: then 408, and counted."""
        async with Witness(server.port) as witness, await Raw.connect(server.port) as raw:
            before = (await witness.counters())["engine"]["bad_heads"]
            began = time.monotonic()
            ending = asyncio.create_task(raw.rest())
            while not ending.done() and time.monotonic() - began < 5.0:
                await raw.send(beginning[:1])
                beginning = beginning[1:]
                await asyncio.sleep(0.01)
            assert (await ending).startswith(b"HTTP/1.1 408 ")
            assert 0.9 < time.monotonic() - began < 5.0
            await witness.counted("engine", "bad_heads", before + 1)

    @case
    async def test_a_body_is_no_head(self, server: ServerProcess) -> None:
        """A body far larger than `max_head`, in small chunks, is taken; a long poll is not cut off by the clock."""
        async with Witness(server.port) as witness, client(Endpoint(server.port, "/socket.io/")) as someone:
            before = (await witness.counters())["engine"]["bad_heads"]
            sid = await someone.open()
            await someone.push(sid, "40")
            await someone.packets(sid, 1)
            waiting = asyncio.create_task(someone.packets(sid, 1))
            event = b'4299["echo","' + b"x" * 95_000 + b'"]'
            async with await Raw.connect(server.port) as raw:
                head = f"POST /socket.io/?{POLLING}&sid={sid} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                await raw.send(head.encode())
                for start in range(0, len(event), 25):
                    chunk = event[start : start + 25]
                    await raw.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await raw.send(b"0\r\n\r\n")
                assert await raw.head() == 200
            assert (await waiting)[0].startswith('4399["xxx')
            assert (await witness.counters())["engine"]["bad_heads"] == before


class TestHandshakes:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            pytest.param({KEY: ""}, 400, id="no key"),
            pytest.param({KEY: "short"}, 400, id="a short key"),
            pytest.param({KEY: "x" * 24}, 400, id="a key that is no base64"),
            pytest.param({"Sec-WebSocket-Version": "12"}, 400, id="another version"),
            pytest.param({"Sec-WebSocket-Version": "nonsense"}, 400, id="no version"),
            pytest.param({"Upgrade": "h2c", "Connection": "Upgrade, close"}, 400, id="another protocol"),
            pytest.param({"Connection": "close"}, 400, id="no upgrade"),
        ],
    )
    @case
    async def test_a_handshake_that_is_none(self, server: ServerProcess, headers: dict[str, str], status: int) -> None:
        """It is refused in HTTP, and opens no session."""
        async with Witness(server.port) as witness:
            before = (await witness.counters())["sessions"]
            async with await Raw.websocket(server.port, headers={"Connection": "Upgrade", **headers}) as raw:
                assert raw.status == status
            assert (await witness.counters())["sessions"] <= before

    @pytest.mark.parametrize(
        "request_",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\x00" * 100,
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
            REQUEST.replace(b"Host: x", b"Content-Length: 1\r\nContent-Length: 2") + b"\r\n",
            REQUEST.replace(b"Host: x", b"Content-Length: -1") + b"\r\n",
            REQUEST.replace(b"Host: x", b"Bad Header") + b"\r\n",
            REQUEST.replace(b"/socket.io/", b"http://[::1/socket.io/") + b"\r\n",
            REQUEST.replace(b"/socket.io/", b"/socket.io/%ff%fe%00") + b"\r\n",
            REQUEST.replace(b"EIO=4", b"EIO=%ff%00&" + b"a&" * 5_000) + b"\r\n",
        ],
        ids=lambda request: repr(request[:30]),
    )
    @case
    async def test_a_request_that_is_none(self, server: ServerProcess, request_: bytes) -> None:
        """It is answered with a refusal, or cut off within `head_timeout`."""
        async with Witness(server.port), await Raw.connect(server.port) as raw:
            await raw.send(request_)
            assert await raw.head() in (0, 400, 404, 408, 505)

    @case
    async def test_a_client_that_speaks_too_soon(self, server: ServerProcess) -> None:
        """Frames behind a handshake that was not answered yet are nobody's; the next client gets none of them."""
        async with Witness(server.port) as witness, await Raw.connect(server.port) as raw:
            head = f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            key = f"{KEY}: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            await raw.send((head + key).encode() + b"\x81\x82maskxx" * 100)
            await raw.head()
            assert raw.status in (0, 101)
            assert await witness.ask("id") == witness.id
