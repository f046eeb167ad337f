"""Shoal's types as others see them: a correct application passes mypy and pyright, a wrong one does not.

Runs the checkers with nothing of this project's own configuration. What is right or wrong stands in ``tests/apps``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "tests" / "apps"
BIN = Path(sys.executable).parent
# pyright asks the first `python` on PATH for the installed packages.
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout, done.stderr
    return done.stdout


def mypy(folder: Path, file: Path) -> set[tuple[int, str]]:
    """Line and code of each error."""
    strict = ("--strict", "--config-file=", "--cache-dir", str(folder / "cache"), "--no-pretty")
    output = run(folder, sys.executable, "-m", "mypy", *strict, str(file))
    found = re.findall(r":(\d+): error: .*\[([\w-]+)\]$", output, re.M)
    assert len(found) == output.count(" error: "), output
    return {(int(line), code) for line, code in found}


def pyright(folder: Path, *arguments: str) -> Any:
    return json.loads(run(folder, str(BIN / "basedpyright"), "--outputjson", *arguments))


def test_mypy_finds_nothing_in_a_correct_application(tmp_path: Path) -> None:
    """What the documentation shows passes ``mypy --strict``, and decorators keep the types of what they decorate."""
    assert mypy(tmp_path, APPS / "typed.py") == set()


def test_mypy_finds_each_mistake(tmp_path: Path) -> None:
    """A misspelt option, a value of the wrong type and a misused handler are errors where they stand."""
    lines = (APPS / "mistyped.py").read_text(encoding="utf-8").splitlines()
    codes = [line.partition("# error: ")[2].split(", ") for line in lines]
    marked = {(number, code) for number, found in enumerate(codes, 1) for code in found if code}
    assert len(marked) > 5
    assert mypy(tmp_path, APPS / "mistyped.py") == marked


@pytest.mark.parametrize(("name", "wrong"), [("typed", False), ("mistyped", True)])
def test_pyright_agrees(tmp_path: Path, name: str, wrong: bool) -> None:
    """In its strict mode."""
    settings = {"typeCheckingMode": "strict", "include": [str(APPS / f"{name}.py")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    found = [problem for problem in pyright(tmp_path)["generalDiagnostics"] if problem["severity"] == "error"]
    assert {Path(problem["file"]).stem for problem in found} == ({name} if wrong else set()), found


def test_every_public_name_has_a_type(tmp_path: Path) -> None:
    """``pyright --verifytypes`` knows the type of each name in each module; other packages' own gaps are theirs."""
    report = pyright(tmp_path, "--verifytypes", "shoal", "--ignoreexternal")["typeCompleteness"]
    unknown = [
        f"{symbol['name']}: {problem['message']}"
        for symbol in report["symbols"]
        for problem in symbol["diagnostics"]
        if symbol["isExported"] and (not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])
    ]
    assert unknown == []
    assert report["completenessScore"] == 1
    assert report["exportedSymbolCounts"]["withKnownType"] > 1000
