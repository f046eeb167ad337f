"""Coverage-guided fuzzing with atheris, one target at a time: what ``make fuzz`` runs.

It begins with the committed seeds. What reaches new code is kept below ``found/TARGET``, and what is a finding is
written there as ``crash-...``, ``timeout-...`` or ``oom-...``. Which targets there are is :mod:`.targets`' business.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.corpus import CORPUS, WORD_FILE

FOUND = Path(__file__).parent / "found"
TIMEOUT = 20
"""Seconds after which one input counts as endless."""
MEMORY = 1536
"""Megabytes that the process may take, instrumented as it is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz one target or all by turn. Returns 1 if there was a finding, 2 for an unknown target."""
    names = sorted(path.name for path in CORPUS.iterdir())
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", default="", help="without it, all by turn")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.target and options.target not in names:
        print(f"fuzz: no target {options.target!r}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    if options.inside:
        fuzz(options.target, options.seconds)
    failed = [name for name in names if name == (options.target or name) and not survives(name, options.seconds)]
    print(f"fuzz: findings in {', '.join(failed)}; see {FOUND}" if failed else "fuzz: no findings")
    return 1 if failed else 0


def survives(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own: libFuzzer ends the process that it runs in."""
    print(f"fuzz: {name}, {seconds} s", flush=True)
    inside = [sys.executable, "-m", "tests.fuzz.run", name, "--seconds", str(seconds), "--inside"]
    return subprocess.run(inside, check=False).returncode == 0


def fuzz(name: str, seconds: int) -> None:
    """Hand this process over to libFuzzer. Does not return."""
    atheris: Any = importlib.import_module("atheris")  # it has no types
    with atheris.instrument_imports(include=["shoal"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY}", "-max_len=1024"]
    places = [f"-artifact_prefix={found}/", f"-dict={WORD_FILE}", str(found), str(CORPUS / name)]
    atheris.Setup(["fuzz", *limits, "-verbosity=0", "-print_final_stats=1", *places], target.try_on)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
