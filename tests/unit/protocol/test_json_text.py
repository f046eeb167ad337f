"""The JSON text of a packet: how deep it may be, halves of characters, and what has no JSON form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.decoding import decode

from shoal.errors import PayloadError, SocketProtocolError
from shoal.protocol.socketio import (
    EVENT,
    encode,
    loads,
)


class TestDepth:
    @given(st.integers(1, 30), st.integers(1, 30))
    def test_the_bound_is_exact(self, depth: int, bound: int) -> None:
        """Brackets and braces count alike; as deep as the bound passes."""
        text = b"[" * depth + b"]" * depth
        mixed = b"".join(b'{"a":' if i % 2 else b"[" for i in range(depth)) + b"1"
        mixed += b"".join(b"}" if i % 2 else b"]" for i in reversed(range(depth)))
        for each in (text, mixed):
            if depth <= bound:
                assert loads(each, bound) == json.loads(each)
            else:
                with pytest.raises(SocketProtocolError, match="deeper"):
                    loads(each, bound)

    @given(st.text('[]{}"\\a', max_size=30), st.integers(0, 40))
    def test_brackets_in_strings_do_not_count(self, text: str, siblings: int) -> None:
        """Neither do many brackets side by side."""
        value = [text, {text: [text]}, *([[]] * siblings)]
        assert loads(json.dumps(value).encode(), 3) == value

    def test_any_depth_is_our_error(self) -> None:
        """Not the decoder's, nor a RecursionError."""
        for opening in (b"[", b'{"a":', b'["\\ud800",'):
            with pytest.raises(SocketProtocolError):
                loads(opening * 100_000, 64)
            closing = {b"[": b"]", b'{"a":': b"1}"}.get(opening, b"]")
            with pytest.raises(SocketProtocolError):
                loads(opening * 900 + closing * 900, 64)

    def test_many_brackets_in_broken_text_take_no_time(self) -> None:
        """An unfinished string is noticed once, not at each bracket."""
        with pytest.raises(SocketProtocolError):
            loads(b'["' + b'["' * 400_000, 64)


class TestSurrogates:
    """JavaScript cuts strings between the halves of a character, and sends the halves escaped."""

    @pytest.mark.parametrize(
        ("escaped", "expected"),
        [
            ("\\ud83d", "\ufffd"),
            ("\\ude00", "\ufffd"),
            ("x\\ud83dy", "x\ufffdy"),
            ("\\ud83d\\ude00", "😀"),
            ("\\ud83d\\ude00\\ud83d", "😀\ufffd"),
            ("\\ude00\\ud83d", "\ufffd\ufffd"),
        ],
    )
    def test_halves_are_replaced_and_wholes_kept(self, escaped: str, expected: str) -> None:
        packet = decode(f'42["a","{escaped}",{{"{escaped}":1}}]'.encode())
        assert packet is not None
        assert packet.data == ["a", expected, {expected: 1}]

    @given(st.lists(st.text(st.characters(max_codepoint=0x1FFFF, exclude_categories=[]), max_size=6), max_size=4))
    def test_any_mixture_of_halves_is_read(self, texts: list[str]) -> None:
        """What JSON.stringify escapes is read as the text that UTF-16 makes of it."""
        expected = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        assert loads(json.dumps(texts).encode(), 3) == expected

    def test_raw_halves_are_no_utf8(self) -> None:
        with pytest.raises(SocketProtocolError):
            decode(b'42["\xed\xa0\xbd"]')


class TestUnsendable:
    @pytest.mark.parametrize(
        "value", [object(), 2**64, -(2**63) - 1, "\ud800", {"\udfff": 1}, {object(): 1}, iter([1]), lambda: 1, type]
    )
    def test_what_has_no_json_form_is_a_payload_error(self, value: Any) -> None:
        """Nothing is sent, whatever else the event holds."""
        with pytest.raises(PayloadError, match="cannot be sent"):
            encode(EVENT, "/", ["a", b"binary", value])

    def test_a_circle_is_a_payload_error(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        table: dict[str, Any] = {}
        table["a"] = {"b": table}
        for value in (circle, table):
            with pytest.raises(PayloadError):
                encode(EVENT, "/", ["a", value])


def test_keys_that_are_no_text_are_written_as_text() -> None:
    """The second way through the encoder counts attachments once."""
    text, attachments = encode(EVENT, "/", ["a", b"x", {1: b"y", None: 2.5, False: []}])
    assert text == (
        b'452-["a",{"_placeholder":true,"num":0},{"1":{"_placeholder":true,"num":1},"null":2.5,"false":[]}]'
    )
    assert attachments == [b"x", b"y"]


def test_not_a_number_is_null() -> None:
    """As JSON.stringify writes it."""
    assert encode(EVENT, "/", ["a", float("nan"), float("inf")])[0] == b'42["a",null,null]'
