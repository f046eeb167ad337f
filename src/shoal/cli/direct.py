"""A short cut for command lines that are plain: read as Typer reads them, without what Typer needs for that.

Typer asks pydantic to check every option, and to import it takes longer than all else that a server's start takes but
Shoal and uvicorn. Here whole words are compared and digits are read; whatever is anything else, a mistake above all, is
left to Typer, which knows how to say so. It knows no command.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import typer
from typer.models import ArgumentInfo, OptionInfo

__all__ = ["read"]

_NUMBER = re.compile(r"-?[0-9]{1,9}")
_NAME = re.compile("-[a-z]|--[a-z-]+")
_TEXTS = (str, str | None)
_NUMBERS = (int, int | None)
# What an option or argument may say of itself that changes how it is read. Of these a few are known here.
_DEFAULTS = {
    kind: {name: value for name, value in vars(kind()).items() if name not in ("param_decls", "callback", "min", "max")}
    for kind in (ArgumentInfo, OptionInfo)
}
_FOR_HELP = frozenset({"help", "metavar", "show_default", "rich_help_panel", "default"})


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    kind: Any
    info: Any
    default: Any


class _NotPlainError(Exception):
    """Typer has to read this one."""


def read(command: Callable[..., Any], words: Sequence[str]) -> dict[str, Any] | None:
    """What Typer would call ``command`` with for ``words``, or ``None`` where only Typer can tell."""
    try:
        return _read(list(_parameters(command)), iter(words))
    except _NotPlainError:
        return None


def _parameters(command: Callable[..., Any]) -> Iterator[_Parameter]:
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        kind, *infos = get_args(parameter.annotation) or (None,)
        if getattr(parameter.annotation, "__metadata__", None) is None or len(infos) != 1:
            raise _NotPlainError
        (info,) = infos
        usual = _DEFAULTS.get(type(info))
        if usual is None or any(getattr(info, key) != value for key, value in usual.items() if key not in _FOR_HELP):
            raise _NotPlainError
        yield _Parameter(name, kind, info, parameter.default)


def _read(parameters: list[_Parameter], words: Iterator[str]) -> dict[str, Any]:
    options = {word: each for each in parameters if isinstance(each.info, OptionInfo) for word in _spellings(each)}
    arguments = [each for each in parameters if isinstance(each.info, ArgumentInfo)]
    values: dict[str, Any] = {}
    for word in words:
        if not word.startswith("-"):
            if not arguments:
                raise _NotPlainError
            parameter, text = arguments.pop(0), word
        elif (found := options.get(word)) is None:
            raise _NotPlainError
        elif found.kind is bool:
            values[found.name] = True
            continue
        else:
            parameter, text = found, next(words, "-")
            if text.startswith("-"):
                raise _NotPlainError
        values[parameter.name] = _value(parameter, text)
    for parameter in parameters:
        if parameter.name not in values:
            if parameter.default is inspect.Parameter.empty:
                raise _NotPlainError
            values[parameter.name] = _called_back(parameter, parameter.default)
    return {each.name: values[each.name] for each in parameters}


def _spellings(option: _Parameter) -> list[str]:
    """The ways to write an option that are known here."""
    # In an annotation the first of them takes the place of the default.
    named = [each for each in (option.info.default, *(option.info.param_decls or ())) if isinstance(each, str)]
    if option.kind is bool and (not named or option.default is not False):
        return []  # a pair of switches, one for yes and one for no
    return [each for each in named if _NAME.fullmatch(each)] if named else [f"--{option.name.replace('_', '-')}"]


def _value(parameter: _Parameter, text: str) -> Any:
    value: Any = text
    if parameter.kind in _NUMBERS and _NUMBER.fullmatch(text):
        value = int(text)
        least, most = parameter.info.min, parameter.info.max
        if (least is not None and value < least) or (most is not None and value > most):
            raise _NotPlainError
    elif parameter.kind not in _TEXTS or parameter.info.min is not None or parameter.info.max is not None:
        raise _NotPlainError
    return _called_back(parameter, value)


def _called_back(parameter: _Parameter, value: Any) -> Any:
    if parameter.info.callback is None:
        return value
    try:
        return parameter.info.callback(value)
    except (TypeError, typer.BadParameter):
        raise _NotPlainError from None
