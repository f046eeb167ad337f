"""`shoal up` as a process under test: started on free ports, read line by line, and held to leave nothing behind.

Knows the command, its log and its children. It knows nothing of Socket.IO.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.ports import free_ports

START = 40.0  # seconds: a cold import on a busy two-core machine takes some
STOP = 5.0  # seconds: what `shoal up` promises
BUSY = 2.0  # seconds: and what other work on the machine may add to that


def assert_free(*ports: int) -> None:
    """Fail if anything listens on one of ``ports``."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def until(condition: Callable[[], Any], seconds: float, what: str | Callable[[], str]) -> Any:
    """Poll until ``condition`` is true and return what it returned; fail with ``what`` at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(0.02)
    return found


class Up:
    """One `shoal up` on ports of its own, with a temporary directory of its own."""

    def __init__(
        self,
        folder: Path,
        servers: int,
        *arguments: str,
        environment: Mapping[str, str] = {},
        terminal: int | None = None,
    ) -> None:
        self.port, *self.ports = free_ports(1 + servers)
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.out, self.err = folder / "out", folder / "err"
        ports = ",".join(map(str, self.ports))
        command = [sys.executable, "-m", "shoal", "up", "--port", str(self.port), "--ports", ports, *arguments]
        kept = {name: text for name, text in os.environ.items() if not name.startswith("SHOAL_")}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = psutil.Popen(
                command,
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=kept | {"TMPDIR": str(self.temporary), **environment},
                start_new_session=terminal is not None,
                preexec_fn=None if terminal is None else take_terminal,
            )
        self.family: list[psutil.Process] = []

    @property
    def log(self) -> str:
        return self.out.read_text()

    def lines(self, name: object) -> list[str]:
        """What the process ``name`` has said so far."""
        found = (re.fullmatch(rf"{name} *\| (.*)", line) for line in self.log.splitlines())
        return [match[1] for match in found if match]

    def wait_for(self, name: object, line: str, times: int = 1, seconds: float = START) -> None:
        until(lambda: self.lines(name).count(line) >= times, seconds, lambda: f"{name} | {line}\n{self.everything()}")

    def wait_until_up(self) -> Up:
        def ready() -> bool:
            assert self.process.poll() is None, self.everything()
            return "Shoal is up" in self.log

        until(ready, START, self.everything)
        self.family = self.process.children(recursive=True)
        return self

    def everything(self) -> str:
        return f"exit code {self.process.poll()}\n{self.log}\n{self.err.read_text()}"

    def child(self, *words: str) -> psutil.Process:
        """The process whose command line has all ``words``."""
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if all(any(word in argument for argument in process.cmdline()) for word in words):
                    return process
        pytest.fail(f"no process with {words}:\n{self.everything()}")

    @property
    def broker(self) -> psutil.Process:
        """The broker. It rewrites its command line."""
        return self.child("redis-server") if "(redis-server)" in self.log else self.child("valkey-server")

    def server(self, port: int) -> psutil.Process:
        return self.child("serve", str(port))

    def get(self, path: str = "/") -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; nothing that was started may be left five seconds later."""
        self.family = list({*self.family, *self.process.children(recursive=True)})
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(STOP + BUSY)
        assert time.monotonic() - began < STOP + BUSY
        self.assert_nothing_left()
        return code

    def assert_nothing_left(self) -> None:
        until(lambda: not any(map(is_alive, self.family)), 2, lambda: f"gone: {list(filter(is_alive, self.family))}")
        assert not list(self.temporary.iterdir())
        assert_free(self.port, *self.ports)

    def kill(self) -> None:
        for process in {*self.family, *(self.process.children(recursive=True) if self.process.is_running() else ())}:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(psutil.Error):
            self.process.kill()
        self.process.wait(STOP)


def take_terminal() -> None:
    """Make standard input the terminal of this session, as a shell's is: its foreground is this process."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
