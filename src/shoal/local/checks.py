"""Looking at the machine: what is installed, which ports are free, whether an application loads, who answers.

Everything here asks and nothing is left running. What the answers mean is decided in ``plan`` and ``cluster``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import os
import pwd
import resource
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ..errors import ConfigurationError
from .address import Address
from .broker import broker_address, find_broker, ping
from .guard import Guard
from .plan import Machine, Plan, serve_argv

__all__ = [
    "check_app",
    "check_broker",
    "check_ports",
    "http_status",
    "loading",
    "look_around",
    "raise_file_limit",
]

APP_TIMEOUT = 60.0
"""Seconds that loading an application may take."""
BROKER_TIMEOUT = 3.0
"""Seconds that a broker that should be running already may take to answer."""
PROBE_TIMEOUT = 2.0
MOST_FILES = 65_536


def look_around(directory: str) -> Machine:
    """Describe this machine for a plan whose private directory is ``directory``."""
    found = {"broker": find_broker(), "nginx": _which("nginx"), "haproxy": _which("haproxy")}
    return Machine(
        directory=directory,
        free_port=_free_port(),
        programs={name: path for name, path in found.items() if path is not None},
        user=_user() if os.geteuid() == 0 else None,
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _which(name: str) -> str | None:
    # Debian keeps both in /usr/sbin, which is on root's PATH only: look in the sbin beside every bin.
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    beside = [folder[:-3] + "sbin" for folder in folders if folder.endswith("/bin")]
    return shutil.which(name, path=os.pathsep.join(folders + beside))


def _user() -> str:
    return f"{pwd.getpwuid(os.geteuid()).pw_name} {grp.getgrgid(os.getegid()).gr_name}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the system allows, up to 65,536.

    A WebSocket is a file, and the usual soft limit of 1,024 is a leftover from ``select``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_ports(plan: Plan) -> None:
    """Bind every address of ``plan`` once and let it go.

    Raises:
        ConfigurationError: One cannot be bound; the text names it and who wanted it.
    """
    for name, address in plan.listening:
        _check_port(name, address)


def _check_port(name: str, address: Address) -> None:
    try:
        family, kind, _, _, target = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            # As servers do it: a port in TIME_WAIT is free, one that somebody listens on is not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except socket.gaierror as error:
        raise ConfigurationError(f"cannot listen on {address}: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {address.port} is in use: {_wanted_by(name)} needs it. Stop what listens there, or choose "
                f"another with {_option_for(name)}"
            ) from error
        raise ConfigurationError(f"cannot listen on {address}: {os.strerror(error.errno or 0)}") from error


def _wanted_by(name: str) -> str:
    return {"broker": "the broker", "kernel": "the balancer"}.get(
        name, name if not name.isdecimal() else f"server {name}"
    )


def _option_for(name: str) -> str:
    return "--broker-port" if name == "broker" else "--ports" if name.isdecimal() else "--port"


@contextlib.asynccontextmanager
async def loading(
    app: str, argv: Sequence[str], guard: Guard | None, **options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that loads an application, for as long as that may take. Afterwards it is gone, with what it started.

    Args:
        app: The application, as in ``app:io``.
        argv: The process's command line.
        guard: Watches the process.
        options: Of :func:`asyncio.create_subprocess_exec`.

    Raises:
        ConfigurationError: It takes too long.
    """
    quiet = {"stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.DEVNULL, "start_new_session": True}
    process = await asyncio.create_subprocess_exec(*argv, **quiet | options)
    try:
        if guard is not None:
            guard.watch(process.pid)
        async with asyncio.timeout(APP_TIMEOUT):
            yield process
    except TimeoutError as error:
        raise ConfigurationError(f"{app} did not load within {APP_TIMEOUT:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
        await process.wait()
        if guard is not None:
            guard.forget(process.pid)


async def check_app(plan: Plan, python: str, guard: Guard | None = None) -> None:
    """Load the application once, in a process of its own, which ``guard`` watches.

    Raises:
        ConfigurationError: It cannot be loaded or is no ASGI application; the text says why.
    """
    argv, environment = serve_argv(python, plan.app, "--check"), os.environ | dict(plan.servers[0].environment)
    async with loading(plan.app, argv, guard, stderr=asyncio.subprocess.PIPE, env=environment) as process:
        _, stderr = await process.communicate()
    if process.returncode:
        lines = stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {process.returncode}"]
        raise ConfigurationError(lines[-1].removeprefix("shoal: "))


async def check_broker(url: str) -> None:
    """Return if a broker that should be running already answers, or if the URL does not say where it would.

    Raises:
        BrokerError: Nobody answers there.
    """
    address = broker_address(url)
    if address is not None:
        await ping(address, timeout=BROKER_TIMEOUT, plain=url.startswith(("redis://", "redis+")))


async def http_status(address: Address, path: str) -> int | None:
    """Return the status code of a GET, or ``None`` where nobody answers it as HTTP within two seconds."""
    target = address.reachable
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode())
                words = (await reader.readline()).split(None, 2)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else None
