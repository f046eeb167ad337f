"""`shoal completion`: what shells are given, and what they get when they ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.requirements import need

from shoal.cli import main

PROGRAM = Path(sys.executable).with_name("shoal")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", "complete -o default -F _shoal_completion shoal"),
        ("zsh", "#compdef shoal"),
        ("fish", "complete --command shoal"),
    ],
)
def test_there_is_a_script_for(capsys: pytest.CaptureFixture[str], shell: str, words: str) -> None:
    code, out, err = run(capsys, "completion", shell)
    assert (code, err) == (0, "")
    assert words in out
    assert f"_SHOAL_COMPLETE=complete_{shell}" in out


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "completion", "csh")
    assert (code, out) == (1, "")
    assert "'csh'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("shoal se", ["serve"]),
        ("shoal serve --work", ["--workers"]),
        ("shoal completion ", ["bash", "zsh", "fish"]),
        ("shoal bench --mode e", ["echo"]),
    ],
)
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_who_asks_is_answered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shell: str, typed: str, offered: list[str]
) -> None:
    """As the scripts ask, so for shells that are not installed here as well."""
    monkeypatch.setenv("_SHOAL_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", typed)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    for word in offered:
        assert word in out
    assert "--port" not in out


def test_bash_completes_with_it() -> None:
    asks = f"""
eval "$({PROGRAM} completion bash)"
complete -p shoal
COMP_WORDS=(shoal serve --reload-); COMP_CWORD=2
_shoal_completion {PROGRAM}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run([need("bash"), "-c", asks], capture_output=True, text=True, timeout=60, check=True)
    function, *offered = done.stdout.splitlines()
    assert function == "complete -o default -F _shoal_completion shoal"
    assert sorted(offered) == ["--reload-dir", "--reload-exclude", "--reload-include"]
    assert done.stderr == ""
