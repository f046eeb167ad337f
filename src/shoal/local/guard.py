"""The guard: a small process that cleans up when ``shoal up`` itself is killed and cannot.

It holds the read end of a pipe whose only write end is in the supervisor. The supervisor writes which process groups
live. When the pipe ends, however that came about, the guard kills the groups that are left and removes the private
directory. A pipe works on every POSIX system and reaches grandchildren, such as nginx's workers; Linux's
PR_SET_PDEATHSIG does neither. This file imports nothing but the standard library, since it also runs as a script.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable

__all__ = ["Guard"]

CLOSE_TIMEOUT = 1.0
"""Seconds that the guard may take to see the end of the pipe and leave. It takes milliseconds."""


class Guard:
    """The supervisor's end. Opening it starts the guard; closing it ends the guard and waits for that.

    Args:
        directory: Removed, with all that is in it, when the pipe ends.
    """

    def __init__(self, directory: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is not for it
            cwd="/",
        )

    @property
    def pid(self) -> int:
        """The guard's process id."""
        return self._process.pid

    def watch(self, group: int) -> None:
        """Have the process group ``group`` killed if this process ends before ``forget`` is called."""
        self._send(f"+{group}\n")

    def forget(self, group: int) -> None:
        """Undo ``watch``: the group is gone."""
        self._send(f"-{group}\n")

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # the guard was killed: the cluster runs on without it
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """End the guard. Groups that are still watched are killed by it. Idempotent."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _follow(lines: Iterable[bytes]) -> set[int]:
    """Read lines until the pipe ends; return the groups that are left."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def _main(directory: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in _follow(sys.stdin.buffer):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _main(sys.argv[1])
