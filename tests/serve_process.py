"""`shoal serve` as a process under test: its workers, its two streams, its end. Knows nothing of Socket.IO."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from tests.ports import free_port
from tests.servers import HOST, ROOT, die_with_parent

START = 40.0  # seconds: several cold imports on a busy two-core machine
STOP = 15.0


class Serve:
    """One `shoal serve APP`, on a port of its own unless `arguments` name a socket.

    Args:
        folder: where it runs, and where its output goes.
        environment: variables added, after all that begin with SHOAL_ were taken away.
        prelude: Python that runs in its first process, before the command.
        command: `up` for a whole cluster in its place.
    """

    def __init__(
        self,
        folder: Path,
        app: str,
        *arguments: str,
        environment: Mapping[str, str] = {},
        prelude: str = "",
        command: str = "serve",
    ) -> None:
        self.port = free_port()
        self.log = folder / "serve.log"
        where = [] if "--uds" in arguments else ["--port", str(self.port)]
        words = [command, *([] if command == "serve" else ["--app"]), app, *where, *arguments]
        start = f"{prelude}\nimport sys\nfrom shoal.cli import main\nmain(sys.argv[1:])"
        program = [sys.executable, "-c", start] if prelude else [sys.executable, "-m", "shoal"]
        kept = {name: text for name, text in os.environ.items() if not name.startswith("SHOAL_")}
        with self.log.open("wb") as log:
            self.process = psutil.Popen(
                [*program, *words],
                cwd=folder,
                env={**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._seen: dict[int, psutil.Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever is left is killed, grandchildren too."""
        family = self.family()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()

    @property
    def text(self) -> str:
        """All that it has said so far."""
        return self.log.read_text()

    @property
    def url(self) -> str:
        return f"{HOST}:{self.port}"

    def until(self, condition: Callable[[], Any], seconds: float = START) -> Any:
        """Poll until `condition` is true, and return what it returned."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds:g} s: exit code {self.process.poll()}\n{self.text}")
            time.sleep(0.02)
        return found

    def wait_for(self, words: str, times: int = 1) -> Self:
        """Return when it has said something so many times."""

        def said() -> bool:
            found = len(re.findall(words, self.text)) >= times
            assert found or self.process.poll() is None, f"exit code {self.process.poll()}\n{self.text}"
            return found

        self.until(said)
        return self

    def wait_until_up(self, processes: int = 1) -> Self:
        return self.wait_for(r"(?m)^\S+ is listening on ", processes)

    def family(self) -> list[psutil.Process]:
        """All processes that it has started, or that those have, and that live."""
        with contextlib.suppress(psutil.Error):
            self._seen |= {process.pid: process for process in self.process.children(recursive=True)}
        return [process for process in self._seen.values() if _lives(process)]

    def workers(self) -> dict[str, psutil.Process]:
        """The workers that live, by the name of their node."""
        found = {}
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                if "shoal.cli.worker" in (words := process.cmdline()):
                    found[words[-1]] = process
        return found

    def wait(self) -> int:
        """Its exit code, once it has ended and nothing of it is left."""
        self.until(lambda: self.process.poll() is not None, STOP)
        self.until(lambda: not self.family(), STOP)
        return int(self.process.returncode)

    def refusal(self) -> str:
        """The one line that it ends with, where it could not start."""
        self.family()
        self.until(lambda: self.process.poll() is not None)
        assert self.wait() == 1, self.text
        lines = self.text.splitlines()
        assert lines[-1].startswith("shoal: "), self.text
        return lines[-1]


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
