"""Addresses are read and written with care: brackets of IPv6, and no text that could break a configuration."""

from __future__ import annotations

import pytest

from shoal.errors import ConfigurationError
from shoal.local.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ws1:1111", Address("ws1", 1111)),
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:80", Address("::1", 80)),
        (" ws1:1111 ", Address("ws1", 1111)),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, expected: Address) -> None:
    assert parse_address(text) == expected
    assert str(expected) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", "ws1", "8080", ":8080", "ws1:", "ws1:x", "a b:1", "a;b:1", "ws1:0", "ws1:65536", "ws1:" + "1" * 5_000],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_address(text)


def test_a_port_alone_takes_the_default_host() -> None:
    assert parse_address("8080", default_host="") == Address("", 8080)
    assert parse_address(":8080", default_host="") == Address("", 8080)


@pytest.mark.parametrize(
    ("host", "expected"), [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "::1"), ("ws1", "ws1")]
)
def test_every_interface_is_reached_over_loopback(host: str, expected: str) -> None:
    assert Address(host, 1).reachable == Address(expected, 1)


def test_names_are_told_from_addresses() -> None:
    assert Address("ws1", 1).is_name
    assert not Address("10.0.0.1", 1).is_name
    assert not Address("::1", 1).is_name
    assert not Address("", 1).is_name
