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
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["AT_ONCE", "Crowd", "takes_one_at_a_time"]

log: Final = logging.getLogger("shoal.engine")

# 4,000 clients, 64 opening at one time: 7.9 thousand a second with one descriptor, 10.6 with 4, 12.2 with 8, 13.5 with
# 16, 13.1 with 24, 12.8 with 32. But a client that comes alone wakes them all, and costs 280 µs in place of 225.
AT_ONCE: Final = 16
TURNS_OF_A_CROWD: Final = 4
"""In so many turns, one after the other, connections came: a crowd. Those of a client that comes alone lie apart."""
FEW: Final = 2
TURNS_OF_FEW: Final = 64
"""So many turns brought no more than so few connections: the crowd is gone."""


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

    __slots__ = ("_backlog", "_came", "_connect", "_counts", "_loop", "_more", "_sockets", "_task", "_tls", "_turns")

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
        self._counts = False
        self._turns = 0
        """Turns, one after the other, that speak against the number of descriptors that there is."""
        self._more: list[asyncio.AbstractServer] = []
        self._task: asyncio.Task[None] | None = None

    def count(self) -> None:
        """A connection has come."""
        self._came += 1
        if not self._counts:
            self._counts = True
            self._loop.call_soon(self._turn)

    def close(self) -> None:
        """Watch nothing any more."""
        self._sockets = ()
        self._leave()

    def _turn(self) -> None:
        """Once in each turn, from one that brought connections to one that brings none."""
        came, self._came = self._came, 0
        if not came:
            self._counts = False
            if not self._more:
                self._turns = 0
            return
        self._loop.call_soon(self._turn)
        if not self._more:
            self._turns += 1
            if self._turns == TURNS_OF_A_CROWD:
                self._turns = 0
                self._task = self._loop.create_task(self._watch_more())
        elif came > FEW:
            self._turns = 0
        else:
            self._turns += 1
            if self._turns == TURNS_OF_FEW:
                self._leave()

    async def _watch_more(self) -> None:
        listen = self._loop.create_server
        try:
            for listener in self._sockets:
                for _ in range(AT_ONCE - 1):
                    more = listener.dup()
                    self._more.append(await listen(self._connect, sock=more, ssl=self._tls, backlog=self._backlog))
        except OSError as error:  # as a rule, no descriptor is left; then those that there are must do
            log.debug("connections are taken one at a time: %s", error)

    def _leave(self) -> None:
        self._turns = 0
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for server in self._more:
            server.close()
        self._more = []
