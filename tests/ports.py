"""Ports for servers that are started a moment later.

The system gives a port that is asked for with 0 from where it also takes those of outgoing connections. Beside other
tests, which open thousands, it may have given it to one of them before the server listens. So these come from below,
and each once, to whichever process asks.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

__all__ = ["free_port", "free_ports"]

HOST = "127.0.0.1"
FIRST, END = 20_000, 32_000
"""Below what Linux gives to connections (``ip_local_port_range``), and above what browsers refuse to speak to."""
COUNTER = Path(tempfile.gettempdir()) / f"shoal-test-ports-{os.getuid()}"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, and that no other test is given soon."""
    with COUNTER.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        port, found = int(file.read() or FIRST), []
        for _ in range(END - FIRST):
            port = port + 1 if port + 1 < END else FIRST
            if _is_free(port):
                found.append(port)
            if len(found) == count:
                break
        file.truncate(0)
        file.write(str(port))
    assert len(found) == count, "every port is taken"
    return found


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
