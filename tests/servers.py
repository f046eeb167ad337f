"""Server processes for the tests: start one on a free port, wait until it answers, read its log, stop it.

A lane is a way of running one application: under our own server with the fast lane, or as a plain ASGI application
under somebody else's. This module knows commands and ports; it knows nothing of Socket.IO.

`SHOAL_TEST_REFERENCE` may hold a command with `{app}` and `{port}`. It then takes the place of every lane. That is
how the acceptance tests themselves are checked against another implementation.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import http.client
import os
import shlex
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = os.environ.get("SHOAL_TEST_REFERENCE", "")
HOST = "127.0.0.1"

_PYTHON = [sys.executable, "-X", "utf8"]
_UVICORN = [*_PYTHON, "-m", "uvicorn", "--host", HOST, "--port", "{port}", "--log-level", "warning"]
_COMMANDS: dict[str, list[str]] = {
    "fastlane": [*_PYTHON, "-m", "tests.apps.serve", "tests.apps.{app}", "{port}"],
    "uvicorn": [*_UVICORN, "tests.apps.{app}"],
    # Where our short cut through uvicorn cannot be taken.
    "behind": [*_UVICORN, "tests.apps.behind:{app}"],
    "hypercorn": [*_PYTHON, "-m", "hypercorn", "tests.apps.{app}", "--bind", f"{HOST}:{{port}}"],
    "granian": [
        *_PYTHON,
        "-m",
        "granian",
        "--interface",
        "asgi",
        "--host",
        HOST,
        "--port",
        "{port}",
        "tests.apps.{app}",
    ],
}
LANES = tuple(_COMMANDS)
_LIBC = ctypes.CDLL(None)


def lanes(*names: str) -> tuple[str, ...]:
    """The lanes to run a test over: the ones named, or the reference alone where one is set."""
    return ("reference",) if REFERENCE else names


def stricter(reason: str) -> pytest.MarkDecorator:
    """Mark a test that asks more of us than the reference does, and say how the reference differs."""
    return pytest.mark.skipif(bool(REFERENCE), reason=reason)


def die_with_parent() -> None:
    """For a child between fork and exec: it is killed when this process is, even by a SIGKILL. Linux alone can."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def command(app: str, lane: str, port: int) -> list[str]:
    """The command that serves `app` ("module:attribute" below tests/apps) over `lane` on `port`."""
    template = shlex.split(REFERENCE) if lane == "reference" else _COMMANDS[lane]
    name = app.partition(":")[0] if lane == "reference" else app
    return [word.format(app=name, port=port) for word in template]


class ServerProcess:
    """One server process and its log.

    Args:
        argv: the command.
        port: the port it is expected to listen on.
        env: variables added to this process's environment.
        scheme: "http" or "https".
        cwd: the folder it runs in.
    """

    def __init__(
        self,
        argv: Sequence[str],
        port: int,
        env: Mapping[str, str] | None = None,
        scheme: str = "http",
        cwd: Path = ROOT,
    ) -> None:
        self.argv = list(argv)
        self.port = port
        self.url = f"{scheme}://{HOST}:{port}"
        self.final_log = ""
        """The whole log, once the process is closed."""
        self._log = tempfile.NamedTemporaryFile(prefix="shoal-test-", suffix=".log")  # noqa: SIM115 - closed in stop()
        self._process = subprocess.Popen(
            self.argv,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        """Everything the process has written so far, both streams."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def wait_until_up(self, timeout: float = 30.0, path: str = "/") -> None:
        """Return once the process answers HTTP, whatever the status.

        Raises:
            RuntimeError: it ended, or stayed silent for `timeout` seconds. The message holds its log.
        """
        deadline = time.monotonic() + timeout
        while not _answers(self.url + path):
            if not self.alive:
                raise RuntimeError(f"{shlex.join(self.argv)} ended with {self._process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{shlex.join(self.argv)} does not answer:\n{self.log()}")
            time.sleep(0.03)

    def kill(self) -> None:
        """End the process group at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, timeout: float = 10.0) -> int:
        """Ask the process to end, wait for it, and return its exit code.

        Raises:
            RuntimeError: it did not end within `timeout` seconds. It is killed then.
        """
        if self.alive:
            self._process.terminate()
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"{shlex.join(self.argv)} ignored SIGTERM for {timeout} s:\n{self.log()}") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return code

    def close(self) -> None:
        """End the process if it still runs, and drop its log."""
        if self.alive:
            self.kill()
        self.final_log = self.final_log or self.log()
        self._log.close()


@contextlib.contextmanager
def serving(
    app: str, lane: str = "fastlane", *, env: Mapping[str, str] | None = None, pem: Sequence[Path] = ()
) -> Iterator[ServerProcess]:
    """Serve `app` over `lane` for the length of the block. Leaving the block stops the server gracefully.

    With `pem`, a certificate and its key, the fast lane serves it over TLS.
    """
    port = free_port()
    argv = [*command(app, lane, port), *map(str, pem)]
    server = ServerProcess(argv, port, env, "https" if pem else "http")
    try:
        server.wait_until_up()
        yield server
        server.stop()
    finally:
        server.close()


def tracebacks(log: str) -> list[str]:
    """The lines of a server's log that tell of a mistake of ours: a traceback, a lost task, a leak."""
    marks = ("Traceback (most recent", "never retrieved", "was destroyed but it is pending", "never awaited")
    return [line for line in log.splitlines() if any(mark in line for mark in marks)]


def _answers(url: str) -> bool:
    """Whether somebody answers HTTP there, whatever the status and whatever the certificate."""
    try:
        _opener().open(url, timeout=2.0).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, http.client.HTTPException):
        return False
    return True


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """Made once: each server that starts is asked dozens of times."""
    unchecked = ssl._create_unverified_context()
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unchecked))
