"""Finds the Pythons of this machine and times each with a fixed piece of work. Installs nothing and measures no server.

How an interpreter was built decides as much as its version does, and it cannot be asked: Debian's, which is optimised
with a profile, does not name that among its options. So each of them works for a moment, in turns.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from suite.paths import BUILD, WORK

OLDEST = (3, 11)
NAME = re.compile(r"python3(\.\d+)?")
KEPT = BUILD / "pythons.json"
TURNS = 5
ANSWER_SECONDS = 20.0
# A name promises little: pyenv puts a python3.13 on PATH that fails where it is not selected, and in an environment
# python3 is a link to one elsewhere.
QUESTION = """
import json, os, sys
print(json.dumps({
    "path": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "number": "%d.%d.%d" % sys.version_info[:3],
    "version": " ".join(sys.version.split()),
    "fits": sys.version_info >= OLDEST and sys.version_info.releaselevel == "final"
            and sys.implementation.name == "cpython",
}))
"""


class PythonError(Exception):
    """There is no such Python; the text is one line for the reader."""


@dataclass(frozen=True)
class Python:
    """An interpreter: its real path, its number such as 3.13.0, and with `version` also when and by what it was
    built. `seconds` is how long its work takes, None where it was not timed."""

    path: str
    number: str
    version: str
    seconds: float | None = None


def find(folders: Iterable[Path] | None = None, kept: Path = KEPT) -> list[Python]:
    """All that differ, the fastest first.

    They are timed when one of them is new, or the work is; until then the order stays as it is, so that one run can be
    compared with the next.

    Args:
        folders: Where to look; by default on PATH and where installers put them.
        kept: The file with the times of an earlier call.
    """
    found: dict[str, Python] = {}
    for candidate in _candidates(_folders(os.environ) if folders is None else folders):
        python = _ask(candidate)
        if python is not None and all(python.version != each.version for each in found.values()):
            found.setdefault(python.path, python)
    seconds = _times(sorted(found.values(), key=lambda python: python.path), kept)
    timed = [Python(p.path, p.number, p.version, seconds[p.path]) for p in found.values() if p.path in seconds]
    return sorted(timed, key=lambda python: python.seconds or 0.0)


def by_hand(name: str) -> Python:
    """The Python with this path or name. Raises PythonError where there is none that can run Shoal."""
    program = shutil.which(name)
    if program is None:
        raise PythonError(f"BENCH_PYTHON: there is no program {name}")
    python = _ask(Path(program))
    if python is None:
        raise PythonError(f"BENCH_PYTHON: {name} is no Python {OLDEST[0]}.{OLDEST[1]} or newer that works")
    return python


def _folders(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where installers put them is not always on PATH, and a folder there may have programs that only call those."""
    home = Path(environment.get("HOME", "/nonexistent"))
    yield from (Path(each) for each in environment.get("PATH", "").split(":") if each)
    yield from (Path("/usr/local/bin"), Path("/usr/bin"), Path(sys.executable).parent)
    yield from sorted(Path(environment.get("PYENV_ROOT") or home / ".pyenv").glob("versions/*/bin"))
    yield from sorted(Path(environment.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python").glob("*/bin"))


def _candidates(folders: Iterable[Path]) -> list[Path]:
    """Programs with the right name. Of links to one Python a single one; another program may go by the name it has."""
    found: dict[Path, Path] = {}
    for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())):
        if NAME.fullmatch(path.name) and os.access(path, os.X_OK):
            end = path.resolve()
            found.setdefault(end if NAME.fullmatch(end.name) else path, path)
    return list(found.values())


def _ask(program: Path) -> Python | None:
    answer = _output([str(program), "-I", "-S", "-c", QUESTION.replace("OLDEST", repr(OLDEST))])
    try:
        said = json.loads(answer or "")
        return Python(said["path"], said["number"], said["version"]) if said["fits"] else None
    except (ValueError, KeyError, TypeError):
        return None


def _times(pythons: Sequence[Python], kept: Path) -> dict[str, float]:
    """Seconds by path; without those that fail at it."""
    known = [[asdict(each) for each in pythons], hashlib.sha256(WORK.read_bytes()).hexdigest()]
    try:
        before = json.loads(kept.read_text())
        if before["of"] == known:
            return dict(before["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    seconds = _time(pythons)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"of": known, "seconds": seconds}, indent=1) + "\n")
    return seconds


def _time(pythons: Sequence[Python]) -> dict[str, float]:
    """The best of all turns: what disturbs only ever adds."""
    best: dict[str, float] = {}
    for _ in range(TURNS):
        for python in pythons:
            try:
                taken = float(_output([python.path, "-I", "-S", str(WORK)]) or "")
            except ValueError:
                continue
            best[python.path] = min(taken, best.get(python.path, taken))
    return best


def _output(command: list[str]) -> str | None:
    """What a program says; None where it fails or takes too long."""
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None
