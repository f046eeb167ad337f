"""The benchmark's Python servers run on the fastest Python of the machine, or on the one that was chosen by hand."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from suite import build, campaign, document, environments, pace, paths, pythons, report, scenarios, servers  # noqa: E402

sys.path.remove(str(BENCHMARKS))


class Machine:
    """Folders with programs that answer as a Python would; `worked` are those that were timed, in order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "worked"
        self.kept = root / "built" / "pythons.json"

    def add(self, name: str, number: str, seconds: float, *, fits: bool = True, real: str | None = None) -> Path:
        """A program below the root. It says that it is `real`, by default itself."""
        program = self.root / name
        program.parent.mkdir(parents=True, exist_ok=True)
        said = {"path": real or str(program), "number": number, "version": f"{number} of {name}", "fits": fits}
        self.script(
            program,
            f'case "$*" in *{paths.WORK}) echo {program} >> {self.log}; echo {seconds} ;;'
            f" *) echo '{json.dumps(said)}' ;; esac",
        )
        return program

    @staticmethod
    def script(program: Path, text: str) -> Path:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        return program

    def find(self, *folders: str) -> list[str]:
        found = pythons.find([self.root / each for each in folders], self.kept)
        return [Path(python.path).relative_to(self.root).as_posix() for python in found]

    @property
    def worked(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_fastest_comes_first_whatever_its_version(machine: Machine) -> None:
    machine.add("a/python3.13", "3.13.0", 0.3)
    machine.add("a/python3.12", "3.12.1", 0.4)
    machine.add("b/python3", "3.11.2", 0.2)
    assert machine.find("a", "no-such-folder", "b") == ["b/python3", "a/python3.13", "a/python3.12"]


def test_they_work_in_turns_so_that_a_slow_moment_is_slow_for_all(machine: Machine) -> None:
    first, second = machine.add("a/python3.12", "3.12.1", 0.4), machine.add("a/python3.13", "3.13.0", 0.3)
    machine.find("a")
    assert machine.worked == [str(first), str(second)] * pythons.TURNS


def test_the_best_of_its_turns_counts(machine: Machine) -> None:
    """Other programs disturb three of four turns of the first; it is faster nevertheless."""
    machine.add("a/python3.12", "3.12.1", 0.25)
    said = json.dumps({"path": str(machine.root / "a/python3.13"), "number": "3.13.0", "version": "x", "fits": True})
    count = machine.root / "count"
    work = f"echo >> {count}; if [ $(wc -l < {count}) -eq 3 ]; then echo 0.2; else echo 0.9; fi"
    machine.script(machine.root / "a/python3.13", f"case \"$*\" in *{paths.WORK}) {work} ;; *) echo '{said}' ;; esac")
    assert machine.find("a") == ["a/python3.13", "a/python3.12"]


def test_what_only_looks_like_a_python_is_left_out(machine: Machine) -> None:
    """Too old, a program that calls one that is not there, one that talks nonsense, one that cannot work, a file."""
    machine.add("a/python3.13", "3.13.0", 0.3)
    machine.add("a/python3.10", "3.10.1", 0.1, fits=False)
    machine.script(machine.root / "a/python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    machine.script(machine.root / "a/python3.14", "echo 3.14")
    said = json.dumps({"path": "/usr/bin/lazy", "number": "3.15.0", "version": "3.15.0", "fits": True})
    machine.script(machine.root / "a/python3.15", f"case \"$*\" in *{paths.WORK}) exit 1 ;; *) echo '{said}' ;; esac")
    (machine.root / "a/python3.16").touch()
    machine.add("a/python3.13-config", "3.13.0", 0.1)
    machine.add("a/python", "3.13.1", 0.1)
    assert machine.find("a") == ["a/python3.13"]


def test_many_names_of_one_python_are_one(machine: Machine) -> None:
    """Links, another folder of the PATH, and a program that calls it; but not what decides by the name it is called."""
    real = machine.add("a/python3.13", "3.13.0", 0.3)
    (machine.root / "a/python3").symlink_to(real)
    (machine.root / "c").mkdir()
    (machine.root / "c/python3").symlink_to(real)
    machine.script(machine.root / "b/python3.13", f'exec {real} "$@"')
    other = machine.add("d/3.12/python3.12", "3.12.1", 0.4)
    by_name = f'case "$0" in */python3.12) exec {other} "$@" ;; *) exec {real} "$@" ;; esac'
    launcher = machine.script(machine.root / "launcher", by_name)
    for name in ("python3", "python3.12"):
        (machine.root / "d" / name).symlink_to(launcher)
    assert machine.find("c", "a", "b", "d", "a") == ["a/python3.13", "d/3.12/python3.12"]


def test_they_are_timed_again_when_one_is_new(machine: Machine) -> None:
    """And not for each run: two that are as good as equal would change places."""
    machine.add("a/python3.12", "3.12.1", 0.4)
    machine.add("a/python3.13", "3.13.0", 0.3)
    assert machine.find("a") == machine.find("a")
    assert len(machine.worked) == 2 * pythons.TURNS
    machine.add("a/python3.12", "3.12.2", 0.2)
    assert machine.find("a") == ["a/python3.12", "a/python3.13"]
    assert len(machine.worked) == 4 * pythons.TURNS
    machine.kept.write_text("{}")  # what was kept is of no use: it says nothing
    assert machine.find("a") == ["a/python3.12", "a/python3.13"]


def test_a_real_python_is_asked_and_does_its_work(tmp_path: Path) -> None:
    """In an environment it is the one that the environment was made of."""
    (mine,) = pythons.find([Path(sys.executable).parent], tmp_path / "kept")
    assert mine.path == os.path.realpath(sys.executable)
    assert mine.version == " ".join(sys.version.split())
    assert mine.seconds
    assert 0.0001 < mine.seconds < 10.0


@pytest.mark.parametrize("name", ["/no/such/python", "python3.99"])
def test_one_that_does_not_exist_cannot_be_chosen(name: str) -> None:
    """The run ends at once, and says why in one line."""
    ended = subprocess.run(
        [sys.executable, BENCHMARKS / "run.py", "--only", "echo"],
        env=os.environ | {"BENCH_PYTHON": name},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout == f"BENCH_PYTHON: there is no program {name}\n"


def test_one_that_is_too_old_or_broken_cannot_be_chosen(machine: Machine) -> None:
    for program in (
        machine.add("a/python3.10", "3.10.1", 0.1, fits=False),
        machine.script(machine.root / "a/other", "exit 1"),
    ):
        with pytest.raises(pythons.PythonError, match=rf"{program} is no Python 3\.11 or newer that works"):
            pythons.by_hand(str(program))


def test_one_can_be_chosen_by_its_path_or_its_name(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    program = machine.add("a/python3.13", "3.13.0", 0.1)
    monkeypatch.setenv("PATH", f"{machine.root / 'a'}:{os.environ['PATH']}")
    assert pythons.by_hand(str(program)) == pythons.by_hand("python3.13")
    assert pythons.by_hand("python3.13").path == str(program)


class Builder:
    """Takes the place of venv and pip. Of the Pythons in `broken` no environment can be made."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.made: list[tuple[str, str]] = []

    def run(self, command: list[str], _where: Path) -> None:
        if command[1:3] != ["-m", "venv"]:
            return
        target = Path(command[-1])
        assert not target.is_symlink(), "what the link leads to would be overwritten"
        if command[0] in self.broken:
            raise build.BuildError("python failed: no module named venv")
        target.mkdir()
        self.made.append((command[0], target.name))


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    builder = Builder()
    monkeypatch.setattr(environments, "run", builder.run)
    for module in (build, environments):
        monkeypatch.setattr(module, "BUILD", tmp_path / "build")
    for name in ("SHOAL_VENV", "PSIO_VENV"):
        monkeypatch.setattr(environments, name, tmp_path / "build" / getattr(paths, name).name)
    monkeypatch.setattr(environments, "PINS", tmp_path / "build" / "constraints.txt")
    return builder


FAST = pythons.Python("/usr/bin/fast", "3.11.2", "3.11.2 (main, 2025)", 0.1)
SLOW = pythons.Python("/opt/slow", "3.13.0", "3.13.0 (main, 2026)", 0.2)


def test_the_fastest_is_chosen(builder: Builder) -> None:
    chosen = environments.choose([FAST, SLOW])
    assert (chosen.python, chosen.why, chosen.notes) == (FAST, "the fastest of 2 found", [])
    assert builder.made == [("/usr/bin/fast", "shoal")]
    assert environments.choose([SLOW]).why == "the only one found"


def test_the_next_one_is_chosen_where_no_environment_can_be_made(builder: Builder) -> None:
    builder.broken = {FAST.path}
    chosen = environments.choose([FAST, SLOW])
    assert chosen.python == SLOW
    assert chosen.why == "the fastest of 2 found of which an environment can be made"
    assert chosen.notes == ["Python 3.11.2 (main, 2025): no environment, python failed: no module named venv"]


def test_our_own_serves_where_no_environment_can_be_made_at_all(builder: Builder) -> None:
    """Without a network, most likely. With the next run it is tried again, and what was linked is not touched."""
    builder.broken = {FAST.path}
    chosen = environments.choose([FAST])
    assert (chosen.python.path, chosen.why) == (sys.executable, "what runs the benchmark")
    assert environments.SHOAL_VENV.readlink() == Path(sys.prefix)
    builder.broken.clear()
    assert environments.choose([FAST]).python == FAST
    assert not environments.SHOAL_VENV.is_symlink()
    assert Path(sys.executable).exists()


def test_the_one_chosen_by_hand_is_used_or_nothing_is(builder: Builder) -> None:
    chosen = environments.choose([FAST, SLOW], SLOW)
    assert (chosen.python, chosen.why) == (SLOW, "BENCH_PYTHON")
    builder.broken = {SLOW.path}
    (environments.BUILD / "shoal.built").unlink()
    with pytest.raises(build.BuildError, match="no module named venv"):
        environments.choose([FAST, SLOW], SLOW)


def test_an_environment_is_made_anew_when_something_it_was_made_of_is_new(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another Python, the same one upgraded, another version of a package, another place of the tree."""
    for _ in range(2):
        environments.choose([FAST])
    assert len(builder.made) == 1
    upgraded = pythons.Python(FAST.path, "3.11.9", "3.11.9 (main, 2026)", 0.1)
    environments.choose([upgraded])
    environments.choose([SLOW])
    assert len(builder.made) == 3
    monkeypatch.setattr(environments, "version", lambda _: "99.0")
    environments.choose([SLOW])
    assert len(builder.made) == 4
    monkeypatch.setattr(environments, "ROOT", Path("/moved"))
    environments.choose([SLOW])
    assert len(builder.made) == 5
    environments.choose([SLOW])
    assert len(builder.made) == 5


def test_python_socketio_runs_on_the_same_python(builder: Builder) -> None:
    for python in (FAST, FAST, SLOW):
        assert environments.install_python_peer(python) is None
    assert builder.made == [("/usr/bin/fast", "python-socketio"), ("/opt/slow", "python-socketio")]
    builder.broken = {FAST.path}
    assert environments.install_python_peer(FAST) == "python failed: no module named venv"


def test_packages_have_the_versions_that_they_have_here(builder: Builder) -> None:
    environments.choose([FAST])
    pins = environments.PINS.read_text().splitlines()
    for name in ("uvicorn", "uvloop", "orjson", "hiredis"):
        assert f"{name}=={environments.version(name)}" in pins
    assert not any(line.startswith("shoal") for line in pins)


def test_every_python_server_is_run_by_the_chosen_python() -> None:
    for key, kind in servers.KINDS.items():
        program = kind.command(1, None)[0]
        if key.split("-")[0] in {"shoal", "bare"}:
            assert program == str(paths.SHOAL_VENV / "bin" / "python"), key
        elif key.startswith("psio"):
            assert program == str(paths.PSIO_VENV / "bin" / "python"), key


def answers(per_second: float, **changes: Any) -> dict[str, Any]:
    common = {"received_per_s": per_second, "server_cpu": 1.0, "load_cpu": 0.5, "other_cpu": 0.0, "slowness": 1.0}
    return {**common, **changes}


RATES = {"3.11.2 [GCC]": 100_000.0, "3.13.0 [GCC]": 90_000.0}


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> tuple[campaign.Plan, campaign.Results]:
    """A campaign over two Pythons, the second of which others disturb."""
    kinds = {version: servers.shoal_in(Path("/env") / version[:6]) for version in RATES}

    def run_load(load: dict[str, Any], program: str, _core: int) -> dict[str, Any]:
        version = next(each for each in RATES if program == f"/env/{each[:6]}/bin/python")
        disturbed = {} if version == "3.11.2 [GCC]" else {"other_cpu": 0.5, "server_cpu": 0.95}
        return answers(RATES[version] / (2 if "event" in load else 1), **disturbed)

    monkeypatch.setattr(campaign, "run_load", run_load)
    monkeypatch.setattr(campaign, "deploy", lambda kind, _core: contextlib.nullcontext(kind.command(1, None)[0]))
    monkeypatch.setattr(pace.Pace, "slowness", lambda _: 1.0)
    taken = {"3.11.2 [GCC]": 0.006, "3.13.0 [GCC]": None}
    plan = campaign.Plan(
        2, 1.0, 0.1, 0.1, None, None, python="3.11.2 (the fastest of 2 found)", pythons=kinds, work_seconds=taken
    )
    results = campaign.Results()
    steps: list[str] = []
    campaign.measure_pythons(plan, results, steps.append)
    assert len(steps) == campaign.count_steps(plan, [], [])
    assert [step.split("Python ")[1] for step in steps[:3]] == [
        "3.11.2 [GCC], round 1",
        "3.13.0 [GCC], round 1",
        "3.11.2 [GCC], round 2",
    ]
    return plan, results


def test_the_table_shows_each_python_beside_the_chosen_one(
    compared: tuple[campaign.Plan, campaign.Results], tmp_path: Path
) -> None:
    """For comparison: nothing is met or missed, and no row is counted as one in which a peer may lead."""
    found = document.make(*compared, [], [])
    document.write(found, tmp_path / "run.json")
    page = report.markdown(document.read(tmp_path / "run.json"), "latest.svg")
    assert "| 3.11.2 [GCC] | 6 | 100k | 50k |" in page
    disturbed = "~90k (0.90 x); 0.95 x per second of processor time"
    assert f"| 3.13.0 [GCC] | - | {disturbed} | ~45k (0.90 x); 0.95 x per second of processor time |" in page
    assert "- ~ other programs" in page
    assert "python 3.11.2 (the fastest of 2 found)" in page
    assert "met" not in page.replace("median", "")
    assert "a peer leads" not in page
    console = Console(width=200, record=True, file=io.StringIO())
    report.show(found, console)
    assert "3.13.0 [GCC]" in console.export_text()


def test_a_python_that_did_not_serve_is_not_measured(compared: tuple[campaign.Plan, campaign.Results]) -> None:
    plan, results = compared
    del results.pythons["echo"]["3.11.2 [GCC]"]
    page = report.markdown(document.make(plan, results, [], []), "latest.svg")
    assert "| 3.11.2 [GCC] | 6 | not measured | 50k |" in page
    assert "| 3.13.0 [GCC] | - | ~90k | " in page


def test_a_run_of_before_has_no_such_table() -> None:
    plan = campaign.Plan(1, 1.0, 0.1, 0.1, None, None)
    found = document.make(plan, campaign.Results(), [], [])
    assert report.python_rows(found) == ([], [])
    del found["pythons"]
    assert report.python_rows(found) == ([], [])


def test_it_is_measured_with_a_handler_that_waits_and_one_that_does_not() -> None:
    assert [scenario.key for scenario in scenarios.ON_EACH_PYTHON] == ["echo", "echo-turn"]
