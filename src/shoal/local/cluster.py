"""Runs a plan from the first check to the last cleaned-up file.

Glue: it asks ``checks``, starts what ``plan`` says through ``processes``, waits until everything answers and then
until a signal stops it. It decides the order of things and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TextIO

from ..errors import BrokerError, ShoalError
from . import balancer, broker
from .address import Address
from .checks import check_app, check_broker, check_ports, http_status, look_around, raise_file_limit
from .guard import Guard
from .log import Log
from .plan import DEMO, Machine, Options, Plan, Process, make_plan
from .processes import UP, Supervisor

__all__ = ["banner", "run_cluster"]

START_TIMEOUT = 60.0
"""Seconds from the first process to everything answering. An application that loads a model may need some."""
NOTICE_INTERVAL = 5.0
"""Seconds between two log lines that name what is waited for."""
PROBE_EVERY = 0.05
NOT_YET = frozenset({502, 503, 504})
"""What a balancer answers while it reaches no server, and a server while it reaches no broker."""

Probe = Callable[[], Awaitable[bool]]


def run_cluster(options: Options, stream: TextIO, *, colour: bool = False, browse: bool = False) -> None:
    """Start everything, keep it running, and stop it on SIGINT, SIGTERM or SIGHUP, or when ``stream`` is closed.

    Blocks until everything has stopped; nothing is left behind then. A second signal while stopping skips the waiting.

    Args:
        options: What to run.
        stream: Where the one log goes.
        colour: Whether the log is coloured.
        browse: Open a browser when everything is up.

    Raises:
        ConfigurationError: Nothing was started: an option, a port, a program or the application is wrong.
        ShoalError: Something failed to start; what had been started is stopped again.
    """
    raise_file_limit()
    with _private_directory() as directory:
        machine = look_around(directory)
        plan = make_plan(options, machine)
        check_ports(plan)
        for path, text in plan.files:
            Path(path).write_text(text)
        log = Log(stream, [s.name for s in plan.servers], _others(plan), colour=colour)
        asyncio.run(_Cluster(plan, machine, log, browse=browse).run())


def _others(plan: Plan) -> list[str]:
    return [UP, *(p.name for p in plan.processes if p.role != "server")]


@contextlib.contextmanager
def _private_directory() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="shoal-up-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Cluster:
    def __init__(self, plan: Plan, machine: Machine, log: Log, *, browse: bool) -> None:
        self.plan = plan
        self.machine = machine
        self.log = log
        self.browse = browse
        self.stop = asyncio.Event()
        self.supervisor: Supervisor | None = None

    async def run(self) -> None:
        began = time.monotonic()
        self._handle_signals()
        if not await self._until_stop(self._check()):
            return
        guard = Guard(self.machine.directory)
        try:
            self.supervisor = Supervisor(self.log, guard, self._is_noise)
            await self._keep_up(self.supervisor, began)
        finally:
            guard.close()

    async def _keep_up(self, supervisor: Supervisor, began: float) -> None:
        try:
            if await self._until_stop(self._start(supervisor), supervisor.failed):
                supervisor.started()
                self._show_banner(time.monotonic() - began)
                await self.stop.wait()
            self.log.write(UP, "stopping")
        finally:
            await supervisor.stop()

    def _handle_signals(self) -> None:
        self.log.on_broken = self._request_stop
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._request_stop)

    def _request_stop(self) -> None:
        if self.stop.is_set() and self.supervisor is not None:
            self.supervisor.force_stop()
        self.stop.set()

    async def _until_stop(self, work: Awaitable[None], failed: asyncio.Future[str] | None = None) -> bool:
        """Do ``work``; false if the stop came first.

        Raises:
            ShoalError: A failure came first, as ``failed``.
        """
        task, stop = asyncio.ensure_future(work), asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({task, stop, *((failed,) if failed else ())}, return_when=asyncio.FIRST_COMPLETED)
            if failed is not None and failed.done():
                raise ShoalError(failed.result())
            if not task.done():
                return False
            task.result()
            return not self.stop.is_set()
        finally:
            for waiter in (task, stop):
                waiter.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def _check(self) -> None:
        if self.plan.broker is None:
            await check_broker(self.plan.broker_url)
        await check_app(self.plan, self.machine.python)

    async def _start(self, supervisor: Supervisor) -> None:
        """Start broker, servers and balancer, each when the ones before answer."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                for role in ("broker", "server", "balancer"):
                    processes = [p for p in self.plan.processes if p.role == role]
                    for process in processes:
                        await supervisor.start(process)
                    await asyncio.gather(*(self._wait(p.name, _probe(p)) for p in processes))
                await self._wait(str(self.plan.public), lambda: _answers(self.plan.public, "/healthz"))
        except TimeoutError as error:
            raise ShoalError(f"not everything answered within {START_TIMEOUT:g} s") from error

    async def _wait(self, name: str, probe: Probe) -> None:
        next_notice = time.monotonic() + NOTICE_INTERVAL
        while not await probe():
            if time.monotonic() >= next_notice:
                self.log.write(UP, f"still waiting for {name}")
                next_notice += NOTICE_INTERVAL
            await asyncio.sleep(PROBE_EVERY)

    def _is_noise(self, process: Process, line: str) -> bool:
        if self.plan.verbose or process.role == "server":
            return False
        if process.role == "broker":
            return broker.is_noise(line)
        return balancer.is_noise(process.product, line)

    def _show_banner(self, seconds: float) -> None:
        url = f"http://{self.plan.public.reachable}/"
        self.log.write(UP, *banner(self.plan, url, seconds, self.log.strong))
        if self.browse:
            webbrowser.open(url)


def banner(
    plan: Plan, url: str, seconds: float, strong: Callable[[str], str] = str, platform: str = sys.platform
) -> list[str]:
    """Return the lines that say what runs and where to look."""
    servers = ", ".join(p.name for p in plan.servers)
    dealt = {"leastconn": "least connections", "roundrobin": "round robin"}[plan.algorithm]
    balanced = "the kernel, by connection" if plan.balanced_by == "kernel" else f"{plan.balanced_by}, {dealt}"
    count = "one server" if len(plan.servers) == 1 else f"{len(plan.servers)} servers speak as one"
    product = plan.broker.product if plan.broker is not None else "yours"
    lines = [
        "",
        strong(f"Shoal is up: {count}. It took {seconds:.1f} s."),
        "",
        f"  servers   {servers}",
        f"  balancer  {balanced}, on port {plan.public.port}",
        f"  broker    {broker.hide_password(plan.broker_url)} ({product})",
        "",
    ]
    if plan.balanced_by == "kernel" and platform != "linux":
        lines += ["  note      only Linux spreads connections over servers; install haproxy or nginx", ""]
    if plan.app == DEMO:
        lines += [
            f"  open      {strong(url)} in two browser windows",
            f"  type      {strong(TYPE_THIS)} in the console of one",
            "  see       the message in both, with the name of the sender's server",
        ]
    else:
        lines.append(f"  open      {strong(url)}")
    return [*lines, "  stop      Ctrl-C", ""]


TYPE_THIS = """ws.emit('chat', "Hello! I'm client")"""


def _probe(process: Process) -> Probe:
    if process.role == "broker":
        return lambda: _pings(process)
    return lambda: _answers(process.address, "/readyz" if process.role == "server" else "/healthz")


async def _pings(process: Process) -> bool:
    try:
        await broker.ping(process.address, timeout=1.0)
    except BrokerError:
        return False
    return True


async def _answers(address: Address, path: str) -> bool:
    return await http_status(address, path) not in (None, *NOT_YET)
