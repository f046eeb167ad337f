"""The rules of tests/conftest.py for tests that run side by side: one that is marked "alone" runs alone.

Runs pytest in several processes on a small project of its own that holds nothing but that conftest.
"""

from __future__ import annotations

from pathlib import Path

from tests.test_leftovers import run

TOGETHER = """
import pathlib, time

here = pathlib.Path("{here}")
other = [pathlib.Path("{other}"), pathlib.Path("{other} was here")]

def test_it():
    here.touch()
    deadline = time.monotonic() + 20
    while not any(path.exists() for path in other):
        assert time.monotonic() < deadline, "the other one does not run at the same time"
        time.sleep(0.01)
    time.sleep(0.3)
    here.rename("{here} was here")
"""
ALONE = """
import pathlib, pytest, time

pytestmark = pytest.mark.alone

def test_it():
    for _ in range(20):
        assert not pathlib.Path("left").exists() and not pathlib.Path("right").exists()
        time.sleep(0.01)
"""


def test_what_is_marked_runs_alone_and_the_others_do_not(tmp_path: Path) -> None:
    """Two files run at the same time, and a third one, which has a process of its own, before or after them."""
    (tmp_path / "test_left.py").write_text(TOGETHER.format(here="left", other="right"))
    (tmp_path / "test_right.py").write_text(TOGETHER.format(here="right", other="left"))
    counts, output = run(
        tmp_path, ALONE, "-n", "3", "--dist", "loadfile", "-W", "ignore::pytest.PytestUnknownMarkWarning"
    )
    assert counts == {"passed": 3}, output
