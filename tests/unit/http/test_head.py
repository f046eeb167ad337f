"""Heads that may take a short cut: the bounds of what is read strictly, and who sent it."""

from __future__ import annotations

import pytest

from shoal.http.head import MAX_STRICT_HEAD, body_length, parse_request
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
