"""The short cut for plain command lines: what it reads, it reads as Typer does, and it leaves the rest to Typer."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from hypothesis import given
from hypothesis import strategies as st

from shoal.cli.balancer import balancer
from shoal.cli.check import check
from shoal.cli.direct import read
from shoal.cli.emit import emit
from shoal.cli.serve import serve
from shoal.cli.up import up

WORDS = (
    st.sampled_from(
        [
            "app:io",
            "nginx",
            "INFO",
            "loud",
            "x y",
            "true",
            "é",
            "",
            "-",
            "--",
            "8080",
            "0",
            "65536",
            "-1",
            "+1",
            "1_0",
            "١",
        ]
    )
    | st.sampled_from(
        [
            " 7",
            "007",
            "9" * 12,
            "1.5",
            "--help",
            "-h",
            "-v",
            "--no-reload",
            "--port=1",
            "--por",
            "--port",
            "--host",
            "--uds",
        ]
    )
    | st.sampled_from(
        [
            "--node",
            "--log-level",
            "--workers",
            "--reload-dir",
            "--ssl-version",
            "--factory",
            "--app-dir",
            "--reload",
            "--ports",
        ]
    )
    | st.sampled_from(
        ["--servers", "--verbose", "--open", "--json", "--listen", "--room", "--namespace", "--check", "--algorithm"]
    )
)
LINES = st.lists(WORDS, max_size=5)
PLAIN = st.lists(
    st.sampled_from(["--port 1", "--port 65535", "--workers 3", "--node n", "--log-level Error", "--check"])
    | st.sampled_from(["--reload", "--app-dir .", "--uds /s", "--ssl-version 17", "--port 2 --port 3", "--factory"]),
    max_size=5,
)


def read_by_typer(command: Callable[..., Any], words: list[str]) -> dict[str, Any] | None:
    """What Typer calls a command with; ``None`` where it refuses or answers by itself."""
    seen: list[dict[str, Any]] = []
    program = typer.Typer(add_completion=False)
    program.command()(functools.wraps(command)(lambda **values: seen.append(values)))
    try:
        program(words, standalone_mode=False)
    except typer.BadParameter.__mro__[2]:
        return None
    return seen[0] if seen else None


def equal(command: Callable[..., Any], words: list[str]) -> bool:
    """Whether the short cut read it, and then as Typer does."""
    directly = read(command, words)
    if directly is None:
        return False
    by_typer = read_by_typer(command, words)
    assert directly == by_typer
    assert {name: type(value) for name, value in directly.items()} == {n: type(v) for n, v in by_typer.items()}
    return True


@given(st.sampled_from([serve, up, check, balancer, emit]), LINES)
def test_what_is_read_is_read_as_by_typer(command: Callable[..., Any], words: list[str]) -> None:
    equal(command, words)


@given(PLAIN)
def test_a_plain_line_is_read_so(pieces: list[str]) -> None:
    """`shoal serve` with texts, numbers and switches, in any order, unless Typer refuses it."""
    words = " ".join(["app:io", *pieces]).split()
    assert equal(serve, words) == (read_by_typer(serve, words) is not None)


def test_a_plain_line_costs_no_pydantic(tmp_path: Path) -> None:
    """It is what a start would cost most, next to Shoal and uvicorn."""
    (tmp_path / "app.py").write_text("from shoal import Server\nio = Server()\n")
    program = (
        "import sys\nfrom shoal.cli import main\n"
        "try:\n    main(['serve', 'app:io', '--check'])\n"
        "except SystemExit as end:\n    print(end.code, 'pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "0 False\n"


def test_a_mistake_that_a_command_finds_names_its_help(tmp_path: Path) -> None:
    """As it does where Typer has read the line."""
    told = []
    for words in (["--workers", "2"], ["--workers=2"]):
        command = [sys.executable, "-m", "shoal", "serve", "app:io", "--reload", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
        told.append((done.returncode, done.stderr))
    assert told[0] == told[1]
    assert told[0][1].endswith("; see shoal serve --help\n")
