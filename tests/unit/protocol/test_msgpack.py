"""Packets on the wire of socket.io-msgpack-parser: one message each, held to the same rules as the JSON ones."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import json
import time
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fuzz import RESERVED, ack_ids, event_names, json_values, namespaces

from shoal.errors import PayloadError, SocketProtocolError
from shoal.protocol import socketio
from shoal.protocol.msgpack import append, decode, encode
from shoal.protocol.socketio import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet, PacketType

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


def through(*packet: Any) -> Packet:
    text, attachments = encode(*packet)
    assert text == b""
    [message] = attachments
    return decode(message, 100)


events = st.builds(lambda name, args: [name, *args], event_names, st.lists(json_values(binary=True), max_size=4))


@given(namespaces, events, ack_ids)
def test_a_packet_survives_the_way(namespace: str, data: list[Any], ack_id: int | None) -> None:
    """Binary needs no placeholders: it comes back where it was."""
    assert through(EVENT, namespace, data, ack_id) == Packet(EVENT, namespace, data, ack_id)
    assert through(ACK, namespace, data, ack_id) == Packet(ACK, namespace, data, ack_id)


def test_a_packet_looks_as_the_parser_writes_it() -> None:
    """A map of type, nsp, data and id; what is not there is left out."""
    assert unpack(encode(EVENT, "/", ["a", b"x"], 3)[1][0]) == {"type": 2, "nsp": "/", "data": ["a", b"x"], "id": 3}
    assert unpack(encode(CONNECT, "/a", {"sid": "s"})[1][0]) == {"type": 0, "nsp": "/a", "data": {"sid": "s"}}
    assert unpack(encode(DISCONNECT, "/", None)[1][0]) == {"type": 1, "nsp": "/"}
    assert through(CONNECT_ERROR, "/", {"message": "no"}) == Packet(CONNECT_ERROR, "/", {"message": "no"})


@given(st.binary(max_size=80))
def test_any_bytes_are_a_packet_or_our_error(data: bytes) -> None:
    for message in (data, b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data" + data):
        try:
            packet = decode(message, 16)
        except SocketProtocolError:
            continue
        assert packet.type in set(PacketType)


fields = st.dictionaries(
    st.sampled_from(["type", "nsp", "data", "id", "options"]),
    st.sampled_from([0, 1, 2, 3, 4, 5, 6, -1, 2.0, True, None, "/", "x", "", b"/", [], ["a"], [1], ["connect"], {}])
    | json_values(binary=True, max_leaves=4),
)


@given(fields)
def test_any_map_is_a_packet_or_our_error(packet: dict[str, Any]) -> None:
    """What passes has the shape that the rest of the server relies on."""
    try:
        found = decode(pack(packet), 16)
    except SocketProtocolError:
        return
    assert found.namespace.startswith("/")
    assert found.id is None or 0 <= found.id < 2**53
    if found.type is EVENT:
        assert isinstance(found.data[0], str)
        assert found.data[0] not in RESERVED
    elif found.type is ACK:
        assert isinstance(found.data, list)


@pytest.mark.parametrize(
    "packet",
    [
        [],
        2,
        {},
        {"type": 2},
        {"type": 2, "nsp": "/", "data": []},
        {"type": 2, "nsp": "/", "data": [1]},
        {"type": 2, "nsp": "/", "data": ["disconnect"]},
        {"type": 2, "nsp": "x", "data": ["a"]},
        {"type": 2, "nsp": 1, "data": ["a"]},
        {"type": True, "nsp": "/", "data": {}},
        {"type": 2.0, "nsp": "/", "data": ["a"]},
        {"type": 5, "nsp": "/", "data": ["a"]},
        {"type": 7, "nsp": "/"},
        {"type": 3, "nsp": "/", "data": {}},
        {"type": 2, "nsp": "/", "data": ["a"], "id": -1},
        {"type": 2, "nsp": "/", "data": ["a"], "id": 2**53},
        {"type": 2, "nsp": "/", "data": ["a"], "id": "1"},
        {"type": 0, "nsp": "/", "data": []},
        {"type": 1, "nsp": "/", "data": {}},
        {"type": 4, "nsp": "/", "data": "x"},
    ],
)
def test_a_broken_packet_is_refused(packet: Any) -> None:
    with pytest.raises(SocketProtocolError):
        decode(pack(packet), 16)


@given(st.integers(1, 30))
def test_the_bound_on_depth_is_that_of_json(depth: int) -> None:
    """The packet's own map is no level: as many lists as the bound pass, one more does not."""
    value: Any = "x"
    for _ in range(depth - 1):
        value = [value]
    message = pack({"type": 2, "nsp": "/", "data": ["a", value]})
    assert decode(message, depth).data == ["a", value]
    if depth > 1:
        with pytest.raises(SocketProtocolError):
            decode(message, depth - 1)


def test_deep_nesting_is_our_error() -> None:
    for opening in (b"\x91", b"\x81\xa1a"):
        with pytest.raises(SocketProtocolError):
            decode(opening * 100_000, 64)


def message(*values: bytes) -> bytes:
    """An event whose arguments are these bytes."""
    return b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data" + bytes([0x91 + len(values)]) + b"\xa1a" + b"".join(values)


