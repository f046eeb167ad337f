"""The rules of tests/conftest.py can fail: a test that leaves something behind does not pass, nor does a silent skip.

Runs pytest on a small project of its own that holds nothing but that conftest and tests that misbehave.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

MISBEHAVING = """
import asyncio, socket, subprocess, threading

kept = []

def test_thread():
    stop = threading.Event()
    kept.append(stop)
    threading.Thread(target=stop.wait, name="straggler", daemon=True).start()

def test_process():
    kept.append(subprocess.Popen(["sleep", "60"]))

def test_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_task():
    async def main():
        kept.append(asyncio.create_task(asyncio.sleep(60), name="orphan"))
    asyncio.run(main())

def test_cut_short():
    test_process()
    assert False, "the reason"

def test_tidy():
    async def main():
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.to_thread(int)
    asyncio.run(main())
    with subprocess.Popen(["sleep", "60"]) as process:
        process.kill()
"""

SKIPPING = """
import pytest

def test_skips():
    pytest.skip("nginx is not installed")

@pytest.mark.skipif(True, reason="nginx is not installed")
def test_is_skipped():
    pass

def test_cannot_apply():
    pytest.skip("not applicable: another system's feature")

@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail():
    assert False
"""


REPLACING = """
import subprocess, pytest

@pytest.fixture(scope="module")
def servers():
    servers = [subprocess.Popen(["sleep", "61"])]
    yield servers
    for each in servers:
        each.kill()
        each.wait()

def restart(servers):
    old = servers.pop(0)
    old.kill()
    old.wait()
    servers.append(subprocess.Popen(["sleep", "61"]))

def test_first(servers):
    pass

def test_replaces(servers):
    restart(servers)

def test_adds(servers):
    servers.append(subprocess.Popen(["sleep", "61"]))

def test_replaces_and_adds(servers):
    restart(servers)
    servers.append(subprocess.Popen(["sleep", "62"]))
"""


def run(where: Path, tests: str, *options: str, **environment: str) -> tuple[dict[str, int], str]:
    """How often pytest reported what on a project of `tests` and our conftest, and all it printed."""
    (where / "pytest.ini").write_text("[pytest]\n")
    (where / "conftest.py").write_text(CONFTEST.read_text().replace("GRACE = 2.0", "GRACE = 0.3"))
    (where / "test_it.py").write_text(tests)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SHOAL_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *options, "."],
        cwd=where,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    closing = done.stdout.strip().splitlines()[-1]
    return {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", closing.partition(" in ")[0])}, done.stdout


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["in this process", "in another one"])
def test_what_is_left_behind_is_named(tmp_path: Path, options: list[str]) -> None:
    """Each of the four kinds fails its test and says what was left; a tidy test passes."""
    counts, output = run(tmp_path, MISBEHAVING, *options)
    assert counts == {"failed": 1, "passed": 5, "errors": 4}, output  # the tests pass; clearing up after them does not
    assert "left behind: thread straggler" in output
    assert re.search(r"left behind: process \d+ \(sleep 60\)", output)
    assert "left behind: socket listening on ('127.0.0.1'" in output
    assert "left behind: task orphan (sleep)" in output
    assert "ERROR test_it.py::test_tidy" not in output
    assert "ERROR test_it.py::test_cut_short" not in output


def test_a_process_may_take_the_place_of_another(tmp_path: Path) -> None:
    """One of a fixture that a test has started anew is the fixture's; one more, or another one, is left behind."""
    counts, output = run(tmp_path, REPLACING)
    assert counts == {"passed": 4, "errors": 2}, output
    assert "ERROR test_it.py::test_adds" in output
    assert "ERROR test_it.py::test_replaces_and_adds" in output
    assert re.findall(r"left behind: process \d+ \((sleep 6\d)\)", output)[:2] == ["sleep 61", "sleep 62"], output


@pytest.mark.parametrize(
    ("required", "expected"),
    [("", {"skipped": 3, "xfailed": 1}), ("all", {"failed": 1, "error": 1, "skipped": 1, "xfailed": 1})],
)
def test_a_skip_fails_where_nothing_may_be_missing(tmp_path: Path, required: str, expected: dict[str, int]) -> None:
    """A missing program skips a test on a laptop and fails it where SHOAL_TEST_REQUIRE=all."""
    counts, output = run(tmp_path, SKIPPING, SHOAL_TEST_REQUIRE=required)
    assert counts == expected, output
    if required:
        assert "skipped although SHOAL_TEST_REQUIRE=all: nginx is not installed" in output
