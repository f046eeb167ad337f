"""How many connections are taken in one turn of the loop: more than one, while a crowd comes.

uvloop's libuv takes one of each descriptor that listens (libuv's pull request 3696). A server that a crowd keeps busy
then has turns of one new connection, one handshake and one packet: nothing that could be written together, and code and
memory that have left the processor's caches when the next client needs them. So while each turn brings connections, the
socket is watched under several descriptors, and gives one for each.

asyncio's own loop takes as many as there are, and needs none of this.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["AT_ONCE", "Crowd", "takes_one_at_a_time"]

log: Final = logging.getLogger("shoal.engine")

# 4,000 clients, 64 opening at one time: 7.9 thousand a second with one descriptor, 10.6 with 4, 12.2 with 8, 13.5 with
# 16, 13.1 with 24, 12.8 with 32. But a client that comes alone wakes them all, and costs 280 µs in place of 225.
AT_ONCE: Final = 16
SHARE: Final = 64
"""So much of the descriptors that the process may open, 1/64, is for watching a socket: clients need the others."""
TURNS_OF_A_CROWD: Final = 4
"""In so many turns, one after the other, connections came: a crowd. Those of a client that comes alone lie apart."""
MOST_TURNS_OF_A_CROWD: Final = 1024
"""After each time that it did not pay, twice as many turns are needed as before, up to this."""
WINDOW: Final = 64
"""After so many turns that brought connections it is seen whether more descriptors pay."""
PAYS: Final = 2
"""Connections in a turn, on average, from which they do. With 3 clients opening at one time 1.4 come in a turn, and
each costs 205 µs in place of 175; with 4 it is 1.9, and no difference; with 6 it is 2.6, and 150 µs in place of 165."""

QUIET: Final = 1.0
"""Seconds without a connection after which the descriptors are given back."""


def takes_one_at_a_time(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop takes one connection of a listening descriptor in a turn."""
    return type(loop).__module__.partition(".")[0] == "uvloop"


class Crowd:
    """Notices a crowd, and has the running loop watch the listening sockets under more descriptors until it is gone.

    Args:
        sockets: They listen, and the loop watches them.
        connect: Makes the protocol of a connection.
        tls: What to encrypt connections with.
        backlog: Connections that may wait at a socket.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connect: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        backlog: int,
    ) -> None:
        self._sockets, self._connect, self._tls, self._backlog = sockets, connect, tls, backlog
        self._loop = asyncio.get_running_loop()
        self._came = 0
        """Connections of this turn."""
        self._next: asyncio.Handle | None = None
        """The call at the end of this turn, from one that brought connections to one that brings none."""
        self._turns = 0
        """Turns that brought connections: one after the other, or since the window began."""
        self._enough = TURNS_OF_A_CROWD
        self._taken = 0
        """Connections of this window."""
        self._came_lately = False
        """Whether a connection has come since :meth:`_look` looked."""
        self._timer: asyncio.TimerHandle | None = None
        self._more: list[asyncio.AbstractServer] = []
        self._task: asyncio.Task[None] | None = None
        """While there is a crowd: what watches the sockets under more descriptors."""

    def count(self) -> None:
        """A connection has come."""
        self._came += 1
        if self._next is None:
            self._next = self._loop.call_soon(self._turn)

    def close(self) -> None:
        """Watch nothing any more. Nobody listens at the sockets now, so no connection is counted after this."""
        if self._next is not None:
            self._next.cancel()
        self._leave()

    def _turn(self) -> None:
        came, self._came = self._came, 0
        if not came:
            self._next = None
            if self._task is None:
                self._turns = 0
            return
        self._next = self._loop.call_soon(self._turn)
        self._turns += 1
        if self._task is None:
            if self._turns >= self._enough:
                self._turns = self._taken = 0
                self._task = self._loop.create_task(self._watch_more())
                self._timer = self._loop.call_later(QUIET, self._look)
            return
        self._came_lately = True
        self._taken += came
        if self._turns == WINDOW:
            if self._taken >= PAYS * WINDOW:
                self._enough = TURNS_OF_A_CROWD
            else:
                self._enough = min(2 * self._enough, MOST_TURNS_OF_A_CROWD)
                self._leave()
            self._turns = self._taken = 0

    def _look(self) -> None:
        """Every now and then while there is a crowd: it may have gone without a last turn of few connections."""
        if self._came_lately:
            self._came_lately = False
            self._timer = self._loop.call_later(QUIET, self._look)
        else:
            self._turns = 0
            self._leave()

    async def _watch_more(self) -> None:
        copies: list[socket.socket] = []
        try:
            for listener in self._sockets:
                copies.extend(listener.dup() for _ in range(_spare_descriptors()))
            for copy in copies:
                self._more.append(
                    await self._loop.create_server(self._connect, sock=copy, ssl=self._tls, backlog=self._backlog)
                )
        except OSError as error:  # as a rule, no descriptor is left; then clients need those that there are
            log.debug("connections are taken one at a time: %s", error)
            self._stop_watching()
        finally:
            for copy in copies[len(self._more) :]:
                copy.close()

    def _leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_watching()

    def _stop_watching(self) -> None:
        for server in self._more:
            server.close()
        self._more = []


def _spare_descriptors() -> int:
    limit = os.sysconf("SC_OPEN_MAX")  # -1 where there is none
    return AT_ONCE - 1 if limit < 0 else min(AT_ONCE - 1, limit // SHARE)
