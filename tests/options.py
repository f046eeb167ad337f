"""The options as keyword arguments for type checkers and editors, written from the settings: ``src/shoal/options.py``.

``make generate`` writes it; ``tests/test_options.py`` compares. Names, types, defaults and words are those of
:mod:`shoal.settings`, and for what ``run()`` takes those of :func:`shoal.serving.run.run`. An option that is a
tuple there is given as anything that can be walked over, or as one text.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from shoal.serving import run as serving
from shoal.settings import EngineSettings, ServerSettings

FILE = Path(__file__).resolve().parent.parent / "src" / "shoal" / "options.py"
COMMAND = "make generate"
WIDTH = 120
HEAD = f'''\
"""What :class:`shoal.Server`, :class:`shoal.Engine` and their ``run`` take as keyword arguments, for type checkers.

Made by `{COMMAND}` from :mod:`shoal.settings` and :mod:`shoal.serving.run`, which read and
check them; do not edit.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypedDict

__all__ = ["EngineOptions", "RunOptions", "ServerOptions"]
'''


@dataclass(frozen=True)
class Option:
    """One option: its name, its type as an argument, its default as it is written, and its words."""

    name: str
    type: str
    default: str
    words: str


def of_settings(kind: type) -> Iterator[Option]:
    """The options that a class of settings adds, in their order."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    for statement, behind in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(statement.target, ast.Name)
            assert statement.value is not None
            words = ""
            if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
                words = inspect.cleandoc(str(behind.value.value))
            default = f"``{getattr(kind(), statement.target.id)!r}``"
            yield Option(
                statement.target.id, as_argument(ast.unparse(statement.annotation).replace("'", '"')), default, words
            )


def as_argument(kind: str) -> str:
    """The type that an argument may have: a tuple of texts may come as any iterable of them, or as one."""
    parts = [part.strip() for part in kind.split("|")]
    if "tuple[str, ...]" not in parts:
        return kind
    others = [part for part in parts if part not in ("tuple[str, ...]", "str")]
    return " | ".join(["str", "Iterable[str]", *others])


def of_run() -> Iterator[Option]:
    """What ``run()`` takes beside an application, a host and a port."""
    words = dict(_arguments(inspect.getdoc(serving.run) or ""))
    for parameter in inspect.signature(serving.run).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            yield Option(parameter.name, parameter.annotation, f"``{parameter.default!r}``", words[parameter.name])


def _arguments(doc: str) -> Iterator[tuple[str, str]]:
    """The words of a docstring's arguments, by name."""
    [section] = re.findall(r"^Args:\n((?:(?:    .*)?\n)*)", doc, re.M)
    for names, words in re.findall(r"^    ([\w, ]+): (.*(?:\n        .*)*)", section, re.M):
        yield from ((name, " ".join(words.split())) for name in names.split(", "))


def text() -> str:
    """The whole module."""
    server = [option for option in of_settings(ServerSettings) if option.words]  # `path` differs in its default only
    [path] = [option for option in of_settings(ServerSettings) if not option.words]
    engine = list(of_settings(EngineSettings))
    at = next(number for number, option in enumerate(engine) if option.name == path.name)
    engine[at] = replace(engine[at], default=f"{engine[at].default}, of a server {path.default}")
    parts = [
        HEAD,
        *_class(
            "EngineOptions",
            "TypedDict",
            "Options of :class:`shoal.Engine`; durations in seconds, sizes in bytes.",
            engine,
        ),
        *_class(
            "ServerOptions", "EngineOptions", "Options of :class:`shoal.Server`: all of an engine's, and these.", server
        ),
        *_class("RunOptions", "TypedDict", "Options of ``run()`` beside host and port.", list(of_run())),
    ]
    return "\n".join(parts)


def _class(name: str, base: str, words: str, options: list[Option]) -> Iterator[str]:
    yield f'\nclass {name}({base}, total=False):\n    """{words}"""\n'
    for option in options:
        yield f"    {option.name}: {option.type}"
        yield from _docstring(f"{option.words} Default: {option.default}.")
    yield ""


def _docstring(words: str) -> list[str]:
    lines = textwrap.wrap(f'"""{words}', WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    if len(lines[-1]) + 3 > WIDTH - 4:
        lines.append("")
    return textwrap.indent("\n".join(lines) + '"""', "    ").splitlines()


def main(arguments: list[str]) -> None:
    if arguments == ["--write"]:
        FILE.write_text(text(), encoding="utf-8")
    else:
        sys.exit("python -m tests.options --write")


if __name__ == "__main__":
    main(sys.argv[1:])
