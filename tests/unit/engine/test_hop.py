"""The mark of a passed request: what one node signs the other believes, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import assume, given
from hypothesis import strategies as st

from shoal.engine.hop import HOP, PROOF, PassedRequest, new_key, proof_headers, receive_hop, sign_hop
from shoal.http.request import Request

KEY = b"k" * 16
QUERY = b"EIO=4&transport=polling&sid=n1.AAAAAAxxxxxxxxxxxxxxxxxxxxxx"

methods = st.sampled_from(["GET", "POST"])
queries = st.binary(max_size=60).map(lambda query: query.replace(b"\n", b"").replace(b"\r", b""))
peers = st.one_of(st.ip_addresses().map(str), st.just(""))
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode).filter(lambda n: n != HOP)
values = st.binary(max_size=30).map(lambda value: value.translate(None, b"\r\n"))
headers = st.lists(st.tuples(names, values), max_size=5)
secure = st.booleans()


def block(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % pair for pair in pairs]) + b"\r\n"


def marked(pairs: list[tuple[bytes, bytes]], value: bytes, as_block: bool) -> bytes | list[tuple[bytes, bytes]]:
    """Headers as the other node gets them: the mark is the last, and some header is before it."""
    every = [(b"host", b"x"), *pairs, (HOP, value)]
    return block(every) if as_block else every


@given(methods, queries, peers, secure, headers, st.booleans())
def test_what_is_signed_is_believed(
    method: str, query: bytes, peer: str, encrypted: bool, pairs: list[tuple[bytes, bytes]], as_block: bool
) -> None:
    """The owner sees the client's address, its connection and its headers as the first node did, and answers with the
    proof that the first node wants."""
    value, proof = sign_hop(KEY, Request(method, "/socket.io/", query, b"\r\n", peer, encrypted))
    came = Request(method, "/elsewhere/", query, marked(pairs, value, as_block), "10.0.0.9", not encrypted)
    found = receive_hop(KEY, came)
    assert isinstance(found, PassedRequest)
    assert (found.peer, found.secure) == (peer, encrypted)
    rest = [(b"host", b"x"), *pairs]
    assert found.raw_headers == (block(rest) if as_block else rest)
    assert proof_headers(found) == [(PROOF, proof)]


@given(methods, queries, peers, secure, st.booleans(), st.data())
def test_any_change_is_not_believed(
    method: str, query: bytes, peer: str, encrypted: bool, as_block: bool, data: st.DataObject
) -> None:
    """Another mark, method, query or key: the request keeps the address that it came from, and gets no proof; yet it
    counts as passed on, so that it goes no further."""
    value, _ = sign_hop(KEY, Request(method, "/", query, b"\r\n", peer, encrypted))
    changed = data.draw(st.sampled_from(["mark", "method", "query", "key"]))
    key = KEY
    if changed == "mark":
        value = data.draw(st.one_of(values, damaged(value)).filter(lambda other: other != value))
    elif changed == "method":
        method = "POST" if method == "GET" else "GET"
    elif changed == "query":
        query = data.draw(queries.filter(lambda other: other != query))
    else:
        key = data.draw(st.binary(min_size=16, max_size=16).filter(lambda other: other != KEY))
    assume(value == value.strip())  # no server hands on spaces around a value
    found = receive_hop(key, Request(method, "/", query, marked([], value, as_block), "203.0.113.7", encrypted))
    assert isinstance(found, PassedRequest)
    assert (found.peer, found.secure) == ("203.0.113.7", encrypted)
    assert proof_headers(found) == []
    assert HOP.decode() not in found.headers


def damaged(value: bytes) -> st.SearchStrategy[bytes]:
    """A mark with one byte changed, left out, or added."""

    def change(at: int, byte: int, kind: int) -> bytes:
        return value[:at] + bytes([byte])[: kind > 0] + value[at + (kind < 2) :]

    return st.builds(change, st.integers(0, len(value) - 1), st.integers(33, 126), st.integers(0, 2))


@given(methods, queries, headers, st.booleans())
def test_without_a_mark_it_is_the_same_request(
    method: str, query: bytes, pairs: list[tuple[bytes, bytes]], as_block: bool
) -> None:
    raw = block([(b"host", b"x"), *pairs]) if as_block else [(b"host", b"x"), *pairs]
    request = Request(method, "/", query, raw, "203.0.113.7", False)
    assert receive_hop(KEY, request) is request
    assert proof_headers(request) == []


def test_of_two_marks_the_nodes_own_counts() -> None:
    """A client's mark in another spelling may come as far as the owner: the last one, the node's, is read, and none is
    left for the application."""
    value, _ = sign_hop(KEY, Request("GET", "/", QUERY, b"\r\n", "198.51.100.2", True))
    headers = [(HOP, b"0 192.0.2.66 " + b"0" * 32), (b"host", b"x"), (HOP, value)]
    found = receive_hop(KEY, Request("GET", "/", QUERY, headers, "10.0.0.9", False))
    assert (found.peer, found.secure) == ("198.51.100.2", True)
    assert found.raw_headers == [(b"host", b"x")]


def test_an_address_that_is_none_is_left_out() -> None:
    """What a server says of a Unix socket, or a name with spaces, cannot forge a mark."""
    for peer in ["a b", "ü", "1 10.0.0.1"]:
        value, _ = sign_hop(KEY, Request("GET", "/", QUERY, b"\r\n", peer, False))
        found = receive_hop(KEY, Request("GET", "/", QUERY, [(HOP, value)], "10.0.0.9", False))
        assert isinstance(found, PassedRequest)
        assert proof_headers(found)
        assert found.peer in ("", peer.encode("ascii", "replace").decode())


def test_every_process_has_a_key_of_its_own() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len(new_key()) == 16
