"""Engine.IO packets and long-polling payloads: what is encoded is decoded, and nothing but our own error comes out."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoal.errors import EngineProtocolError, ProtocolError
from shoal.protocol.engineio import decode_payload, encode_open, encode_payload, payload_size

texts = st.builds(lambda kind, text: kind + text.replace("\x1e", ""), st.sampled_from("0123456"), st.text(max_size=40))
packets = st.lists(texts | st.binary(max_size=60), min_size=1, max_size=12)


@given(packets)
@example(["4test1", "4test2", "4test3"])
@example(["4hello", b"\x01\x02\x03\x04"])
@example([b""])
def test_a_payload_survives_the_way(sent: list[str | bytes]) -> None:
    """Decoding gives back the packets, text as text and binary as binary, in order."""
    assert decode_payload(encode_payload(sent), 12) == sent


def test_a_payload_looks_as_the_protocol_says() -> None:
    """Packets are parted by 0x1e; binary is base64 behind a `b`."""
    assert encode_payload(["4hello", b"\x01\x02\x03\x04", "2"]) == b"4hello\x1ebAQIDBA==\x1e2"


@given(st.binary(max_size=200), st.integers(1, 20))
def test_any_bytes_are_packets_or_our_error(body: bytes, most: int) -> None:
    """A body is never more packets than allowed, and never another exception."""
    try:
        decoded = decode_payload(body, most)
    except EngineProtocolError:
        return
    assert len(decoded) <= most
    assert all(isinstance(packet, bytes) or packet[0] in "0123456" for packet in decoded)


@given(st.lists(texts, min_size=1, max_size=20))
def test_the_bound_on_packets_is_exact(sent: list[str | bytes]) -> None:
    """As many packets as allowed pass; one more does not."""
    body = encode_payload(sent)
    assert len(decode_payload(body, len(sent))) == len(sent)
    if len(sent) > 1:
        with pytest.raises(EngineProtocolError, match="more than"):
            decode_payload(body, len(sent) - 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x1e",
        b"4a\x1e",
        b"abc",
        b"7",
        b"\xff",
        b"4\xed\xa0\x80",
        b"b!",
        b"bAA",
        b"b AAAA",
        "bé".encode(),
        b"4a\x1eb=",
    ],
)
def test_a_broken_payload_is_refused(body: bytes) -> None:
    """No packet, an unknown type, bad UTF-8, bad base64: ProtocolError, whole payload."""
    with pytest.raises(ProtocolError):
        decode_payload(body, 10)


def test_a_lone_surrogate_does_not_stop_a_response() -> None:
    """An application that sends half a character gets it onto the wire; the peer sees a replacement."""
    assert encode_payload(["4\ud800"]) == b"4\xed\xa0\x80"


def test_the_open_packet_has_exactly_the_five_keys() -> None:
    """Durations are announced in whole milliseconds."""
    packet = encode_open("id", ["websocket"], 0.3, 0.2, 1_000_000)
    assert packet[0] == "0"
    assert json.loads(packet[1:]) == {
        "sid": "id",
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }
    assert '"pingInterval":25000,' in encode_open("id", [], 25.0, 20.0, 1)


@given(st.text("abc123", max_size=50).map("4".__add__) | st.binary(max_size=100))
def test_the_size_of_a_packet_is_nearly_what_it_takes(packet: str | bytes) -> None:
    """For ASCII the estimate is exact, separator included; for binary it is off by the padding at most."""
    actual = len(encode_payload([packet])) + 1
    assert abs(payload_size(packet) - actual) <= (0 if isinstance(packet, str) else 3)
