"""Binary in events: attachments, their placeholders and their bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fuzz import json_values
from tests.unit.protocol.decoding import decode

from shoal.errors import PayloadError, SocketProtocolError
from shoal.protocol.socketio import (
    CONNECT,
    EVENT,
    Decoder,
    Limits,
    Packet,
    encode,
)


class TestAttachments:
    def test_their_number_is_bounded(self) -> None:
        """Ten pass, the eleventh is refused with the text, before any binary comes."""
        assert decode(*encode(EVENT, "/", ["a", *[b"x"] * 10]), limits=Limits()) is not None
        text, _ = encode(EVENT, "/", ["a", *[b"x"] * 11])
        with pytest.raises(SocketProtocolError, match="more than 10 attachments"):
            Decoder(Limits()).feed_text(text[1:])

    def test_their_bytes_are_bounded_together(self) -> None:
        """The one that goes over the bound is refused as it comes."""
        limits = Limits(attachment_bytes=10)
        assert decode(*encode(EVENT, "/", ["a", b"12345", b"12345"]), limits=limits) is not None
        with pytest.raises(SocketProtocolError, match="more than 10 bytes"):
            decode(*encode(EVENT, "/", ["a", b"12345", b"123456"]), limits=limits)

    def test_text_in_between_is_refused(self) -> None:
        decoder = Decoder(Limits())
        assert decoder.feed_text(b'51-["a",{"_placeholder":true,"num":0}]') is None
        with pytest.raises(SocketProtocolError, match="attachment was due"):
            decoder.feed_text(b'2["b"]')

    def test_binary_out_of_place_is_refused(self) -> None:
        with pytest.raises(SocketProtocolError, match="no attachment was due"):
            Decoder(Limits()).feed_binary(b"x")

    @pytest.mark.parametrize("number", ["1", "-1", "0.0", "true", '"0"', "null", "[]", "99999999999999999999"])
    def test_a_placeholder_of_nothing_is_refused(self, number: str) -> None:
        with pytest.raises(SocketProtocolError, match="placeholder"):
            decode(b'451-["a",{"_placeholder":true,"num":%b}]' % number.encode(), [b"x"])

    def test_one_attachment_may_stand_in_two_places(self) -> None:
        """As the official parser has it."""
        text = b'451-["a",[{"_placeholder":true,"num":0}],{"k":{"num":0,"_placeholder":true}}]'
        packet = decode(text, [b"x"])
        assert packet is not None
        assert packet.data == ["a", [b"x"], {"k": b"x"}]

    def test_a_dict_that_only_looks_like_a_placeholder_stays(self) -> None:
        """Only `true` marks one, and only in a binary packet."""
        for data in (["a", {"_placeholder": 1, "num": 0}], ["a", {"_placeholder": True, "num": 0}]):
            text = b"42" + json.dumps(data).encode()
            packet = decode(text)
            assert packet is not None
            assert packet.data == data

    def test_only_events_and_acknowledgements_carry_binary(self) -> None:
        with pytest.raises(PayloadError, match="only events"):
            encode(CONNECT, "/", {"a": b"x"})

    def test_a_decoder_is_used_again(self) -> None:
        """After one whole packet the next one starts from nothing."""
        decoder = Decoder(Limits(attachments=1, attachment_bytes=5))
        for _ in range(3):
            assert decoder.feed_text(b'51-["a",{"_placeholder":true,"num":0}]') is None
            assert decoder.feed_binary(b"12345") == Packet(EVENT, "/", ["a", b"12345"])
            assert decoder.feed_text(b'2["b"]') == Packet(EVENT, "/", ["b"])


@given(st.lists(json_values(binary=True), max_size=4))
def test_attachments_follow_in_the_order_of_their_placeholders(args: list[Any]) -> None:
    """Depth first, left to right: what a peer that reads along expects."""

    def walk(value: Any) -> list[bytes]:
        if isinstance(value, bytes):
            return [value]
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [data for item in items for data in walk(item)]

    text, attachments = encode(EVENT, "/", ["a", *args])
    assert list(attachments) == walk(args)
    assert text.startswith(b"45%d-[" % len(attachments) if attachments else b"42[")
