"""What `shoal serve` tells a process that it starts: one value, which goes there as JSON in an environment variable.

The environment is private to the user, unlike a command line, and a key's password may be among it. The other way goes
a socket: the process says that it serves, or what is wrong, and sees the end of who has started it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

__all__ = ["FAILED", "JOB", "READY", "Job"]

JOB: Final = "SHOAL_JOB"
"""Name of the environment variable."""
READY: Final = b"."
"""What a process sends once it accepts connections."""
FAILED: Final = b"!"
"""What it sends before the reason, if it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One process's work."""

    app: str
    """``module:attribute``."""
    factory: bool = False
    """Whether ``app`` is to be called for the application."""
    app_dir: str = ""
    """Where it is looked for; empty is the working directory."""
    name: str = ""
    """Of the node."""
    host: str = "127.0.0.1"
    port: int = 1111
    uds: str | None = None
    shared_port: int | None = None
    log_level: str = "info"
    tls: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of ``run()``: ``ssl_certfile`` and so on."""

    control: int = -1
    """Descriptor of the socket to who has started this process; -1 if nobody has."""
    fd: int = -1
    """Descriptor of a socket that listens already; -1: ``port`` is opened, and shared with other processes."""
    is_probe: bool = False
    """Only load the application and tell what it is."""
    own_host: str = ""
    """Where to listen besides, alone, for what other nodes pass on; empty for a process that needs no such place."""
    own_port: int = 0
    """0 is any that is free."""
    advertise: str = ""
    """The host at which other nodes reach that place."""
    is_clustered: bool = False
    """Whether all servers of the application must have a broker."""

    @property
    def place(self) -> str:
        """Where it serves, for people."""
        return f"port: {self.port}" if self.uds is None else f"socket: {self.uds}"

    def told(self, **changes: Any) -> tuple[str, str]:
        """The environment variable for a process that does this job, with changes."""
        return JOB, msgspec.json.encode(replace(self, **changes)).decode()

    @classmethod
    def read(cls, text: str) -> Job:
        """What :meth:`told` has written."""
        return msgspec.json.decode(text, type=cls)

    @property
    def argv(self) -> tuple[str, ...]:
        """The command of a process that does it. The words behind the module are for people who look at processes.

        ``-P``: a file of the application that is called as one of Python's own modules is not taken for that one.
        """
        return (sys.executable, "-P", "-m", "shoal.cli.worker", self.app)
