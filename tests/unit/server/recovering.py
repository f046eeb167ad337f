"""A server that lets clients come back, and what tests of that ask of it."""

from __future__ import annotations

from typing import Any

from shoal import Server, Socket
from shoal.testing import TestClient, TestServer


def recovering(**options: Any) -> Server:
    """A server with a room, data and a log of who comes and goes."""
    io = Server(connection_state_recovery=True, ping_interval=25.0, ping_timeout=20.0, **options)
    io.on("echo")(lambda socket, *args: args)

    @io.on("sit")
    async def sit(socket: Socket, room: str) -> None:
        await socket.join(room)
        socket.data["seat"] = room

    return io


def events(client: TestClient) -> list[Any]:
    """Events with their arguments, without the offsets; in the order in which they came."""
    taken, client.received = client.received, []
    return [tuple(event)[:-1] for event in taken]


async def back(server: TestServer, client: TestClient, namespace: str = "/", **auth: Any) -> TestClient:
    return await server.connect(namespace, {**auth, **client.recovery})
