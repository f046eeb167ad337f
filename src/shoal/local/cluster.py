"""Runs a plan from the first check to the last cleaned-up file.

Glue: it asks ``checks``, starts what ``plan`` says through ``processes``, waits until everything answers and then
until a signal stops it. It decides the order of things and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from ..errors import BrokerError, ShoalError
from . import balancer, broker
from .address import Address
from .checks import check_app, check_broker, check_ports, http_status, look_around, raise_file_limit
from .guard import Guard
from .keys import reading_keys
from .kill_port import kill_port
from .log import Log
from .plan import DEMO, Machine, Options, Plan, Process, make_plan
from .processes import UP, Supervisor
from .stopping import Stopping

__all__ = ["banner", "run_cluster"]

START_TIMEOUT = 60.0
"""Seconds from the first process to everything answering. An application that loads a model may need some."""
NOTICE_INTERVAL = 5.0
"""Seconds between two log lines that name what is waited for."""
PROBE_EVERY = 0.05
NOT_YET = frozenset({502, 503, 504})
"""What a balancer answers while it reaches no server, and a server while it reaches no broker."""

ANSWER_TIME = 0.25
"""Seconds that the page has to hear that its server will be killed, before that takes its connection away."""

Environment = tuple[tuple[str, str], ...]
Probe = Callable[[], Awaitable[bool]]


def run_cluster(
    options: Options, stream: TextIO, *, keys: TextIO | None = None, colour: bool = False, browse: bool = False
) -> None:
    """Start everything, keep it running, and stop it on SIGINT, SIGTERM or SIGHUP, or when ``stream`` is closed.

    Blocks until everything has stopped; nothing is left behind then. A second signal while stopping skips the waiting.

    Args:
        options: What to run.
        stream: Where the one log goes.
        keys: Where keys are pressed that kill a server, if it is a terminal.
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
        asyncio.run(_Cluster(plan, machine, log, keys, browse=browse).run())


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
    def __init__(self, plan: Plan, machine: Machine, log: Log, keys: TextIO | None, *, browse: bool) -> None:
        self.plan = plan
        self.machine = machine
        self.log = log
        self.keys = keys
        self.browse = browse
        self.stopping = Stopping()
        self.supervisor: Supervisor | None = None

    async def run(self) -> None:
        began = time.monotonic()
        self.log.on_broken = self.stopping.ask
        self.stopping.handle_signals()
        guard = Guard(self.machine.directory)
        try:
            if not await self.stopping.unless_stopped(self._check(guard)):
                return
            self.supervisor = Supervisor(self.log, guard, self._is_noise)
            self.stopping.on_second = self.supervisor.force_stop
            await self._keep_up(self.supervisor, began)
        finally:
            guard.close()

    async def _keep_up(self, supervisor: Supervisor, began: float) -> None:
        try:
            async with self._control(supervisor) as environment:
                if await self.stopping.unless_stopped(self._start(supervisor, environment), supervisor.failed):
                    supervisor.started()
                    with reading_keys(self.keys, self._press) as are_read:
                        self._show_banner(time.monotonic() - began, keys=are_read)
                        await self.stopping.wait()
            self.log.write(UP, "stopping")
        finally:
            await supervisor.stop()

    @contextlib.asynccontextmanager
    async def _control(self, supervisor: Supervisor) -> AsyncIterator[Environment]:
        """Let servers ask for one of them to be killed, where the page may; what that adds to their environment."""
        if not self.plan.killers:
            yield ()
            return

        def kill(name: str) -> str:
            return supervisor.kill(name, "the page", after=ANSWER_TIME)

        async with kill_port(self.plan.killers, kill) as variable:
            yield (variable,)

    def _press(self, key: str) -> None:
        assert self.supervisor is not None
        servers = [p.name for p in self.plan.servers]
        if key in "123456789" and int(key) <= len(servers):
            name = servers[int(key) - 1]
            if self.supervisor.kill(name, f"key {key}") != "killed":
                self.log.write(UP, f"key {key}: {name} is down already")
        elif key in "?hk\n":
            self.log.write(UP, keys_line(servers))

    async def _check(self, guard: Guard) -> None:
        if self.plan.broker is None:
            await check_broker(self.plan.broker_url)
        await check_app(self.plan, self.machine.python, guard)

    async def _start(self, supervisor: Supervisor, environment: Environment) -> None:
        """Start broker, servers and balancer, each when the ones before answer; servers with more ``environment``."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                for role in ("broker", "server", "balancer"):
                    processes = [p for p in self.plan.processes if p.role == role]
                    for process in processes:
                        more = environment if process.role == "server" else ()
                        await supervisor.start(replace(process, environment=process.environment + more))
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

    def _show_banner(self, seconds: float, *, keys: bool) -> None:
        url = f"http://{self.plan.public.reachable}/"
        self.log.write(UP, *banner(self.plan, url, seconds, self.log.strong, keys=keys))
        if self.browse:
            webbrowser.open(url)


def banner(
    plan: Plan,
    url: str,
    seconds: float,
    strong: Callable[[str], str] = str,
    platform: str = sys.platform,
    *,
    keys: bool = False,
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
    if keys:
        lines.append(f"  kill      {keys_line([p.name for p in plan.servers])}")
    return [*lines, "  stop      Ctrl-C", ""]


def keys_line(servers: Sequence[str]) -> str:
    """Return which keys kill which server."""
    return "keys " + ", ".join(f"{key} for {name}" for key, name in zip("123456789", servers, strict=False))


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
