"""What a handler's annotations say of an event's arguments: which are converted and validated, and with what.

Asked once, at registration. A ``msgspec.Struct``, a dataclass and a pydantic model are converted; any other annotation
is for readers alone. Each annotation is evaluated by itself: one that cannot be, such as that of ``socket`` where the
name is imported under ``TYPE_CHECKING``, does not keep the others from being checked.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..signatures import innermost, name_of
from .events import warn

__all__ = ["Converter", "converters_of"]

Converter = Callable[[Any], Any]


def converters_of(function: Callable[..., Any], parameters: Iterable[inspect.Parameter]) -> list[Converter | None]:
    """What each of these parameters is converted with; empty if none is.

    Warns of an annotation that cannot be evaluated: it may be a model, and is not checked then.
    """
    written = innermost(function)
    names = getattr(written, "__globals__", None) or getattr(type(written).__call__, "__globals__", {})
    found = [_converter(_kind(function, parameter, names)) for parameter in parameters]
    return found if any(found) else []


def _kind(function: Callable[..., Any], parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    if parameter.annotation is parameter.empty:
        return None
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(holder, names)[parameter.name]
    except Exception as error:  # noqa: BLE001 - evaluating an annotation runs the application's code: anything may arrive
        warn(
            f"argument {parameter.name!r} of {name_of(function)}() is not checked: its annotation "
            f"{parameter.annotation!r} cannot be evaluated ({error}); a model must be importable where the handler is",
            UserWarning,
        )
        return None


def _converter(kind: Any) -> Converter | None:
    """How to make a ``kind`` from decoded JSON; ``None`` for types that are left as they come."""
    if not isinstance(kind, type):
        return None
    if hasattr(kind, "model_validate"):  # pydantic, which is not a dependency
        return typing.cast(Converter, kind.model_validate)
    if issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind):
        return lambda value: msgspec.convert(value, kind)
    return None
