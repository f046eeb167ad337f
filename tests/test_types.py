"""Shoal's types as others see them: a correct application passes mypy and pyright, a wrong one does not.

Runs the checkers with nothing of this project's own configuration, and each once for all that it is to check: what
they cost is reading Shoal and the frameworks. What is right or wrong in an application stands in ``tests/apps``; the
snippets of the pages and the examples are to be right too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests.docs.snippets import PROGRAMS, Program

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "tests" / "apps"
EXAMPLES = [*sorted((ROOT / "examples").glob("**/app.py")), *sorted((ROOT / "examples").glob("*/tasks.py"))]
SNIPPETS = [program for program in PROGRAMS if program.whole]
BIN = Path(sys.executable).parent
# pyright asks the first `python` on PATH for the installed packages.
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "MYPYPATH": str(ROOT)}
STRICT = textwrap.dedent("""\
    [mypy]
    strict = True
    pretty = False
    disable_error_code = top-level-await
    namespace_packages = True
    explicit_package_bases = True
    # What has no types of its own.
    [mypy-django.*,socketio.*,celery.*,tasks]
    ignore_missing_imports = True
    follow_imports = skip
    [mypy-django_notifications_app,celery_progress_tasks]
    disallow_subclassing_any = False
    disallow_untyped_decorators = False
    [mypy-tests.*]
    follow_imports = silent
    """)
Errors = defaultdict[str, list[tuple[int, str, str]]]
"""By the name of a module: line, code and message."""


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """What ``mypy --strict`` finds in all files that it is to check."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "mypy.ini").write_text(STRICT, encoding="utf-8")
    for program in SNIPPETS:
        (folder / f"{program.module}.py").write_text(program.text, encoding="utf-8")
    for example in EXAMPLES:  # by names of their own, since the folders of chapters are none
        (folder / f"{name(example)}.py").write_text(example.read_text(encoding="utf-8"), encoding="utf-8")
    targets = [APPS / "typed.py", APPS / "mistyped.py", *folder.glob("*.py")]
    options = ("--config-file", str(folder / "mypy.ini"), "--cache-dir", str(ROOT / ".mypy_cache" / "tests"))
    output = run(ROOT, sys.executable, "-m", "mypy", *options, *map(str, targets))
    # One file with a mistake of syntax, and none is checked.
    assert f"(checked {len(targets)} source files)" in output, output
    found: Errors = defaultdict(list)
    for file, line, words, code in re.findall(r"^(.+?):(\d+): error: (.*)  \[([\w-]+)\]$", output, re.M):
        found[Path(file).stem].append((int(line), code, words))
    assert sum(map(len, found.values())) == output.count(" error: "), output
    assert found.keys() <= {path.stem for path in targets}, output
    return found


def name(example: Path) -> str:
    return f"{example.parent.name}_{example.stem}"


def pyright(folder: Path, *arguments: str) -> Any:
    return json.loads(run(folder, str(BIN / "basedpyright"), "--outputjson", *arguments))


def test_mypy_finds_nothing_in_a_correct_application(mypy: Errors) -> None:
    """Decorators keep the types of what they decorate, and what is returned has its type."""
    assert mypy["typed"] == []


def test_mypy_finds_each_mistake(mypy: Errors) -> None:
    """A misspelt option, a value of the wrong type and a misused handler are errors where they stand."""
    lines = (APPS / "mistyped.py").read_text(encoding="utf-8").splitlines()
    codes = [line.partition("# error: ")[2].split(", ") for line in lines]
    marked = {(number, code) for number, found in enumerate(codes, 1) for code in found if code}
    assert len(marked) > 5
    assert {error[:2] for error in mypy["mistyped"]} == marked


@pytest.mark.parametrize("program", SNIPPETS, ids=lambda program: program.name)
def test_the_types_of_a_snippet_are_right(mypy: Errors, program: Program) -> None:
    assert mypy[program.module] == [], program.text


@pytest.mark.parametrize("app", EXAMPLES, ids=name)
def test_the_types_of_an_example_are_right(mypy: Errors, app: Path) -> None:
    assert mypy[name(app)] == []


def test_pyright_agrees(tmp_path: Path) -> None:
    """In its strict mode: nothing in the correct application, something in the other one."""
    settings = {"typeCheckingMode": "strict", "include": [str(APPS / f"{name}.py") for name in ("typed", "mistyped")]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    report = pyright(tmp_path)
    assert report["summary"]["filesAnalyzed"] == 2
    found = [problem for problem in report["generalDiagnostics"] if problem["severity"] == "error"]
    assert {Path(problem["file"]).stem for problem in found} == {"mistyped"}, found


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
