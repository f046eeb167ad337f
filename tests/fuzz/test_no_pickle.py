"""Nothing that could run what a peer sends: no module of Shoal imports pickle or its like."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.test_architecture import GOOD, SOURCE, plant, read

UNSAFE = {"_pickle", "cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve"}
CALLS = {"__import__", "eval", "exec"}


def unsafe(source: Path) -> Iterator[str]:
    for module in read(source).values():
        for imported in module.imports:
            if imported.target.partition(".")[0] in UNSAFE:
                yield f"{module.where}:{imported.line} imports {imported.target}"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
                yield f"{module.where}:{node.lineno} calls {node.func.id}"


def test_no_module_imports_pickle() -> None:
    """What comes over a wire is JSON or msgpack, and never code."""
    assert list(unsafe(SOURCE)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import pickle", "bus/base.py:2 imports pickle"),
        ("from pickle import loads", "bus/base.py:2 imports pickle"),
        ("def f():\n    import marshal as m", "bus/base.py:3 imports marshal"),
        ("import shelve", "bus/base.py:2 imports shelve"),
        ("eval('1')", "bus/base.py:2 calls eval"),
    ],
)
def test_an_import_of_it_is_found(tmp_path: Path, text: str, expected: str) -> None:
    """Wherever it stands."""
    assert list(unsafe(plant(tmp_path, GOOD | {"bus/base.py": text}))) == [expected]
