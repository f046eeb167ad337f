"""Runs one application in several processes that share its port, and starts again those that die.

Where the application's servers would have no broker, one is started as `shoal up` does, so that the workers speak as
one. A session's requests come to any worker, which passes them to the one that has it; so each listens besides at a
port of its own and tells the others, by the option `advertise`.

On Linux each worker opens the shared port itself, with SO_REUSEPORT: the kernel then spreads connections evenly, and a
worker that is dead gets none. With one listening socket for all, whoever wakes first takes what waits: of 1,000
connections to four workers, 500 at once, one worker had 59 and another 503, in place of 237 to 270; and a WebSocket
stays where it is for hours. A Unix socket can only be had that way, and other systems do not spread connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TextIO

import msgspec

from ..errors import BrokerError, ConfigurationError
from ..settings import parse_address
from . import broker
from .address import Address
from .checks import loading, look_around
from .control import Control
from .guard import Guard
from .job import FAILED, Job
from .log import Log
from .plan import BROKER_SCHEMES, Options, Process, plan_broker
from .processes import UP, StopTimeouts, Supervisor
from .stopping import Stopping

__all__ = ["ALONE", "Facts", "joins_nobody", "probe", "run_workers"]

STOP_TIMEOUTS: Final[StopTimeouts] = ((("server",), 10.0), (("broker",), 0.5))
"""A worker gives requests three seconds, and its handlers two."""
BROKER_TIMEOUT: Final = 10.0
"""Seconds that the broker may take to answer. It takes a tenth of one."""
PROBE_EVERY: Final = 0.02
ALONE: Final = "memory://"
LOOPBACK: Final = "127.0.0.1"
EVERYWHERE: Final = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What there is in an application's process once it has been loaded."""

    brokers: tuple[str, ...] = ()
    """Of each server."""
    advertised: tuple[str, ...] = ()
    """The option ``advertise`` of the servers that were given one."""
    recovers: bool = False
    """Whether a server's clients may come back to their state."""
    engines: int = 0
    """Engines that belong to no server."""

    @property
    def needs_broker(self) -> bool:
        """Whether a server speaks to nobody beyond its process."""
        return ALONE in self.brokers


