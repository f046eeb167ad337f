"""Real connections within one process, for tests of what a socket does that has no more room."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

HOLDS = 4_096
"""Bytes that are asked for as each side's buffer; the system gives what it sees fit."""


async def connect_narrow(make: Callable[[], P]) -> tuple[P, socket.socket]:
    """A connection over loopback that holds little: the protocol that serves it, and the client's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HOLDS)
        client.connect(listener.getsockname())
        accepted = listener.accept()[0]
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HOLDS)
    client.setblocking(False)
    _, protocol = await asyncio.get_running_loop().connect_accepted_socket(make, accepted)
    return protocol, client
