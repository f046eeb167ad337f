"""Whether a function can be called with what it will get, asked when it is registered and not when a client comes.

Nothing here knows an event, or calls the function.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .errors import ConfigurationError

__all__ = ["innermost", "name_of", "place_of", "require_signature"]


def require_signature(function: Callable[..., Any], purpose: str, *wanted: Sequence[str], more: bool = False) -> None:
    """Refuse a function that cannot be called as it will be, or that would do nothing: a generator.

    Args:
        function: Anything. A builtin that does not tell its signature passes.
        purpose: What it is for, as in ``a handler of 'connect'``.
        wanted: The positional arguments that it may be called with, by their names. It must take one of these lists.
        more: Whether other arguments may follow.

    Raises:
        ConfigurationError: It is no function, or takes something else. Says where it is defined.
    """
    if not callable(function):
        raise ConfigurationError(f"{function!r} is no function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    name, ending = name_of(function), ["..."] if more else []
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        reason = "it has a yield, so that a call alone runs nothing of it"
    elif any(_takes(signature, arguments, more) for arguments in wanted):
        return
    else:
        calls = [f"{name}({', '.join([*arguments, *ending])})" for arguments in wanted]
        reason = f"it is called as {' or '.join(calls)}"
    place = place_of(function)
    where = "" if place is None else f" ({place[0]}, line {place[1]})"
    raise ConfigurationError(f"{name}{_bare(signature)}{where} cannot be {purpose}: {reason}")


def name_of(function: Any) -> str:
    """The name of a function, or of the class of an object that is called like one."""
    found: str = getattr(innermost(function), "__name__", type(function).__name__)
    return found


def place_of(function: Any) -> tuple[str, int] | None:
    """File and line of a function; ``None`` for one that is not written in Python."""
    code = getattr(innermost(function), "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return None if code is None else (code.co_filename, code.co_firstlineno)


def _takes(signature: inspect.Signature, arguments: Sequence[str], more: bool) -> bool:
    count = len(arguments)
    if more:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        required = [p for p in signature.parameters.values() if p.kind in kinds and p.default is p.empty]
        count = max(count, len(required))
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _bare(signature: inspect.Signature) -> str:
    """A signature without annotations, which are long and not what is wrong."""
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def innermost(function: Any) -> Any:
    """The function that was written, below partials, methods and decorators."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.unwrap(function)
