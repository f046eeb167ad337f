"""What a served process may count on of its malloc: room that large messages took is there for the next ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Pages that the system gives for each of a hundred turns, in which 16 messages of 64 KiB are there at one time.
PROGRAM = """
import os, resource, signal
from shoal import Server
from shoal.serving.run import run

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        held = [b"x" * 65_600 for _ in range(16)]
        del held
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 100

def started():
    print(faults(), flush=True)  # a server that was told to stop ends by that signal
    os.kill(os.getpid(), signal.SIGTERM)

print(faults(), flush=True)
run(Server(), port=0, log_level="error", on_started=started)
"""


def test_room_that_messages_took_is_not_asked_for_again() -> None:
    """Else each page of each message is one page fault, which costs more than all else that is done with it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    before, served = map(float, done.stdout.split())
    if before < 100:
        pytest.skip("not applicable: this malloc keeps as much by itself")
    assert served < before / 10
