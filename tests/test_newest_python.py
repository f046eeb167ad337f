"""Unit and contract tests pass on the newest Python that the machine has too.

A build server runs them beside the tests of the other Python, in an environment of their own; `make test-newest` does
so by hand.
"""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from tests.requirements import ROOT
from tests.servers import die_with_parent

LIMIT = 280.0  # seconds: it takes a fifth of that; what it said by then shall not be lost to the limit of pytest


@pytest.mark.skipif(
    not os.environ.get("CI") and os.environ.get("SHOAL_TEST_REQUIRE") != "all",
    reason="not applicable: for a build server; `make test-newest` does it by hand",
)
def test_unit_and_contract_tests_pass_on_the_newest_python() -> None:
    """As many pass as on a laptop: nothing fails, and none is missing."""
    process = subprocess.Popen(
        # Rewritten assertions are compiled anew for this Python, a quarter of the time; what fails shows its locals.
        [ROOT / "scripts" / "test-newest", "-p", "no:xdist", "--assert=plain", "--showlocals"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"SHOAL_FUZZ": "0.2"},  # the other Python has tried them all
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        output = process.communicate(timeout=LIMIT)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"not within {LIMIT:g} s: {process.communicate()[0]}")
    if output.startswith("test-newest: no Python is newer"):
        pytest.skip(f"not applicable: {output.strip()}")
    assert process.returncode == 0, output
    assert " passed" in output.splitlines()[-1]
