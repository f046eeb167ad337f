"""Heads that may take a short cut: the bounds of what is read strictly, and who sent it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.http.head import MAX_STRICT_HEAD, body_length, parse_request, parse_status
from shoal.http.request import Request

LINE = b"GET / HTTP/1.1\r\n"


def test_a_head_of_exactly_the_bound_is_read() -> None:
    """A byte more, and it is left to uvicorn's parser."""
    for size, is_read in ((MAX_STRICT_HEAD, True), (MAX_STRICT_HEAD + 1, False)):
        head = LINE + b"X: " + b"x" * (size - len(LINE) - 7) + b"\r\n\r\n"
        assert len(head) == size
        assert (parse_request(head) is not None) == is_read


def test_a_request_has_no_peer_and_no_tls_until_its_connection_sets_them() -> None:
    request = parse_request(LINE + b"Host: x\r\n\r\n")
    assert request is not None
    assert (request.peer, request.secure) == ("", False)


@pytest.mark.parametrize(
    ("method", "fields", "length"),
    [
        ("GET", "Host: x\r\n", 0),
        ("GET", "Content-Length: 0\r\n", None),
        ("POST", "Host: x\r\n", None),
        ("POST", "Content-Length: 0\r\n", 0),
        ("POST", "Content-Length: 999999999999\r\n", 999_999_999_999),
        ("POST", "Content-Length: 0000000000001\r\n", None),
        ("POST", "Content-Length: +1\r\n", None),
        ("POST", "Content-Length: 1\r\nConnection: Keep-Alive\r\n", 1),
        ("POST", "Content-Length: 1\r\nConnection: close\r\n", None),
        ("POST", "Content-Length: 1\r\nExpect: 100-continue\r\n", None),
    ],
)
def test_the_length_of_a_body_is_known_or_left_to_uvicorn(method: str, fields: str, length: int | None) -> None:
    """Up to twelve digits, on a connection that stays, with nothing that asks for a second answer."""
    request = Request(method, "/", b"", f"{fields}\r\n".encode(), "", False)
    assert body_length(request) == length


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", (200, [])),
        (b"HTTP/1.1 200\r\n\r\n", (200, [])),
        (b"HTTP/1.1 200 \r\n\r\n", (200, [])),
        (b"HTTP/1.1 404 Nicht gefunden \xe4\r\n\r\n", (404, [])),
        (b"HTTP/1.1 200 OK\r\nA: b\r\nC:d \t\r\nE:\r\n\r\n", (200, [(b"a", b"b"), (b"c", b"d"), (b"e", b"")])),
        (b"HTTP/1.1 200 OK\r\nX: \xff y\r\nx: z\r\n\r\n", (200, [(b"x", b"\xff y"), (b"x", b"z")])),
        (b"", None),
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.0 200 OK\r\n\r\n", None),
        (b"HTTP/2 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 600 No\r\n\r\n", None),
        (b"HTTP/1.1 20 No\r\n\r\n", None),
        (b"HTTP/1.1 2000 No\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\nbody", None),
        (b"GET / HTTP/1.1\r\n\r\n", None),
    ],
)
def test_the_head_of_an_answer(head: bytes, found: tuple[int, list[tuple[bytes, bytes]]] | None) -> None:
    """Status and fields as any server writes them; what is the least bit odd is none."""
    assert parse_status(head) == found


@given(
    st.integers(100, 599),
    st.lists(
        st.tuples(
            st.text("abcdefghijklmnopqrstuvwxyz0123456789-_!", min_size=1).map(str.encode),
            st.binary().map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127).strip()),
        )
    ),
)
def test_any_answer_is_read_as_it_was_written(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    head = b"HTTP/1.1 %d x\r\n%b\r\n" % (status, b"".join([b"%b: %b\r\n" % field for field in fields]))
    assert parse_status(head) == (status, fields)
    assert parse_status(head + b"x") is None
    assert parse_status(head[:-1]) is None


@given(st.binary())
def test_no_input_breaks_it(junk: bytes) -> None:
    for head in (junk, b"HTTP/1.1 200 OK\r\n" + junk):
        found = parse_status(head)
        assert found is None or head.endswith(b"\r\n\r\n")
