"""The supervisor: starts processes, shows what they say, restarts those that die, stops them all in time.

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

from ..errors import ShoalError
from .guard import Guard
from .log import LineSplitter, Log
from .plan import Process, Role

__all__ = ["Backoff", "Supervisor"]

UP = "up"
"""The name that the supervisor's own lines stand behind."""

READ = 64 * 1024
DRAIN_TIMEOUT = 0.3
"""Seconds to read what a dead process left in its pipe, in case a grandchild still holds the other end."""

STOP_TIMEOUTS: tuple[tuple[tuple[Role, ...], float], ...] = ((("server", "balancer"), 3.5), (("broker",), 0.5))
"""Who is stopped together and how many seconds it gets before SIGKILL: 4.6 in all with reading the last words, of
the five that are promised. The broker goes last, so that no server mourns it."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart. Durations are seconds."""

    first: float = 0.1
    """Short, since clients that lost a server come back after half a second or more, and are to find it."""
    factor: float = 2.0
    most: float = 8.0
    forgiven_after: float = 10.0
    """A process that lived this long starts anew with ``first``."""

    def delay(self, failures: int) -> float:
        """Return the wait after the ``failures``-th death in a row, counted from 1."""
        return float(min(self.most, self.first * self.factor ** min(failures - 1, 32)))


class Supervisor:
    """Keeps processes running until it is told to stop.

    Until ``settle`` is called a process that ends is a failed start: it is not restarted, and ``failed`` tells of it.

    Args:
        log: Gets every line of every process.
        guard: Is told of every process group.
        is_noise: Tells whether a line of a process need not be shown.
        backoff: How restarts are delayed.
    """

    def __init__(
        self,
        log: Log,
        guard: Guard,
        is_noise: Callable[[Process, str], bool] = lambda process, line: False,
        backoff: Backoff = Backoff(),
    ) -> None:
        self.log = log
        self.guard = guard
        self.is_noise = is_noise
        self.backoff = backoff
        self.settled = False
        self.stopping = asyncio.Event()
        self.hurried = asyncio.Event()
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

    def settle(self) -> None:
        """From now on restart what dies."""
        self.settled = True

    def report(self, process: Process, code: int, last_line: str) -> None:
        """Take note that ``process`` ended before everything was up."""
        if not self.failed.done():
            reason = f": {last_line.removeprefix('shoal: ')}" if last_line else ""
            self.failed.set_result(f"{process.name} ended while starting (exit code {code}){reason}")

    async def stop(self) -> None:
        """End everything: SIGTERM, and SIGKILL for what is left at the deadline or once ``hurry`` is called."""
        self.stopping.set()
        for roles, seconds in STOP_TIMEOUTS:
            await self._stop([child for child in self._children if child.process.role in roles], seconds)
        self.failed.cancel()

    def hurry(self) -> None:
        """Let a stop under way, or the next one, go straight to SIGKILL."""
        self.hurried.set()

    async def _stop(self, children: Sequence[_Child], seconds: float) -> None:
        ending = [(child, child.end()) for child in children]
        if not ending:
            return
        hurried = asyncio.ensure_future(self.hurried.wait())
        everyone = asyncio.gather(*(task for _, task in ending))
        await asyncio.wait((everyone, hurried), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        for child, task in ending:
            if not task.done():
                child.signal(signal.SIGKILL)
        await everyone


class _Child:
    """One process through all its lives."""

    def __init__(self, process: Process, supervisor: Supervisor) -> None:
        self.process = process
        self.supervisor = supervisor
        self._running: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._last_line = ""

    async def spawn(self) -> None:
        self._running = await self._execute()
        self._task = asyncio.create_task(self._keep(), name=f"supervise {self.process.name}")

    async def _execute(self) -> asyncio.subprocess.Process:
        try:
            running = await asyncio.create_subprocess_exec(
                *self.process.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=os.environ | dict(self.process.environment),
                start_new_session=True,
            )
        except OSError as error:
            raise ShoalError(f"cannot run {self.process.argv[0]}: {os.strerror(error.errno or 0)}") from error
        self.supervisor.guard.watch(running.pid)
        return running

    async def _keep(self) -> None:
        """Live, die, wait, live again; until the supervisor stops or a start fails."""
        boss, clock, failures = self.supervisor, asyncio.get_running_loop().time, 0
        while True:
            born = clock()
            code = await self._live()
            if boss.stopping.is_set():
                return
            if not boss.settled:
                boss.report(self.process, code, self._last_line)
                return
            failures = 1 if clock() - born >= boss.backoff.forgiven_after else failures + 1
            if not await self._rise(code, boss.backoff.delay(failures)):
                return

    async def _live(self) -> int:
        """Pass on what the process says until it ends; return its exit code, negative for a signal."""
        assert self._running is not None
        running = self._running
        listening = asyncio.create_task(self._listen(running))
        code = await running.wait()
        _kill_group(running.pid, signal.SIGKILL)  # workers that outlived their master
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(listening, DRAIN_TIMEOUT)
        self._running = None
        self.supervisor.guard.forget(running.pid)
        return code

    async def _rise(self, code: int, delay: float) -> bool:
        """Wait ``delay`` seconds and start the process again; false if the supervisor stops meanwhile."""
        boss, name = self.supervisor, self.process.name
        boss.log.write(UP, f"{name} died (exit code {code}), restarting in {delay:g} s")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(boss.stopping.wait(), delay)
        if boss.stopping.is_set():
            return False
        try:
            self._running = await self._execute()
        except ShoalError as error:
            boss.log.write(UP, f"{error}; giving {name} up")
            return False
        if boss.stopping.is_set():  # the stop came while the process was being made
            self.signal(signal.SIGTERM)
        return True

    async def _listen(self, running: asyncio.subprocess.Process) -> None:
        assert running.stdout is not None
        splitter = LineSplitter()
        while data := await running.stdout.read(READ):
            self._say(splitter.feed(data))
        self._say(splitter.close())

    def _say(self, lines: list[str]) -> None:
        boss = self.supervisor
        if boss.stopping.is_set() and self.process.role != "server":
            return  # how broker and balancer take their leave interests nobody
        shown = [line for line in lines if not boss.is_noise(self.process, line)]
        boss.log.write(self.process.name, *shown)
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
