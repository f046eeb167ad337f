"""A request as the engine sees it: headers and query, however they came, and the address that may be believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal import Engine
from shoal.http.request import Request, is_secure, is_trusted, trusted_address
from shoal.testing import TestServer, async_test


def request(headers: object = (), query: bytes = b"", peer: str = "10.0.0.1", secure: bool = False) -> Request:
    return Request("GET", "/p/", query, headers, peer, secure)  # type: ignore[arg-type]


names = st.from_regex(r"[A-Za-z][A-Za-z0-9\-]{0,10}", fullmatch=True)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)


@given(st.lists(st.tuples(names, values), max_size=8))
def test_a_block_of_lines_is_read_as_the_pairs_are(pairs: list[tuple[str, str]]) -> None:
    """The fast lane's bytes and ASGI's list give the same headers: lower-case names, repeated ones joined."""
    encoded = [(name.encode(), value.encode()) for name, value in pairs]
    block = b"".join(b"%b: %b\r\n" % pair for pair in encoded) + b"\r\n"
    expected: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        expected[key] = f"{expected[key]}, {value}" if key in expected else value
    assert request(block).headers == request(encoded).headers == expected


@given(st.binary(max_size=100))
def test_any_bytes_are_headers_and_query(data: bytes) -> None:
    """Nothing is raised for what a client sends."""
    it = request(data, data)
    assert all(isinstance(name, str) for name in [*it.headers, *it.query])
    assert it.url.startswith("/p/")


def test_the_last_parameter_of_a_name_counts_and_empty_ones_are_there() -> None:
    assert request(query=b"a=1&b=&a=%C3%BC+x").query == {"a": "ü x", "b": ""}


def test_a_query_of_very_many_fields_is_none() -> None:
    """Parsing is bounded."""
    assert request(query=b"&".join(b"a%d=1" % i for i in range(1_000))).query == {}


def test_headers_are_parsed_when_asked_for_and_can_be_forgotten() -> None:
    """The bytes stay; what was parsed is dropped and made again."""
    it = request(b"A: 1\r\n")
    first = it.headers
    assert it.headers is first
    it.forget()
    assert it.headers is not first
    assert it.headers == first


FORWARDED = [
    # peer, X-Forwarded-For, proxies, address
    ("10.0.0.1", "", ("127.0.0.1",), "10.0.0.1"),
    ("10.0.0.1", "1.1.1.1", ("127.0.0.1",), "10.0.0.1"),
    ("127.0.0.1", "1.1.1.1", ("127.0.0.1",), "1.1.1.1"),
    ("127.0.0.1", "6.6.6.6, 1.1.1.1", ("127.0.0.1",), "1.1.1.1"),
    ("127.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.9", ("127.0.0.1", "10.0.0.0/8"), "1.1.1.1"),
    ("127.0.0.1", "2.2.2.2, 10.0.0.9", ("127.0.0.1", "10.0.0.0/8"), "2.2.2.2"),
    ("9.9.9.9", "3.3.3.3, 4.4.4.4", ("*",), "3.3.3.3"),
    ("127.0.0.1", " , ,", ("127.0.0.1",), "127.0.0.1"),
    ("::1", "2001:db8::1", ("::1",), "2001:db8::1"),
    ("fd00::7", "1.1.1.1", ("fd00::/8",), "1.1.1.1"),
    ("", "1.1.1.1", ("127.0.0.1",), ""),
    ("", "1.1.1.1", ("unix",), "1.1.1.1"),
    ("127.0.0.1", "1.1.1.1", ("unix",), "127.0.0.1"),
    ("127.0.0.1", "nonsense", ("127.0.0.1",), "nonsense"),
    ("127.0.0.1", "1.1.1.1, nonsense", ("127.0.0.1",), "nonsense"),
    ("10.1.2.3", "1.1.1.1", ("10.1.2.3/16",), "1.1.1.1"),
]


@pytest.mark.parametrize(("peer", "forwarded", "proxies", "address"), FORWARDED)
def test_forwarded_addresses_are_believed_as_far_as_hops_are_trusted(
    peer: str, forwarded: str, proxies: tuple[str, ...], address: str
) -> None:
    """From the right, as far as each hop that added to the header is a proxy that we trust."""
    it = request([(b"x-forwarded-for", forwarded.encode())] if forwarded else [], peer=peer)
    assert trusted_address(it, proxies) == address


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_address_is_trusted_or_not(address: str, other: str) -> None:
    assert is_trusted(address, ("127.0.0.1", "10.0.0.0/8")) in (True, False)


@async_test
async def test_a_proxys_word_on_encryption_is_believed_if_it_is_trusted() -> None:
    proxies = ("10.0.0.1",)
    https = [(b"x-forwarded-proto", b"https")]
    assert is_secure(request(https, peer="10.0.0.1"), proxies)
    assert not is_secure(request(https, peer="10.0.0.2"), proxies)
    assert not is_secure(request([(b"x-forwarded-proto", b"http")], peer="10.0.0.1"), proxies)
    assert is_secure(request(peer="10.0.0.2", secure=True), proxies)


@async_test
async def test_the_same_headers_reach_handlers_on_the_way_through_asgi() -> None:
    """Repeated headers are joined, as HTTP says."""
    engine = Engine()
    seen: list[Request] = []
    engine.on("connect")(lambda session: seen.append(session.request))
    async with TestServer(engine) as server:
        await server.open(headers={"X-A": "1"}, query={"b": "2"})
    assert seen[0].headers["x-a"] == "1"
    assert seen[0].query["b"] == "2"


@given(st.lists(st.tuples(st.sampled_from(["A", "a", "B-c"]), st.text(alphabet="x \t\xa0é,:", max_size=6)), max_size=5))
def test_a_block_of_lines_gives_what_pairs_give(fields: list[tuple[str, str]]) -> None:
    """White space around a value goes, a no-break space stays; several of one name are joined."""
    block = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
    pairs = [(name.encode(), value.encode("latin-1").strip()) for name, value in fields]
    by_block, by_pairs = (Request("GET", "/", b"", raw, "", False).headers for raw in (block, pairs))
    assert by_block == by_pairs
    assert set(by_block) == {name.lower() for name, _ in fields}
