"""The supervisor: starts processes, logs what they print, restarts those that die, stops them all in time.

Knows processes by name and role only. Each one leads a process group of its own, so that a terminal's Ctrl-C reaches
the supervisor alone and a stop reaches grandchildren too. What is started, and when it counts as up, is decided
elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import ShoalError
from .guard import Guard
from .log import LineSplitter, Log
from .plan import Process, Role

__all__ = ["KILL_PAUSE", "UP", "Backoff", "Killed", "StopTimeouts", "Supervisor"]

UP = "up"
"""The name that the supervisor's own lines stand behind."""

READ = 64 * 1024
DRAIN_TIMEOUT = 0.3
"""Seconds to read what a dead process left in its pipe, in case a grandchild still holds the other end."""

KILL_PAUSE = 4.0
"""Seconds that a server which was killed on demand stays away: its clients go to the others meanwhile."""

Killed = Literal["killed", "unknown", "down"]
"""What became of a demand to kill: done, no server has that name, or it does not run at the moment."""

StopTimeouts = tuple[tuple[tuple[Role, ...], float], ...]

STOP_TIMEOUTS: StopTimeouts = ((("server", "balancer"), 3.5), (("broker",), 0.5))
"""What is stopped together and how many seconds it gets before SIGKILL: 4.6 in all with reading the last output, of
the five that are promised. The broker goes last, so that no server logs its loss."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart. Durations are seconds."""

    first: float = 0.1
    """Short, since clients that lost a server come back after half a second or more, and are to find it."""
    factor: float = 2.0
    most: float = 8.0
    reset_after: float = 10.0
    """A process that lived this long starts anew with ``first``."""

    def delay(self, failures: int) -> float:
        """Return the wait after the ``failures``-th death in a row, counted from 1."""
        return float(min(self.most, self.first * self.factor ** min(failures - 1, 32)))


