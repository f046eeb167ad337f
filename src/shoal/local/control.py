"""The starter's end of the socket to a process that it has started: hears that it serves, or what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from .job import FAILED, READY

__all__ = ["Control"]

CHUNK = 65_536


class Control:
    """The socket pair to one process, and to those that replace it. Belongs to the loop that runs."""

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self.ready: asyncio.Event = asyncio.Event()
        """Set when the process accepts connections."""
        self.on_failure: Callable[[str], None] | None = None
        """Called with the reason when a process could not start; without it :meth:`take_failure` has it."""
        self._said = bytearray()
        asyncio.get_running_loop().add_reader(self._here.fileno(), self._read)

    @property
    def descriptor(self) -> int:
        """What the process is to inherit. It sees the end of this one here."""
        return self._there.fileno()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while data := self._here.recv(CHUNK):
                self._said += data
        if self._said == READY:
            self._said.clear()
            self.ready.set()
        elif self.on_failure is not None and self._said:
            self.on_failure(self.take_failure())

    def take(self) -> bytes:
        """What the process has said since; empty if nothing."""
        if self.on_failure is None:
            self._read()
        said = bytes(self._said)
        self._said.clear()
        return said

    def take_failure(self) -> str:
        """The reason why the process has ended, if it has told one."""
        said = self.take()
        return said[len(FAILED) :].decode("utf-8", "replace") if said.startswith(FAILED) else ""

    def close(self) -> None:
        """Let the process see the end."""
        asyncio.get_running_loop().remove_reader(self._here.fileno())
        self._here.close()
        self._there.close()
