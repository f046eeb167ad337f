"""Socket.IO packets: what is encoded is decoded, every bound is exact, and nothing but our own errors comes out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.fuzz import RESERVED, ack_ids, event_names, json_values, namespaces

from shoal.errors import PayloadError, SocketProtocolError
from shoal.protocol.socketio import (
    ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    RESERVED_EVENTS,
    Decoder,
    Limits,
    Packet,
    PacketType,
    encode,
    encode_answer,
    loads,
)

WIDE = Limits(attachments=1_000, depth=500)


def decode(text: bytes, attachments: Sequence[bytes] = (), limits: Limits = WIDE) -> Packet | None:
    """Feed one packet, Engine.IO's `4` in front, and its attachments."""
    decoder = Decoder(limits)
    packet = decoder.feed_text(text[1:])
    for data in attachments:
        assert packet is None
        assert decoder.waiting
        packet = decoder.feed_binary(data)
    assert not decoder.waiting or packet is None
    return packet


events = st.builds(lambda name, args: [name, *args], event_names, st.lists(json_values(binary=True), max_size=4))


@given(namespaces, events, ack_ids)
@example("/", ["message", 1, "2", {"3": [True]}], None)
@example("/custom", ["a", {"b": [b"x", {"c": b""}]}, b"y"], 2**53 - 1)
def test_an_event_survives_the_way(namespace: str, data: list[Any], ack_id: int | None) -> None:
    """Name, arguments, binary at any depth, acknowledgement id and namespace come back as they were."""
    assert decode(*encode(EVENT, namespace, data, ack_id)) == Packet(EVENT, namespace, data, ack_id)


@given(namespaces, st.lists(json_values(binary=True), max_size=4), st.integers(0, 2**53 - 1))
def test_an_acknowledgement_survives_the_way(namespace: str, data: list[Any], ack_id: int) -> None:
    assert decode(*encode(ACK, namespace, data, ack_id)) == Packet(ACK, namespace, data, ack_id)


@given(st.lists(json_values(binary=True), max_size=4), st.integers(0, 2**53 - 1))
@example([{1: "keys that are no text", "at": datetime(2026, 1, 1)}], 7)
def test_the_short_cut_for_answers_equals_the_plain_path(data: list[Any], ack_id: int) -> None:
    """An id may be the digits that came; what is no plain JSON is left to the plain path."""
    digits = b"%d" % ack_id
    encoded = encode(ACK, "/", data, ack_id)
    assert encode(ACK, "/", data, digits) == encoded
    assert encode_answer(data, digits) == (None if holds_more_than_json(data) else encoded[0])


def holds_more_than_json(data: Any) -> bool:
    try:
        json.dumps(data)
    except TypeError:
        return True
    return False


@given(namespaces, st.none() | st.dictionaries(st.text(max_size=5), json_values(), max_size=3))
def test_connecting_survives_the_way(namespace: str, auth: dict[str, Any] | None) -> None:
    assert decode(*encode(CONNECT, namespace, auth)) == Packet(CONNECT, namespace, auth)
    assert decode(*encode(DISCONNECT, namespace, None)) == Packet(DISCONNECT, namespace)
    assert decode(*encode(CONNECT_ERROR, namespace, {"message": "m"})) == Packet(
        CONNECT_ERROR, namespace, {"message": "m"}
    )


# PROTOCOL.md section 4, and the examples of the Socket.IO protocol's page.
PLACEHOLDERS = b'{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'


