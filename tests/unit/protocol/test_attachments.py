"""Binary in events: attachments, their placeholders and their bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.fuzz import json_values
from tests.unit.protocol.decoding import decode

from shoal.errors import PayloadError, SocketProtocolError
from shoal.protocol.attachment import ONE_ATTACHMENT, LastArgument, binary_answer
from shoal.protocol.socketio import (
    ACK,
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


PLACEHOLDER = '{"_placeholder":true,"num":0}'

texts = st.builds(
    lambda digits, args, end: digits.encode() + json.dumps(["a", *args])[:-1].encode() + end.encode(),
    st.sampled_from(["", "", "7", "0", "07", "1234567890123456", "12345678901234567", "x", "/a,1", "/,"]),
    st.lists(json_values(max_leaves=4), max_size=2),
    st.sampled_from(
        [f",{PLACEHOLDER}]", f",{PLACEHOLDER}]", f",{PLACEHOLDER}]", f"{PLACEHOLDER}]", f",[{PLACEHOLDER}]"]
    ),
) | st.sampled_from(
    [
        PLACEHOLDER + "]",
        f"[{PLACEHOLDER}]",
        f"7[{PLACEHOLDER}]",
        f'["connect",{PLACEHOLDER}]',
        f'["a",1{PLACEHOLDER}]',
        f'["a",nul{PLACEHOLDER}]',
        f'["a","{PLACEHOLDER}]',
        f'["a",[{PLACEHOLDER}]',
        f'["a",{{"b":{PLACEHOLDER}]',
        f'["a",[1],{PLACEHOLDER}]',
        f'["a",{PLACEHOLDER},{PLACEHOLDER}]',
        f'["a",{{"\\u005fplaceholder":true,"num":0}},{PLACEHOLDER}]',
        f'["a","\\ud800",{PLACEHOLDER}]',
        f'["\xff",{PLACEHOLDER}]',
        f"[1,{PLACEHOLDER}]",
        f'["a",{"[" * 63}{"]" * 63},{PLACEHOLDER}]',
        f'["a",{"[" * 64}{"]" * 64},{PLACEHOLDER}]',
    ]
).map(lambda text: text.encode("latin-1"))


@given(
    texts, st.binary(max_size=6), st.sampled_from([Limits(), Limits(0), Limits(depth=1), Limits(attachment_bytes=5)])
)
@example(f'["a",{PLACEHOLDER}]'.encode(), b"12345", Limits(attachment_bytes=5))
def test_the_short_cut_for_a_last_argument_equals_the_plain_path(
    text: bytes, attachment: bytes, limits: Limits
) -> None:
    """The same event or the same error, or the short cut leaves it to the plain path."""
    awaited = LastArgument.awaited_by(ONE_ATTACHMENT + text, limits)
    if awaited is None:
        return
    decoder = Decoder(limits)
    assert decoder.feed_text(b"51-" + text) is None
    assert awaited.waiting is decoder.waiting is True
    for either in (awaited, decoder):
        with pytest.raises(SocketProtocolError, match="attachment was due"):
            either.feed_text(b'2["b"]')
    try:
        packet = decoder.feed_binary(attachment)
    except SocketProtocolError as error:
        with pytest.raises(SocketProtocolError, match=str(error)):
            awaited.fill(attachment)
        return
    awaited.fill(attachment)
    assert packet == Packet(EVENT, "/", awaited.data, None if awaited.ack_id is None else int(awaited.ack_id))


@pytest.mark.parametrize("text", [f'["a",{PLACEHOLDER}]', f'17["a",{{"b":[1,"2"]}},{PLACEHOLDER}]'])
def test_what_is_usual_takes_that_short_cut(text: str) -> None:
    assert LastArgument.awaited_by(ONE_ATTACHMENT + text.encode(), Limits()) is not None


@given(st.binary(max_size=300), st.integers(0, 2**53 - 1))
def test_a_binary_answer_equals_the_plain_path(data: bytes, ack_id: int) -> None:
    text, attachments = binary_answer(data, b"%d" % ack_id)
    plain, others = encode(ACK, "/", [data], ack_id)
    assert (text, [*attachments]) == (plain, [*others])


@given(st.lists(json_values(max_leaves=4), max_size=2), st.binary(max_size=6))
@example([{1: "keys that are no text"}], b"x")
@example([{"_placeholder": True, "num": 7}], b"x")
def test_a_last_argument_is_encoded_like_any_other(args: list[Any], data: bytes) -> None:
    """A view of the same bytes takes the plain path."""
    text, attachments = encode(EVENT, "/", ["a", *args, data])
    plain, others = encode(EVENT, "/", ["a", *args, memoryview(data)])
    assert (text, [*attachments]) == (plain, [*others])
