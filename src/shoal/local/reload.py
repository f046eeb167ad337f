"""Runs one server process and starts it anew when a file of the application changes, as `uvicorn --reload` does.

The listening socket is held here, so who comes meanwhile waits for the new process and is not refused. The process
shares this one's terminal: a debugger works in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TextIO

from ..errors import ConfigurationError
from .control import Control
from .job import Job
from .stopping import Stopping

__all__ = ["Watch", "check_watch", "run_reloaded"]

INCLUDED: Final = ("*.py",)
EXCLUDED: Final = (".*", ".py[cod]", ".sw.*", "~*")
"""uvicorn's."""
STOP_TIMEOUT: Final = 8.0
"""Seconds that the process gets before SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Which files count."""

    directories: Sequence[str] = ()
    """Where they are, at any depth. Default: the working directory."""
    include: Sequence[str] = ()
    """Patterns of names that count besides ``*.py``."""
    exclude: Sequence[str] = ()
    """Patterns of names, or directories, that do not."""

    def counts(self, path: str) -> bool:
        """Whether a change of this file matters."""
        file = Path(path)
        included = [pattern for pattern in INCLUDED if pattern not in self.exclude]
        if not any(file.match(pattern) for pattern in (*included, *self.include)):
            return False
        excluded = [pattern for pattern in EXCLUDED if pattern not in self.include]
        if any(file.match(pattern) for pattern in (*excluded, *self.exclude)):
            return False
        return not any(Path(name).resolve() in file.resolve().parents for name in self.exclude)


def check_watch(watch: Watch) -> None:
    """Raise if nobody can watch.

    Raises:
        ConfigurationError: watchfiles is not installed, or there is no such directory.
    """
    try:
        import watchfiles  # noqa: F401, PLC0415 - of an extra; said before anything is started
    except ImportError as error:
        raise ConfigurationError("--reload needs watchfiles: run pip install 'shoal[reload]'") from error
    for directory in watch.directories:
        if not os.path.isdir(directory):
            raise ConfigurationError(f"--reload-dir {directory}: there is no such directory")


def run_reloaded(job: Job, watch: Watch, stream: TextIO) -> None:
    """Do ``job`` in a process until SIGINT, SIGTERM or SIGHUP; anew whenever a file changes that counts.

    A process that ends by itself, since the code is wrong, say, is started anew at the next change.

    Args:
        job: Its ``fd`` is the listening socket.
        watch: Which files. Checked by :func:`check_watch`.
        stream: Where lines go that are not the process's.
    """

    async def run() -> None:
        await _Reloader(job, watch, stream).run()

    asyncio.run(run())


def _name(path: str) -> str:
    return os.path.relpath(path)


class _Reloader:
    def __init__(self, job: Job, watch: Watch, stream: TextIO) -> None:
        self.job = job
        self.watch = watch
        self.stream = stream
        self.stopping = Stopping()
        self.control = Control()
        self.control.on_failure = self._say
        self.process: asyncio.subprocess.Process | None = None
        self._waiting: asyncio.Task[None]
        self._is_expected = False
        """Whether the process is to end."""

    async def run(self) -> None:
        self.stopping.handle_signals()
        self.stopping.on_second = self._kill
        changes = self._changes()
        try:
            await self._start()
            await self.stopping.unless_stopped(self._follow(changes))
        finally:
            await changes.aclose()
            await self._stop()
            self.control.close()

    async def _follow(self, changes: AsyncIterator[list[str]]) -> None:
        async for paths in changes:
            first, more = paths[0], f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            self._say(f"{_name(first)}{more} changed, reloading")
            await self._stop()
            await self._start()

    async def _changes(self) -> Any:
        from watchfiles import DefaultFilter, awatch  # noqa: PLC0415

        usual = DefaultFilter()  # knows __pycache__, .git, .venv, node_modules and the like

        def counts(change: Any, path: str) -> bool:
            return usual(change, path) and self.watch.counts(path)

        directories = self.watch.directories or [os.getcwd()]
        try:
            async for found in awatch(*directories, watch_filter=counts, debounce=200, stop_event=self.stopping.asked):
                yield sorted(path for _, path in found)
        except OSError as error:  # there are more directories than the system watches for one user, say
            raise ConfigurationError(f"cannot watch {', '.join(map(_name, directories))}: {error}") from error

    async def _start(self) -> None:
        self._is_expected = self.stopping.asked.is_set()
        name, text = replace(self.job, control=self.control.descriptor).told()
        self.process = await asyncio.create_subprocess_exec(
            *self.job.argv,
            self.job.name,
            env=os.environ | {name: text},
            pass_fds=(self.job.fd, self.control.descriptor),
        )
        self._waiting = asyncio.create_task(self._wait(self.process))

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if not self._is_expected:
            self._say(f"{self.job.app} has ended (exit code {code}); a change of a file starts it again")

    async def _stop(self) -> None:
        if self.process is None:
            return
        self._is_expected = True
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(self._waiting), STOP_TIMEOUT)
        except TimeoutError:
            self._kill()
            await self._waiting
        self.process = None

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(f"shoal: {text}\n")
            self.stream.flush()