@pytest.mark.parametrize(
    ("packet", "text", "attachments"),
    [
        ((CONNECT, "/", {"sid": "x"}), b'40{"sid":"x"}', []),
        ((CONNECT, "/admin", {"sid": "x"}), b'40/admin,{"sid":"x"}', []),
        ((DISCONNECT, "/", None), b"41", []),
        ((DISCONNECT, "/admin", None), b"41/admin,", []),
        ((EVENT, "/", ["foo", 1, "2", {"3": [True]}]), b'42["foo",1,"2",{"3":[true]}]', []),
        ((EVENT, "/admin", ["bar"], 12), b'42/admin,12["bar"]', []),
        ((ACK, "/", [], 12), b"4312[]", []),
        ((ACK, "/admin", ["bar", None], 0), b'43/admin,0["bar",null]', []),
        ((CONNECT_ERROR, "/random", {"message": "no"}), b'44/random,{"message":"no"}', []),
        ((EVENT, "/", ["m", b"a", b"b"]), b'452-["m",' + PLACEHOLDERS + b"]", [b"a", b"b"]),
        ((ACK, "/", [b"a", b"b"], 789), b"462-789[" + PLACEHOLDERS + b"]", [b"a", b"b"]),
        ((ACK, "/n", [bytearray(b"a"), memoryview(b"b")], 7), b"462-/n,7[" + PLACEHOLDERS + b"]", [b"a", b"b"]),
    ],
)
def test_a_packet_looks_as_the_protocol_says(packet: Any, text: bytes, attachments: list[bytes]) -> None:
    """Compact JSON, placeholders numbered in order of appearance, the count before the namespace."""
    encoded, binary = encode(*packet)
    assert (encoded, list(binary)) == (text, attachments)


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        (b"40", Packet(CONNECT)),
        (b"40/custom", Packet(CONNECT, "/custom")),
        (b"40/custom,", Packet(CONNECT, "/custom")),
        (b"41/custom", Packet(DISCONNECT, "/custom")),
        (b'40{"token":"123"}', Packet(CONNECT, "/", {"token": "123"})),
        (b'42[1,"a"]', Packet(EVENT, "/", [1, "a"])),
        (b'42/a-1,7["x"]', Packet(EVENT, "/a-1", ["x"], 7)),
        (b'450-["x"]', Packet(EVENT, "/", ["x"])),
        (b'44"text"', Packet(CONNECT_ERROR, "/", "text")),
    ],
)
def test_what_peers_send_is_understood(text: bytes, packet: Packet) -> None:
    """A missing comma, a number as an event's name, a count of none."""
    assert decode(text) == packet


@pytest.mark.parametrize(
    "text",
    [
        b"4",
        b"4abc",
        b"47",
        b"49",
        b"42",
        b"42{}",
        b"42[]",
        b"42abc[]",
        b'42"x"',
        b"42[null]",
        b"42[true]",
        b"42[{}]",
        b"42[[]]",
        b'42["a"',
        b'42["a"]]',
        b'42["a\xff"]',
        b'42["\\ud8"]',
        b'42["a",NaN]',
        b"43",
        b"43{}",
        b'431"x"',
        b"40[]",
        b'40"x"',
        b"40null",
        b"41{}",
        b"41null",
        b"44",
        b"441",
        b"44[]",
        b'45["a"]',
        b'421-["a"]',
        b'45-["a"]',
        b'451-{"a":1}',
        b'42/\xff,["a"]',
        b'42/x["a"]',
        b'4212345678901234567["a"]',
    ],
)
def test_a_broken_packet_is_refused(text: bytes) -> None:
    """Whatever is no Socket.IO is a SocketProtocolError."""
    with pytest.raises(SocketProtocolError):
        decode(text)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_packet_or_our_error(data: bytes) -> None:
    for text in (data, b"2" + data, b'51-["a",' + data, b"2[" + data):
        _feed([text, data, data])


# Text that is nearly a packet: what pure chance hardly ever makes.
nearly = st.lists(
    st.sampled_from(
        b'0 1 2 3 4 5 6 1- 2- /a / , 7 ["a" [ ] { } " \\ : null 1e999 {"_placeholder":true,"num":0} '
        b'"_placeholder":true "num":-1 \\ud800 \\udc00 "connect" \xed\xa0\x80 \x00'.split()
    ),
    max_size=14,
).map(b"".join)


@given(st.lists(nearly | st.binary(max_size=8), min_size=1, max_size=4))
def test_nearly_a_packet_is_a_packet_or_our_error(messages: list[bytes]) -> None:
    _feed(messages)


def _feed(messages: list[bytes]) -> None:
    """Feed messages as a connection would: text, then binary while attachments are due, until the first error."""
    decoder = Decoder(Limits(attachments=3, attachment_bytes=64, depth=8))
    try:
        for message in messages:
            packet = decoder.feed_binary(message) if decoder.waiting else decoder.feed_text(message)
            if packet is not None:
                assert packet.type in {CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR}
                assert packet.namespace.startswith("/")
                assert packet.id is None or packet.id >= 0
    except SocketProtocolError:
        pass


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_refused(name: str) -> None:
    """A peer cannot play the library; the list is the one of the official parser."""
    assert name in RESERVED_EVENTS
    with pytest.raises(SocketProtocolError, match="reserved"):
        decode(b"42" + json.dumps([name]).encode())
    assert decode(b"43" + json.dumps([name]).encode()) is not None  # not as an acknowledgement's first value


def test_no_other_name_is_reserved() -> None:
    assert set(RESERVED_EVENTS) == RESERVED


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


def test_packet_types_are_the_protocols() -> None:
    assert [kind.name for kind in sorted(PacketType)] == [
        "CONNECT",
        "DISCONNECT",
        "EVENT",
        "ACK",
        "CONNECT_ERROR",
        "BINARY_EVENT",
        "BINARY_ACK",
    ]
