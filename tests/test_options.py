"""What type checkers and editors are told of the options is what the settings say."""

from __future__ import annotations

import dataclasses
import inspect
import typing

import pytest
from tests import options

from shoal import Engine, Server
from shoal.options import EngineOptions, RunOptions, ServerOptions
from shoal.serving import run as serving
from shoal.settings import EngineSettings, ServerSettings


def test_the_options_are_those_of_the_settings() -> None:
    """Names, types, defaults and words: whoever changes an option runs `make generate`."""
    assert options.FILE.read_text(encoding="utf-8") == options.text()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (EngineOptions, {field.name for field in dataclasses.fields(EngineSettings)}),
        (ServerOptions, {field.name for field in dataclasses.fields(ServerSettings)}),
        (RunOptions, {*inspect.signature(serving.run).parameters} - {"app", "host", "port"}),
    ],
)
def test_no_option_is_missing_and_none_is_required(kind: typing.Any, names: set[str]) -> None:
    """Python agrees, which knows nothing of how they were written."""
    assert kind.__optional_keys__ == names
    assert not kind.__required_keys__
    assert typing.get_type_hints(kind).keys() == names


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (Server.__init__, ServerOptions),
        (Engine.__init__, EngineOptions),
        (Server.run, RunOptions),
        (Server.serve, RunOptions),
        (Engine.run, RunOptions),
        (Engine.serve, RunOptions),
    ],
)
def test_who_takes_options_says_which(function: typing.Any, kind: typing.Any) -> None:
    assert typing.get_type_hints(function)["options"] == typing.Unpack[kind]


@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        ("int", "int"),
        ("tuple[str, ...]", "str | Iterable[str]"),
        ("str | tuple[str, ...] | None", "str | Iterable[str] | None"),
    ],
)
def test_a_tuple_may_be_given_as_a_list_or_as_one_text(kind: str, argument: str) -> None:
    """As the settings take it."""
    assert options.as_argument(kind) == argument


def test_run_and_serve_take_the_same() -> None:
    assert inspect.signature(serving.run).parameters == inspect.signature(serving.serve).parameters
