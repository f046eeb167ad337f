"""Answers of long-polling are compressed for those who take it."""

from __future__ import annotations

import gzip

import pytest
from tests.unit.asgi.polling import Echo, Poller

from shoal.testing import TestServer, async_test


@async_test
async def test_responses_are_compressed_where_it_pays_and_is_wanted() -> None:
    """From a kilobyte on, for clients that accept it, and only with the option."""
    for wanted in (True, False):
        engine = Echo(http_compression=wanted)
        async with TestServer(engine) as server:
            poller = await Poller(server).open()
            for size, accept, compressed in [(2_000, "gzip, br", wanted), (2_000, "", False), (100, "gzip", False)]:
                await poller.post("4" + "x" * size)
                response = await poller.request("GET", headers={"Accept-Encoding": accept})
                assert (response.headers.get("content-encoding") == "gzip") == compressed
                body = gzip.decompress(response.body) if compressed else response.body
                assert body == b"4" + b"x" * size
                if wanted and size > 1_024:
                    assert response.headers["vary"] == "accept-encoding"


@async_test
async def test_the_same_body_is_compressed_to_the_same_bytes_at_any_time() -> None:
    """A gzip header may have the second it was written in (RFC 1952, MTIME); ours has none."""
    async with TestServer(Echo(http_compression=True)) as server:
        poller = await Poller(server).open()
        await poller.post("4" + "x" * 2_000)
        response = await poller.request("GET", headers={"Accept-Encoding": "gzip"})
        assert response.body[4:8] == bytes(4)


@async_test
@pytest.mark.parametrize(
    ("accept", "compressed"),
    [
        ("gzip", True),
        ("br;q=1, GZIP ; q=0.5", True),
        ("gzip;q=0.001,br", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000 , br", False),
        ("x-gzip, gzipped", False),
    ],
)
async def test_a_client_may_refuse_gzip_alone(accept: str, compressed: bool) -> None:
    async with TestServer(Echo(http_compression=True)) as server:
        poller = await Poller(server).open()
        await poller.post("4" + "x" * 2_000)
        response = await poller.request("GET", headers={"Accept-Encoding": accept})
        assert ("content-encoding" in response.headers) == compressed
