"""Makes the environments in which the Python servers run, of the Python that is fastest or of one chosen by hand.

The benchmark itself runs in the tree's own `.venv`, whose Python is what happened to be first on PATH. What Shoal needs
has the same versions there and here.
"""

import hashlib
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from suite.build import BuildError, attempt, once, run
from suite.paths import BUILD, PEERS, PSIO_VENV, ROOT, SHOAL_VENV
from suite.pythons import Python

PYPROJECT = ROOT / "pyproject.toml"
PINS = BUILD / "constraints.txt"


@dataclass(frozen=True)
class Choice:
    """The Python of all Python servers; `why` says for the table why this one, `notes` what else is to be known."""

    python: Python
    why: str
    notes: list[str] = field(default_factory=list)


def choose(found: Sequence[Python], wanted: Python | None = None) -> Choice:
    """Make Shoal's environment, of the first Python in which that works; where there is none, it is our own.

    Args:
        found: The fastest first.
        wanted: One that was chosen by hand: that or none.

    Raises:
        BuildError: No environment can be made of `wanted`.
    """
    if wanted is not None:
        install_shoal(wanted, SHOAL_VENV)
        return Choice(wanted, "BENCH_PYTHON")
    notes: list[str] = []
    for python in found:
        try:
            install_shoal(python, SHOAL_VENV)
        except BuildError as error:
            notes.append(f"Python {python.version}: no environment, {error}")
            continue
        which = f"the fastest of {len(found)} found" if len(found) > 1 else "the only one found"
        return Choice(python, which if not notes else f"{which} of which an environment can be made", notes)
    return Choice(_link_own(), "what runs the benchmark", notes)


def environment_of(python: Python) -> Path:
    """Where an environment is that serves to compare this Python with others."""
    digest = hashlib.sha256(f"{python.path} {python.version}".encode()).hexdigest()
    return BUILD / f"shoal-{python.number}-{digest[:8]}"


def install_shoal(python: Python, target: Path) -> None:
    """Install Shoal, editable, unless that was done with the same Python and versions. Raises BuildError."""
    BUILD.mkdir(exist_ok=True)
    PINS.write_text(_pins())
    arguments = ["--editable", f"{ROOT}[redis]", "--constraint", str(PINS)]
    once(target, [PYPROJECT, PINS], partial(_install, python, target, arguments), _identity(python))


def install_python_peer(python: Python) -> str | None:
    """Install python-socketio into an environment of its own. Returns why that is impossible, or None."""
    requirements = PEERS / "requirements.txt"
    install = partial(_install, python, PSIO_VENV, ["--requirement", str(requirements)])
    return attempt(PSIO_VENV, [requirements], install, _identity(python))


def _identity(python: Python) -> str:
    return f"{python.path}\n{python.version}\n{ROOT}"


def _pins() -> str:
    """What Shoal asks for, in the versions that are installed here."""
    names = {re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in requires("shoal") or ()} | {"hiredis"}
    lines = []
    for name in sorted(names - {"shoal"}):
        try:
            lines.append(f"{name}=={version(name)}\n")
        except PackageNotFoundError:  # an extra that nobody wanted
            continue
    return "".join(lines)


def _install(python: Python, target: Path, arguments: list[str]) -> None:
    """With our own pip: Debian's Python brings none into an environment that it makes."""
    _remove(target)
    run([python.path, "-m", "venv", "--without-pip", str(target)], BUILD)
    pip = [sys.executable, "-m", "pip", "--python", str(target / "bin" / "python"), "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", *arguments], BUILD)


def _link_own() -> Python:
    _remove(SHOAL_VENV)
    (BUILD / f"{SHOAL_VENV.name}.built").unlink(missing_ok=True)
    SHOAL_VENV.symlink_to(sys.prefix)
    return Python(sys.executable, platform.python_version(), " ".join(sys.version.split()))


def _remove(target: Path) -> None:
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)
