"""Values that JSON does not know arrive as a JavaScript peer expects them."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import pathlib
import types
import uuid
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shoal.errors import PayloadError
from shoal.protocol.socketio import EVENT, encode, loads
from shoal.protocol.values import iso_text


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    y: Any


class Place(msgspec.Struct):
    name: str
    where: Any


class Model(BaseModel):
    a: int
    b: bytes


Pair = collections.namedtuple("Pair", "one two")
UTC = dt.UTC
EAST = dt.timezone(dt.timedelta(hours=2, minutes=30))
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def sent(value: Any) -> tuple[Any, list[bytes]]:
    """What a peer reads, placeholders as they are."""
    text, attachments = encode(EVENT, "/", ["a", value])
    body = text[text.index(b"[") :]
    return loads(body, 100)[1], list(attachments)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (dt.datetime(2024, 2, 29, 12, 30, 45, 678_901, UTC), "2024-02-29T12:30:45.678Z"),
        (dt.datetime(2024, 1, 1, 1, 0, 0, 0, EAST), "2023-12-31T22:30:00.000Z"),
        (dt.datetime(2024, 1, 1), "2024-01-01T00:00:00.000Z"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.time(1, 2, 3), "01:02:03"),
        (dt.timedelta(minutes=1, milliseconds=500), 60.5),
        (Decimal("0.10"), "0.10"),
        (ID, str(ID)),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Point(1, [Decimal(2)]), {"x": 1, "y": ["2"]}),
        (Place("a", Point(1, Colour.RED)), {"name": "a", "where": {"x": 1, "y": "red"}}),
        ({1}, [1]),
        (frozenset([Colour.RED]), ["red"]),
        (collections.deque([1, 2]), [1, 2]),
        ((1, (2, 3)), [1, [2, 3]]),
        (Pair(1, 2), [1, 2]),
        ({"a": 1}.keys(), ["a"]),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (range(3), [0, 1, 2]),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        ({dt.date(2024, 1, 2): 1, ID: 2, Colour.RED: 3}, {"2024-01-02": 1, str(ID): 2, "red": 3}),
    ],
)
def test_python_values_have_a_javascript_form(value: Any, expected: Any) -> None:
    assert sent(value) == (expected, [])


@pytest.mark.parametrize(
    "value", [Point(1, b"x"), Place("1", b"x"), {"a": collections.deque([b"x"])}, Model(a=1, b=b"x")]
)
def test_binary_inside_of_them_is_found(value: Any) -> None:
    """An attachment may lie in a dataclass, a Struct, a model or any container."""
    _, attachments = sent(value)
    assert attachments == [b"x"]


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_date_is_what_javascript_writes(value: dt.datetime) -> None:
    """Read back it is the same moment, to the millisecond; the text has one form."""
    text = iso_text(value)
    assert len(text) == 24
    assert dt.datetime.fromisoformat(text) == value.replace(microsecond=value.microsecond // 1000 * 1000)


@pytest.mark.parametrize("value", [object(), (n for n in range(2)), open, Exception("x"), 1j])
def test_others_are_refused(value: Any) -> None:
    """An endless iterator must not be walked, and no object is guessed at."""
    with pytest.raises(PayloadError):
        sent(value)
