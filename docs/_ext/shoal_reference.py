"""Directives that write the reference out of the code: options, counters, commands.

Names, types, defaults and explanations are those of the source, so that the tables cannot say anything else.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import typer
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from shoal.cli.app import app as commands


@functools.cache
def explanations(kind: type) -> dict[str, str]:
    """The docstring below each attribute of a class, as Markdown on one line."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for before, node in zip(body.body, body.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            match node:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[before.target.id] = markdown(text)
    for name, member in vars(kind).items():
        if isinstance(member, property) and member.__doc__ and not name.startswith("_"):
            found[name] = markdown(member.__doc__)
    return found


def markdown(text: str) -> str:
    """A docstring's reStructuredText as Markdown: double backticks become single ones, roles their names."""
    text = re.sub(r":\w+:`[.~]*([^`]+)`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split())


def type_name(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(repr(value) for value in typing.get_args(kind))
    if isinstance(kind, types.UnionType):
        return " or ".join(type_name(part) for part in typing.get_args(kind))
    if kind is types.NoneType:
        return "None"
    if typing.get_origin(kind) is tuple:
        return "tuple of str"
    return getattr(kind, "__name__", str(kind))


def value(default: Any) -> str:
    """A default as it is written in Python, with thousands apart."""
    return f"`{default:_}`" if isinstance(default, int) and not isinstance(default, bool) else f"`{default!r}`"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    titles = list(head)
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


class Markdown(SphinxDirective):
    """A directive whose body is Markdown that the code has written."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        container = nodes.Element()
        self.state.nested_parse(StringList(list(self.lines()), self.arguments[0]), 0, container)
        return container.children


class Options(Markdown):
    """The fields of a settings class, without those of the class above it where `own` is said."""

    option_spec: typing.ClassVar = {"own": directives.flag}  # type: ignore[misc]

    def lines(self) -> Iterator[str]:
        kind = load(self.arguments[0])
        texts = {name: text for each in reversed(kind.__mro__[:-1]) for name, text in explanations(each).items()}
        hints = typing.get_type_hints(kind)
        inherited = {field.name for field in dataclasses.fields(kind.__mro__[1])} if "own" in self.options else set()
        own = [field for field in dataclasses.fields(kind) if field.name not in inherited]
        yield from table(
            ("option", "type", "default", "what it does"),
            ((f"`{f.name}`", type_name(hints[f.name]), value(f.default), texts[f.name]) for f in own),
        )


class Counters(Markdown):
    """The counters of a class, under the name by which an application reaches them."""

    required_arguments = 2

    def lines(self) -> Iterator[str]:
        kind = load(self.arguments[0])
        texts = {name: text for each in reversed(kind.__mro__[:-1]) for name, text in explanations(each).items()}
        yield from table(
            ("counter", "what it counts"),
            ((f"`{self.arguments[1]}.{name}`", text) for name, text in texts.items() if name != "broker"),
        )


class Commands(Markdown):
    """One command of the command line: what it is for, its arguments and options."""

    def lines(self) -> Iterator[str]:
        group = typer.main.get_command(commands)
        context = typer.Context(group, info_name="shoal")
        command = group.get_command(context, self.arguments[0])  # type: ignore[attr-defined]
        yield from inspect.cleandoc(command.help).splitlines()
        yield ""
        yield from table(("", "default", "what it does"), (self.row(parameter) for parameter in command.params))

    def row(self, parameter: Any) -> tuple[str, str, str]:
        is_option = parameter.param_type_name == "option"
        names = (
            [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.metavar or parameter.name.upper()]
        )
        shown = parameter.show_default if is_option and isinstance(parameter.show_default, str) else ""
        default = parameter.default
        if not shown and default not in (None, False, "", ()):
            shown = f"`{getattr(default, 'value', default)}`"
        return ", ".join(f"`{name}`" for name in names), shown, " ".join((parameter.help or "").split())


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("shoal-options", Options)
    app.add_directive("shoal-counters", Counters)
    app.add_directive("shoal-command", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
