"""What a handler's annotations say of an event's arguments: which are converted and validated, and with what.

Asked once, at registration. A ``msgspec.Struct``, a dataclass and a pydantic model are converted, and so is what is
made of them, as ``list[Bid]`` and ``Bid | None``; any other annotation is for readers alone. Each annotation is
evaluated by itself: one that cannot be, such as that of ``socket`` where the name is imported under ``TYPE_CHECKING``,
does not keep the others from being checked.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from ..errors import ConfigurationError
from ..signatures import innermost, name_of
from .events import warn

__all__ = ["Converter", "converters_of", "reason_of"]

Converter = Callable[[Any], Any]

PYDANTIC: Final = "__pydantic_validator__"
"""What its models and its dataclasses have."""
MOST_REASONS: Final = 5
"""pydantic finds all that is wrong with an argument: of a long list, each item."""
LONGEST_PLACE: Final = 100  # characters


def converters_of(function: Callable[..., Any], parameters: Iterable[inspect.Parameter]) -> list[Converter | None]:
    """What each of these parameters is converted with; empty if none is.

    Warns of an annotation that cannot be evaluated: it may be a model, and is not checked then.
    """
    written = innermost(function)
    names = getattr(written, "__globals__", None) or getattr(type(written).__call__, "__globals__", {})
    found = [_converter(_kind(function, parameter, names)) for parameter in parameters]
    return found if any(found) else []


def reason_of(error: ValueError) -> str:
    """What a client did wrong, in a line: msgspec's words, or the first of pydantic's."""
    if not hasattr(error, "errors"):
        return str(error)
    # Without the value that the client sent, and without pydantic's link for each of its mistakes.
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    said = [_reason(each["loc"], each["msg"]) for each in wrong[:MOST_REASONS]]
    if len(wrong) > MOST_REASONS:
        said.append(f"and {len(wrong) - MOST_REASONS} more")
    return "; ".join(said)


def _reason(place: Iterable[str | int], words: str) -> str:
    where = ".".join(map(str, place))  # with names that the client chose, as long as it likes
    return f"{where:.{LONGEST_PLACE}}: {words}" if where else words


def _kind(function: Callable[..., Any], parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    if parameter.annotation is parameter.empty:
        return None
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)[parameter.name]
    except Exception as error:  # noqa: BLE001 - evaluating an annotation runs the application's code: anything may arrive
        warn(
            f"argument {parameter.name!r} of {name_of(function)}() is not checked: its annotation "
            f"{parameter.annotation!r} cannot be evaluated ({error}); a model must be importable where the handler is",
            UserWarning,
        )
        return None


def _converter(kind: Any) -> Converter | None:
    """How to make a ``kind`` from decoded JSON; ``None`` for what has no model in it, and is left as it comes.

    Raises:
        ConfigurationError: Nothing can be made a ``kind``: a union of two structs without tags, for example.
    """
    models = list(_models(kind))
    if not models:
        return None
    if isinstance(kind, type) and hasattr(kind, "model_validate"):
        return typing.cast(Converter, kind.model_validate)
    try:
        if any(hasattr(model, PYDANTIC) for model in models):  # not a dependency, but the model comes from it
            return typing.cast(Converter, importlib.import_module("pydantic").TypeAdapter(kind).validate_python)
        msgspec.json.Decoder(kind)  # says what else each event would
    except NameError:
        pass  # a field's own type, which may be defined by the first event
    except (TypeError, RuntimeError) as error:  # pydantic's are both
        raise ConfigurationError(f"no argument can be checked as {kind}: {error}") from error
    return lambda value: msgspec.convert(value, kind)


def _models(kind: Any) -> Iterator[type]:
    """The models in an annotation."""
    made_of = typing.get_origin(kind) or kind
    if isinstance(made_of, type) and (
        issubclass(made_of, msgspec.Struct) or dataclasses.is_dataclass(made_of) or hasattr(made_of, PYDANTIC)
    ):
        yield made_of
    for each in typing.get_args(kind):
        yield from _models(each)
