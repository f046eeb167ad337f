"""Socket.IO packets: what is encoded is decoded, every bound is exact, and nothing but our own errors comes out."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.fuzz import RESERVED, ack_ids, event_names, json_values, namespaces
from tests.unit.protocol.decoding import decode

from shoal.errors import SocketProtocolError
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
)

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