class _Notes(Log):
    """The supervisor's own lines, and what the broker has to say. What workers print is not its business."""

    def write(self, name: str, *lines: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # who reads them has gone; the workers serve on
            for line in lines:
                self._stream.write(f"{'shoal' if name == UP else name}: {line}\n")
            self._stream.flush()


def run_workers(job: Job, count: int, stream: TextIO, release: Callable[[], None]) -> None:
    """Start ``count`` processes that do ``job`` and keep them up until SIGINT, SIGTERM or SIGHUP; then let them drain.

    Args:
        job: What all of them do. With a ``fd``, they share it, else the port.
        count: How many.
        stream: Where the few lines go that are not the workers'.
        release: Called once, when no more connections are wanted.

    Raises:
        ConfigurationError: The application cannot be loaded, or not be served like this, or no broker can be started.
        ShoalError: A worker ended before all of them served.
    """
    with tempfile.TemporaryDirectory(prefix="shoal-serve-") as directory:
        asyncio.run(_Workers(job, count, stream, release, directory).run())


class _Supervisor(Supervisor):
    """A supervisor whose processes say themselves why they could not start."""

    controls: dict[str, Control]

    def start_failed(self, process: Process, code: int, last_line: str) -> None:
        control = self.controls.get(process.name)
        reason = (control.take_failure() if control is not None else "") or last_line
        super().start_failed(process, code, reason or "the log above says why")


class _Workers:
    def __init__(self, job: Job, count: int, stream: TextIO, release: Callable[[], None], directory: str) -> None:
        self.job = job
        self.names = [f"{job.name}-{number}" for number in range(1, count + 1)]
        self.stopping = Stopping()
        self.stream = stream
        self.notes = _Notes(stream, self.names, ["broker", UP])
        self.release = release
        self.directory = directory

    async def run(self) -> None:
        self.stopping.handle_signals()
        found: list[Facts] = []

        guard = Guard(self.directory)

        async def look() -> None:
            found.append(await probe(self.job, guard))
            self.notes.write(UP, *check(self.job, found[0]))

        try:
            if await self.stopping.unless_stopped(look()):
                supervisor = _Supervisor(self.notes, guard, _is_noise, stop_timeouts=STOP_TIMEOUTS)
                await self._keep_up(found[0], supervisor)
        finally:
            guard.close()

    async def _keep_up(self, facts: Facts, supervisor: _Supervisor) -> None:
        self.stopping.on_second = supervisor.force_stop
        controls = supervisor.controls = {name: Control() for name in self.names}
        try:
            if await self.stopping.unless_stopped(self._start(facts, supervisor), supervisor.failed):
                supervisor.started()
                for name, control in controls.items():
                    control.on_failure = functools.partial(self._cannot_start, name)
                await self.stopping.wait()
        finally:
            self.release()
            await supervisor.stop()
            for control in controls.values():
                control.close()

    async def _start(self, facts: Facts, supervisor: _Supervisor) -> None:
        environment: list[tuple[str, str]] = []
        if facts.needs_broker:
            scheme, password, process = self._plan_broker(facts)
            environment.append(("SHOAL_BROKER", f"{scheme}://:{password}@{process.address}"))
            await supervisor.start(process)
            await _answers(process.address)
            self.notes.write(
                UP, f"the workers' broker is {scheme}://{process.address} ({process.product}), theirs alone"
            )
        job = place(self.job, facts)
        for number, (name, control) in enumerate(supervisor.controls.items()):
            mine = replace(job, name=name, control=control.descriptor, own_port=job.own_port and job.own_port + number)
            await supervisor.start(_worker(mine, environment))
        await asyncio.gather(*(control.ready.wait() for control in supervisor.controls.values()))

    def _cannot_start(self, name: str, reason: str) -> None:
        """A worker that is to replace one that died. The others serve on, and it is tried again."""
        self.notes.write(UP, f"{name} cannot start: {reason}")

    def _plan_broker(self, facts: Facts) -> tuple[str, str, Process]:
        machine = look_around(self.directory)
        process = plan_broker(Options(), machine)
        password = secrets.token_hex(32)
        Path(self.directory, "broker.conf").write_text(broker.broker_conf(process.address, self.directory, password))
        scheme = BROKER_SCHEMES["streams" if facts.recovers else "pubsub"]
        return scheme, password, process


def _worker(job: Job, environment: list[tuple[str, str]]) -> Process:
    return Process(
        name=job.name,
        role="server",
        argv=(*job.argv, job.name),
        address=Address(job.host, job.port),
        environment=(*environment, ("SHOAL_NODE", job.name), job.told()),
        descriptors=tuple(descriptor for descriptor in (job.fd, job.control) if descriptor >= 0),
        is_logged=False,
    )


def _is_noise(process: Process, line: str) -> bool:
    return broker.is_noise(line)


async def _answers(address: Address) -> None:
    try:
        async with asyncio.timeout(BROKER_TIMEOUT):
            while True:
                with contextlib.suppress(BrokerError):
                    return await broker.ping(address, timeout=1.0)
                await asyncio.sleep(PROBE_EVERY)
    except TimeoutError as error:
        raise BrokerError(f"the workers' broker did not answer at {address} within {BROKER_TIMEOUT:g} s") from error


def check(job: Job, facts: Facts) -> list[str]:
    """Raise if several workers cannot serve what there is. Returns what should be known about it.

    Raises:
        ConfigurationError: Each of them would need what only one can have.
    """
    if facts.advertised:
        raise ConfigurationError(
            f"{job.app} says advertise={facts.advertised[0]!r} in its code, and each worker needs an address of its "
            "own: leave it out there; SHOAL_ADVERTISE=host:port gives the workers port, port + 1 and so on"
        )
    if facts.needs_broker and os.environ.get("SHOAL_BROKER", ALONE) != ALONE:
        raise joins_nobody(job)
    if facts.engines:
        return [f"{job.app} has an Engine, whose sessions stay in one worker: its clients must use WebSockets alone"]
    return []


def joins_nobody(job: Job) -> ConfigurationError:
    """What is to be raised where a server has no broker though its process was given one."""
    return ConfigurationError(
        f"{job.app} says broker={ALONE!r} in its code, with which workers cannot speak as one: leave it out"
    )


def place(job: Job, facts: Facts) -> Job:
    """The job with what workers need to reach each other, and nodes elsewhere to reach them.

    Raises:
        ConfigurationError: ``SHOAL_ADVERTISE`` is no address, or the broker's host is not known.
    """
    if not facts.brokers:
        return job
    job = replace(job, is_clustered=True)
    if advertise := os.environ.get("SHOAL_ADVERTISE"):
        host, port, _ = parse_address(advertise)
        return replace(job, own_host=job.host, own_port=port, advertise=host)
    if facts.needs_broker:  # nobody else is there
        return replace(job, own_host=LOOPBACK, advertise=LOOPBACK)
    if job.host not in EVERYWHERE:
        return replace(job, own_host=job.host, advertise=job.host)
    return replace(job, own_host=job.host, advertise=address_towards(facts.brokers[0]))


def address_towards(url: str) -> str:
    """This machine's address on the way to a broker, which is the way to its other nodes. Sends nothing.

    Raises:
        ConfigurationError: The broker's host is not known, or there is no way to it.
    """
    there = broker.broker_address(url)
    if there is None:
        return LOOPBACK  # a Unix socket, say: all nodes are here
    try:
        family, _, _, _, target = socket.getaddrinfo(there.host, there.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probing:
            probing.connect(target)
            return str(probing.getsockname()[0])
    except OSError as error:
        raise ConfigurationError(
            f"cannot tell at which of this machine's addresses other servers reach the workers: {there.host}: "
            f"{error.strerror}. Give SHOAL_ADVERTISE=host:port, or --host with an address of this machine"
        ) from error


async def probe(job: Job, guard: Guard | None = None) -> Facts:
    """Load the application once, in a process of its own, which ``guard`` watches.

    Raises:
        ConfigurationError: It cannot be loaded or is no ASGI application; the text says why.
    """
    control = Control()
    name, text = replace(job, is_probe=True, control=control.descriptor).told()
    environment: dict[str, str] = os.environ | {name: text}
    environment.pop("SHOAL_ADVERTISE", None)  # what is left is the code's
    options = {"stderr": subprocess.DEVNULL, "env": environment, "pass_fds": (control.descriptor,)}
    try:
        async with loading(job.app, job.argv, guard, **options) as process:
            code = await process.wait()
        said = control.take()
    finally:
        control.close()
    if said.startswith(FAILED) or not said:
        reason = said[len(FAILED) :].decode("utf-8", "replace")
        raise ConfigurationError(reason or f"{job.app} ended with exit code {code} while it was loaded")
    return msgspec.json.decode(said, type=Facts)
