"""What a socket says of itself, and the ways to disconnect it."""

from __future__ import annotations

import time

from tests.unit.server.sockets import pair

from shoal import Server
from shoal.testing import TestServer, async_test


class TestItself:
    @async_test
    async def test_its_data_is_a_dict_of_its_own_until_something_else_is_put_there(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            _, one = await pair(io, server)
            _, two = await pair(io, server)
            one.data["a"] = 1
            assert (one.data, two.data) == ({"a": 1}, {})
            one.data = [1]
            assert one.data == [1]

    @async_test
    async def test_its_handshake_says_how_the_client_came_in(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client = await server.connect(headers={"X-A": "1"}, query={"q": "2"}, address="9.9.9.9")
            shake = io.sockets[client.id].handshake
            assert (shake.headers["x-a"], shake.query["q"], shake.address, shake.secure) == ("1", "2", "9.9.9.9", False)
            assert shake.url.startswith("/socket.io/?")
            assert shake.time.endswith("Z")
            assert abs(shake.issued - time.time()) < 60

    @async_test
    async def test_its_connection_tells_transport_and_what_waits(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            closed: list[str] = []
            socket.conn.on("close", closed.append)
            assert (socket.conn.transport, socket.conn.buffered) == ("websocket", 0)
            client.connection.drop()
            await server.settle()
            assert closed == ["transport close"]
            assert repr(socket) == f"<socket {socket.id} in />"

    @async_test
    async def test_sending_it_away_leaves_the_connection_for_other_namespaces(self) -> None:
        io = Server()
        io.of("/other")
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            other = await client.enter("/other")
            socket.emit("last")
            await socket.disconnect()
            socket.emit("never")
            assert await client.receive() == ("last",)
            assert await client.disconnected() == "io server disconnect"
            assert client.received == []
            assert other.connected

    @async_test
    async def test_closing_it_ends_the_connection_with_every_namespace(self) -> None:
        """What was emitted before still arrives, in every namespace."""
        io = Server()
        reasons: list[tuple[str, str]] = []
        for name in ("/", "/other"):
            io.of(name).on("disconnect")(lambda socket, reason: reasons.append((socket.namespace.name, reason)))
        async with TestServer(io) as server:
            client, socket = await pair(io, server)
            other = await client.enter("/other")
            socket.emit("last")
            io.of("/other").emit("last too")
            await socket.disconnect(close=True)
            assert await client.receive() == ("last",)
            assert await other.receive() == ("last too",)
            assert await other.disconnected() in ("io server disconnect", "transport close")
            await server.settle()
            assert not client.connection.open
            assert dict(reasons).keys() == {"/", "/other"}
            assert len(reasons) == 2
