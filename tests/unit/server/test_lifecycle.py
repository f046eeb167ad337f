"""A server's beginning and end: what it is called, what it refuses, and how it leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.internals import clients

from shoal import ConfigurationError, Server, Socket
from shoal.testing import TestServer, async_test


def test_a_node_has_the_name_that_it_is_given() -> None:
    """Or one that tells host and process."""
    assert Server(node="1111").node == "1111"
    assert Server().node
    assert repr(Server(node="n")) == "<server n, 0 clients>"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pign_interval": 1}, "unknown option 'pign_interval'"),
        ({"ping_interval": 0}, "ping_interval"),
        ({"broker": "carrier-pigeon://x"}, "unknown scheme"),
        ({"parser": "xml"}, "parser"),
    ],
)
def test_a_wrong_option_is_refused_when_the_server_is_made(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Server(**options)


@async_test
async def test_closing_tells_clients_and_handlers() -> None:
    """What was emitted before arrives; the reason is Node's; disconnect handlers run."""
    io = Server()
    reasons: list[str] = []

    @io.on("disconnect")
    async def gone(socket: Socket, reason: str) -> None:
        await asyncio.sleep(0.1)
        reasons.append(reason)

    async with TestServer(io) as server:
        client = await server.connect()
        io.emit("last")
        await io.close()
        assert await client.receive() == ("last",)
        assert await client.disconnected() == "transport close"
        assert reasons == ["server shutting down"]
        assert (clients(io), io.sockets) == (set(), {})


@pytest.mark.parametrize("kind", ["a coroutine function", "a plain function that returns a coroutine", "connect"])
def test_closing_does_not_wait_for_a_handler_without_end(kind: str) -> None:
    """It is cancelled after a moment; its client's disconnect handler runs all the same."""

    @async_test
    async def check() -> None:
        io = Server()
        log: list[str] = []

        async def stuck(socket: Socket) -> None:
            try:
                await asyncio.sleep(10_000)
            finally:
                log.append("cancelled")

        io.on("connect" if kind == "connect" else "stuck")(
            stuck if "plain" not in kind else lambda socket: stuck(socket)
        )
        io.on("disconnect")(lambda socket, reason: log.append(reason))
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await server.settle()
            if kind != "connect":
                connection.send('42["stuck"]')
            await server.settle()
            began = server.clock.now
            await io.close()
            assert server.clock.now - began < 3
            assert log == ["cancelled", "server shutting down"]

    check()


@async_test
async def test_closing_cancels_concurrent_handlers_too() -> None:
    io = Server()
    log: list[str] = []

    @io.on("stuck", concurrent=True)
    async def stuck(socket: Socket) -> None:
        try:
            await asyncio.sleep(10_000)
        finally:
            log.append("cancelled")

    async with TestServer(io) as server:
        client = await server.connect()
        client.send("stuck")
        await server.settle()
        await io.close()
        assert log == ["cancelled"]


@pytest.mark.parametrize("concurrent", [False, True])
def test_a_handler_can_close_the_server(concurrent: bool) -> None:
    """It is cancelled on the way as any other is, and the server ends all the same; then it can be used again."""

    @async_test
    async def check() -> None:
        io = Server(handler_threads=1)
        log: list[str] = []

        @io.on("end", concurrent=concurrent)
        async def end(socket: Socket) -> None:
            try:
                await io.close()
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

        @io.on("disconnect")
        async def gone(socket: Socket, reason: str) -> None:
            log.append(reason)

        async with TestServer(io) as server:
            for _ in range(2):
                await io.start()
                client = await server.connect()
                client.send("end")
                assert await client.disconnected() == "transport close"
                await server.clock.advance(10)
                assert sorted(log) == ["cancelled", "server shutting down"]
                assert io._started is None
                log.clear()

    check()


@async_test
async def test_closing_twice_and_before_the_start_is_no_error() -> None:
    io = Server()
    await io.close()
    await io.start()
    await io.start()
    await io.close()
    await io.close()


@async_test
async def test_a_server_that_was_closed_serves_again() -> None:
    io = Server()
    io.on("x")(lambda socket: "x")
    for _ in range(3):
        async with TestServer(io) as server:
            assert await (await server.connect()).call("x") == "x"


@async_test
async def test_it_counts() -> None:
    """Connections, sessions, broadcasts, deliveries: plain numbers that operators read."""
    io = Server()
    async with TestServer(io) as server:
        crowd = [await server.connect() for _ in range(3)]
        deliveries = io.stats.deliveries
        io.emit("x")
        await server.settle()
        assert io.stats.connections == 3
        assert io.engine.clients_count == len(clients(io)) == 3
        assert io.stats.deliveries - deliveries == 3
        await crowd[0].disconnect()
        await server.settle()
        assert io.engine.clients_count == 2


@async_test
async def test_the_msgpack_parser_carries_everything() -> None:
    """Refusals, acks, binary and namespaces; text is none of it."""
    io = Server(parser="msgpack")
    io.of("/other").on("x")(lambda socket, *args: args)
    async with TestServer(io) as server:
        client = await server.connect("/other", auth={"a": b"binary"})
        socket = io.of("/other").sockets[client.id]
        assert socket.handshake.auth == {"a": b"binary"}
        assert await client.call("x", b"\x00", {"k": [b"\x01", None]}) == (b"\x00", {"k": [b"\x01", None]})
        io.of("/other").emit("many", b"x")
        assert await client.receive() == ("many", b"x")
        client.connection.send('42/other,["x"]')
        await client.connection.closed()
        assert io.stats.parse_errors == 1
