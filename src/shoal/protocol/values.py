"""How Python values that JSON does not know are written, as a JavaScript peer expects them.

``datetime`` becomes ISO 8601 text in UTC with milliseconds and ``Z``, as ``Date.prototype.toJSON`` writes it;
``Decimal`` becomes text, since a JavaScript number would round it. What orjson writes by itself (``UUID``, enums,
dataclasses) never comes here. Bytes are not this module's business.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import msgspec

__all__ = ["as_json", "iso_text"]


def as_json(value: Any) -> Any:
    """A JSON value, or one that orjson can take further, in place of ``value``.

    Raises:
        TypeError: There is none.
    """
    if isinstance(value, dt.datetime):
        return iso_text(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | PurePath):
        return str(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if hasattr(value, "model_dump"):  # pydantic, which is not a dependency
        return value.model_dump()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and hasattr(value, "__len__"):  # sets, deques, views; not endless iterators
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def iso_text(value: dt.datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``. A naive value is taken for UTC."""
    if value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return value.isoformat(timespec="milliseconds") + "Z"
