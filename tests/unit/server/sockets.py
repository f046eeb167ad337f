"""A client with its socket, and a handler that refuses."""

from __future__ import annotations

from typing import Any

from shoal import Server, Socket
from shoal.testing import TestClient, TestServer


async def pair(io: Server, server: TestServer) -> tuple[TestClient, Socket]:
    client = await server.connect()
    return client, io.sockets[client.id]


def refuse(event: str, *args: Any) -> None:
    raise PermissionError(f"not {event}")
