"""The rules of tests/conftest.py for tests that run side by side: one that is marked "alone" runs alone, and
one that is marked "calm" beside calm ones.

Runs pytest in several processes on a small project of its own that holds nothing but that conftest.
"""

from __future__ import annotations

from pathlib import Path

from tests.test_leftovers import run

TOGETHER = """
import pathlib, pytest, time

pytestmark = {mark}

here = pathlib.Path("{here}")
other = [pathlib.Path("{other}"), pathlib.Path("{other} was here")]

def test_it():
    here.touch()
    deadline = time.monotonic() + 20
    while not any(path.exists() for path in other):
        assert time.monotonic() < deadline, "the other one does not run at the same time"
        time.sleep(0.01)
    for _ in range(30):
        assert not any(pathlib.Path(name).exists() for name in {apart})
        time.sleep(0.01)
    here.rename("{here} was here")
"""
ALONE = """
import pathlib, pytest, time

pytestmark = pytest.mark.alone

def test_it():
    pathlib.Path("alone").touch()
    for _ in range(20):
        assert not any(pathlib.Path(name).exists() for name in ("left", "right", "east", "west"))
        time.sleep(0.01)
    pathlib.Path("alone").unlink()
"""


def test_what_is_marked_runs_apart_from_the_others(tmp_path: Path) -> None:
    """Two files run at the same time, two calm ones do, and neither beside the others or beside one that is alone."""
    pairs = {("left", "right"): ("[]", ("east", "west")), ("east", "west"): ("pytest.mark.calm", ("left", "right"))}
    for pair, (mark, others) in pairs.items():
        for here, other in (pair, pair[::-1]):
            text = TOGETHER.format(here=here, other=other, mark=mark, apart=(*others, "alone"))
            (tmp_path / f"test_{here}.py").write_text(text)
    # A process for each file: who waits for its like must not keep that from running.
    ignored = ("-W", "ignore::pytest.PytestUnknownMarkWarning")
    counts, output = run(tmp_path, ALONE, "-n", "5", "--dist", "loadfile", *ignored)
    assert counts == {"passed": 5}, output