class Supervisor:
    """Keeps processes running until :meth:`stop`.

    Until ``started`` is called a process that ends is a failed start: it is not restarted, and ``failed`` is done.

    Args:
        log: Gets every line of every process.
        guard: Watches every process group.
        is_noise: Whether a line of a process need not be shown.
        backoff: How restarts are delayed.
        stop_timeouts: What is stopped together, and how many seconds it gets before SIGKILL.
        kill_pause: Seconds that what was killed on demand stays away.
    """

    def __init__(
        self,
        log: Log,
        guard: Guard,
        is_noise: Callable[[Process, str], bool] = lambda process, line: False,
        backoff: Backoff = Backoff(),
        stop_timeouts: StopTimeouts = STOP_TIMEOUTS,
        kill_pause: float = KILL_PAUSE,
    ) -> None:
        self.kill_pause = kill_pause
        self.log = log
        self.guard = guard
        self.is_noise = is_noise
        self.backoff = backoff
        self.stop_timeouts = stop_timeouts
        self.is_started: bool = False
        self.stopping: asyncio.Event = asyncio.Event()
        self.forced: asyncio.Event = asyncio.Event()
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._children: list[_Child] = []

    async def start(self, process: Process) -> None:
        """Start ``process`` and watch it. Returns when it exists, not when it is ready.

        Raises:
            ShoalError: The program could not be run.
        """
        child = _Child(process, self)
        await child.spawn()
        self._children.append(child)

    def started(self) -> None:
        """From now on restart what dies."""
        self.is_started = True

    def start_failed(self, process: Process, code: int, last_line: str) -> None:
        """``process`` ended before everything was up."""
        if not self.failed.done():
            reason = f": {last_line.removeprefix('shoal: ')}" if last_line else ""
            self.failed.set_result(f"{process.name} ended while starting (exit code {code}){reason}")

    def kill(self, name: str, by: str, *, after: float = 0.0) -> Killed:
        """Kill a server as a crash would (SIGKILL), and start it again after a pause.

        Args:
            name: Whom. Broker and balancer are not servers.
            by: Who wants it, for the log.
            after: Seconds until then, in which the answer can get to who wants it.
        """
        child = next((c for c in self._children if c.process.name == name and c.process.role == "server"), None)
        if child is None:
            return "unknown"
        if not self.is_started or self.stopping.is_set() or not child.mark_killed():
            return "down"
        self.log.write(UP, f"{by} kills {name}; it comes back in {self.kill_pause:g} s")
        asyncio.get_running_loop().call_later(after, child.signal, signal.SIGKILL)
        return "killed"

    async def stop(self) -> None:
        """End everything: SIGTERM, and SIGKILL for what is left at the deadline or once ``force_stop`` is called."""
        self.stopping.set()
        for roles, seconds in self.stop_timeouts:
            await self._stop([child for child in self._children if child.process.role in roles], seconds)
        self.failed.cancel()

    def force_stop(self) -> None:
        """Let a stop under way, or the next one, go straight to SIGKILL."""
        self.forced.set()

    async def _stop(self, children: Sequence[_Child], seconds: float) -> None:
        ending = [(child, child.end()) for child in children]
        if not ending:
            return
        forced = asyncio.ensure_future(self.forced.wait())
        everyone = asyncio.gather(*(task for _, task in ending))
        await asyncio.wait((everyone, forced), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        for child, task in ending:
            if not task.done():
                child.signal(signal.SIGKILL)
        await everyone


class _Child:
    """One process and its restarts."""

    def __init__(self, process: Process, supervisor: Supervisor) -> None:
        self.process = process
        self.supervisor = supervisor
        self._running: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._last_line = ""
        self._killed = False

    def mark_killed(self) -> bool:
        """The process is about to be killed on demand. False: it is not running, or was marked before."""
        if self._running is None or self._killed:
            return False
        self._killed = True
        return True

    async def spawn(self) -> None:
        self._running = await self._execute()
        self._task = asyncio.create_task(self._supervise(), name=f"supervise {self.process.name}")

    async def _execute(self) -> asyncio.subprocess.Process:
        try:
            running = await asyncio.create_subprocess_exec(
                *self.process.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if self.process.is_logged else None,
                stderr=asyncio.subprocess.STDOUT if self.process.is_logged else None,
                env=os.environ | dict(self.process.environment),
                pass_fds=self.process.descriptors,
                start_new_session=True,
            )
        except OSError as error:
            raise ShoalError(f"cannot run {self.process.argv[0]}: {os.strerror(error.errno or 0)}") from error
        self.supervisor.guard.watch(running.pid)
        return running

    async def _supervise(self) -> None:
        """Run, wait and restart the process, until the supervisor stops or a start fails."""
        supervisor, clock, failures = self.supervisor, asyncio.get_running_loop().time, 0
        while True:
            started = clock()
            code = await self._run()
            if supervisor.stopping.is_set():
                return
            if not supervisor.is_started:
                supervisor.start_failed(self.process, code, self._last_line)
                return
            if self._killed:
                self._killed, failures, delay = False, 0, supervisor.kill_pause
            else:
                failures = 1 if clock() - started >= supervisor.backoff.reset_after else failures + 1
                delay = supervisor.backoff.delay(failures)
                supervisor.log.write(UP, f"{self.process.name} died (exit code {code}), restarting in {delay:g} s")
            if not await self._restart(delay):
                return

    async def _run(self) -> int:
        """Log what the process prints until it ends; return its exit code, negative for a signal."""
        assert self._running is not None
        running = self._running
        reading = asyncio.create_task(self._read_output(running))
        code = await running.wait()
        _kill_group(running.pid, signal.SIGKILL)  # workers that outlived their master
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reading, DRAIN_TIMEOUT)
        self._running = None
        self.supervisor.guard.forget(running.pid)
        return code

    async def _restart(self, delay: float) -> bool:
        """Wait ``delay`` seconds and start the process again; false if the supervisor stops meanwhile."""
        supervisor, name = self.supervisor, self.process.name
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(supervisor.stopping.wait(), delay)
        if supervisor.stopping.is_set():
            return False
        try:
            self._running = await self._execute()
        except ShoalError as error:
            supervisor.log.write(UP, f"{error}; giving {name} up")
            return False
        if supervisor.stopping.is_set():  # the stop came while the process was being made
            self.signal(signal.SIGTERM)
        return True

    async def _read_output(self, running: asyncio.subprocess.Process) -> None:
        if running.stdout is None:
            return
        splitter = LineSplitter()
        while data := await running.stdout.read(READ):
            self._log(splitter.feed(data))
        self._log(splitter.close())

    def _log(self, lines: list[str]) -> None:
        supervisor = self.supervisor
        if supervisor.stopping.is_set() and self.process.role != "server":
            return  # nobody needs to see how broker and balancer shut down
        shown = [line for line in lines if not supervisor.is_noise(self.process, line)]
        supervisor.log.write(self.process.name, *shown)
        self._last_line = next((line for line in reversed(shown) if line.strip()), self._last_line)

    def end(self) -> asyncio.Task[None]:
        """Ask the process to end, and return the task that is done when it has."""
        assert self._task is not None
        self.signal(signal.SIGTERM)
        return self._task

    def signal(self, number: int) -> None:
        if self._running is not None:
            _kill_group(self._running.pid, number)


def _kill_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