DAY = dt.datetime(2020, 1, 2, 3, 4, 5, 678_000, dt.UTC)
DAY_BYTES = b"\x00\x00\x01\x6f\x64\x35\xcf\x2e"  # its milliseconds


def test_what_notepack_has_of_its_own_is_read() -> None:
    """A Date, dates before 1970 and beyond the year 9999, undefined; an ArrayBuffer, even as long as one of those."""
    values = [
        (b"\xd7\x00" + DAY_BYTES, "2020-01-02T03:04:05.678Z"),
        (b"\xd7\x00" + b"\xff" * 8, "1969-12-31T23:59:59.999Z"),
        (b"\xd7\x00\x7f" + b"\xff" * 7, None),
        (b"\xd4\x00\x00", None),
        (b"\xc7\x00\x00", b""),
        (b"\xc7\x01\x00\x05", b"\x05"),
        (b"\xc7\x08\x00abcdefgh", b"abcdefgh"),
        (b"\xd5\x07xy", b"xy"),
        (b"\xd4\x07x", b"x"),
        (b"\x81\x01\xc3", {"1": True}),
    ]
    assert decode(message(*[packed for packed, _ in values]), 16).data == ["a", *[found for _, found in values]]


def test_msgpacks_own_timestamp_is_read_as_text() -> None:
    assert decode(pack({"type": 2, "nsp": "/", "data": ["a", DAY]}), 16).data == ["a", "2020-01-02T03:04:05.678Z"]


def test_dates_are_written_as_notepack_reads_them() -> None:
    """Wherever they are; one without a zone is taken for UTC, as on the JSON wire."""
    [written] = encode(EVENT, "/", ["a", DAY])[1]
    assert written.endswith(b"\xa1a\xd7\x00" + DAY_BYTES)
    zone = dt.timezone(dt.timedelta(hours=2))
    for same in (DAY.replace(tzinfo=None), DAY.astimezone(zone), DAY + dt.timedelta(microseconds=999)):
        assert encode(EVENT, "/", ["a", same])[1] == [written]
    before = dt.datetime(1969, 12, 31, 23, 59, 59, 999_000, dt.UTC)
    assert through(EVENT, "/", ["a", {"deep": [before]}]).data == ["a", {"deep": ["1969-12-31T23:59:59.999Z"]}]


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    at: dt.datetime
    parts: tuple[int, ...]


def test_values_are_written_as_on_the_json_wire() -> None:
    """What is neither a date nor bytes becomes what a client of the other parser gets."""
    values = [Colour.RED, uuid.UUID(int=1), decimal.Decimal("1.10"), dt.date(2020, 1, 2), dt.timedelta(seconds=1.5)]
    values += [Point(DAY, (1, 2)), {1}, collections.deque([1])]
    text, _ = socketio.encode(EVENT, "/", ["a", *values])
    assert through(EVENT, "/", ["a", *values]).data == json.loads(text[text.index(b"[") :])


def test_bytes_of_every_kind_are_bytes() -> None:
    data = ["a", b"x", bytearray(b"x"), memoryview(b"x")]
    assert through(EVENT, "/", data).data == ["a", b"x", b"x", b"x"]


@pytest.mark.parametrize("value", [object(), 2**64, "\ud800", open])
def test_what_msgpack_cannot_hold_is_a_payload_error(value: Any) -> None:
    with pytest.raises(PayloadError):
        encode(EVENT, "/", ["a", value])


def test_a_circle_is_a_payload_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(PayloadError):
        encode(EVENT, "/", ["a", circle])


@pytest.mark.parametrize(
    "mark", [b"\xc7\x01\x00", b"\xc7\x08\x00", b"\xd7\x00"], ids=["like undefined", "like a date", "dates"]
)
def test_many_extensions_are_read_in_linear_time(mark: bytes) -> None:
    """A quarter of a megabyte of them would take a minute, were each looked for in the whole message."""
    size = 1 if mark == b"\xc7\x01\x00" else 8
    count = 250_000 // (len(mark) + size)
    extensions = [mark + (number % 256**size).to_bytes(size, "big") for number in range(count)]
    items = b"\xdd" + count.to_bytes(4, "big") + b"".join(extensions)
    message = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x" + items
    began = time.process_time()
    assert len(decode(message, 100).data[1]) == count
    assert time.process_time() - began < 2.0  # it takes a tenth of one


def test_keys_that_are_nested_lists_are_refused_or_taken_and_nothing_else() -> None:
    """As deep as msgspec reads them, and a little deeper."""
    for depth in range(0, 1_050):
        message = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x\x81" + b"\x91" * depth + b"\x01\x02"
        with contextlib.suppress(SocketProtocolError):
            decode(message, 64)


@pytest.mark.parametrize("count", [0, 1, 13, 14, 15, 16, 65_534, 65_535, 65_536])
@pytest.mark.parametrize("namespace", ["/", "/Ĥdata", "/" + "x" * 300])
def test_an_argument_is_appended_to_an_encoded_event(count: int, namespace: str) -> None:
    """What comes out is what encoding the longer list gives, whatever form the list's head has."""
    data = ["event", *([0] * count)]
    text, attachments = encode(EVENT, namespace, data)
    assert append(namespace, text, attachments, b"e.1.0") == encode(EVENT, namespace, [*data, "e.1.0"])
