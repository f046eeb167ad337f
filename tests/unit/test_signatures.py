"""Functions that cannot be called with what they will get are refused, and the refusal says what and where."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from shoal import ConfigurationError
from shoal.signatures import require_signature


def none() -> None: ...
def one(socket: Any) -> None: ...
def two(socket: Any, reason: str) -> None: ...
def three(sid: str, environ: dict[str, Any], auth: Any) -> None: ...
def optional(socket: Any, reason: str = "") -> None: ...
def endless(*args: Any) -> None: ...
def keyword(socket: Any, *, database: Any) -> None: ...
def default_keyword(socket: Any, *, database: Any = None) -> None: ...


class Methods:
    def method(self, socket: Any) -> None: ...

    def __call__(self, socket: Any, reason: str) -> None: ...


def line_of(function: Any) -> int:
    return inspect.getsourcelines(function)[1]


ONE, TWO = ("socket",), ("socket", "reason")


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (one, [ONE]),
        (optional, [ONE]),
        (optional, [TWO]),
        (endless, [TWO]),
        (default_keyword, [ONE]),
        (one, [TWO, ONE]),
        (two, [TWO, ONE]),
        (functools.partial(two, None), [("reason",)]),
        (functools.partial(keyword, database=None), [ONE]),
        (Methods().method, [ONE]),
        (Methods(), [TWO]),
        (lambda socket: None, [ONE]),
        (print, [TWO]),
        (dict.update, [ONE]),  # tells no signature
    ],
)
def test_what_can_be_called_passes(function: Callable[..., Any], wanted: list[tuple[str, ...]]) -> None:
    require_signature(function, "a handler", *wanted)


@pytest.mark.parametrize(
    ("function", "wanted", "text", "source"),
    [
        (none, [ONE], "none()", none),
        (two, [ONE], "two(socket, reason)", two),
        (three, [TWO, ONE], "three(sid, environ, auth)", three),
        (keyword, [ONE], "keyword(socket, *, database)", keyword),
        (functools.partial(three, 1), [ONE], "three(environ, auth)", three),
        (Methods().method, [TWO], "method(socket)", Methods.method),
        (Methods(), [ONE], "Methods(socket, reason)", Methods.__call__),
    ],
)
def test_what_cannot_be_called_is_refused(
    function: Callable[..., Any], wanted: list[tuple[str, ...]], text: str, source: Any
) -> None:
    """With its name, what it takes, where it stands, and how it would be called."""
    with pytest.raises(ConfigurationError) as refused:
        require_signature(function, "the handler of 'connect'", *wanted)
    name = text.partition("(")[0]
    calls = " or ".join(f"{name}({', '.join(arguments)})" for arguments in wanted)
    place = f"({__file__}, line {line_of(source)})"
    assert str(refused.value) == f"{text} {place} cannot be the handler of 'connect': it is called as {calls}"


@pytest.mark.parametrize(("function", "fits"), [(none, False), (one, True), (three, True), (keyword, False)])
def test_more_arguments_may_follow(function: Callable[..., Any], fits: bool) -> None:
    """Those of an event, of which nobody knows how many there are; a keyword never comes."""
    if fits:
        require_signature(function, "a handler", ONE, more=True)
    else:
        with pytest.raises(ConfigurationError, match=r"it is called as \w+\(socket, \.\.\.\)"):
            require_signature(function, "a handler", ONE, more=True)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="7 is no function"):
        require_signature(7, "a handler", ONE)  # type: ignore[arg-type]


def generator(socket: Any) -> Iterator[None]:
    yield


async def async_generator(socket: Any) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("function", [generator, async_generator, functools.partial(generator)])
def test_a_generator_is_refused_since_a_call_runs_nothing_of_it(function: Callable[..., Any]) -> None:
    reason = "cannot be the handler of 'x': it has a yield, so that a call alone runs nothing of it$"
    with pytest.raises(ConfigurationError, match=rf"^(async_)?generator\(.*\) \(.*, line \d+\) {reason}"):
        require_signature(function, "the handler of 'x'", ONE)


def test_a_function_that_runs_a_generator_passes() -> None:
    @functools.wraps(generator)
    def steps(socket: Any) -> None:
        for _ in generator(socket):
            pass

    require_signature(steps, "the handler of 'x'", ONE)
