"""The test server runs any application in memory, from startup to shutdown, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal import ConnectionRefused, Engine, NotConnected, Server
from shoal.testing import TestServer, async_test, run

io = Server()


@io.on("add")
async def add(socket: Any, one: int, other: int) -> int:
    await asyncio.sleep(0.1)
    return one + other


@pytest.mark.parametrize("attempt", range(3))
def test_a_server_of_a_module_serves_one_test_after_another(attempt: int) -> None:
    """The same Server can be started and closed again, each time on a loop of its own."""

    async def main() -> None:
        async with TestServer(io) as server:
            client = await server.connect()
            assert await client.call("add", 1, attempt) == 1 + attempt
            assert len(io.sockets) == 1
        assert io.sockets == {}

    run(main())


def test_it_works_on_a_real_clock() -> None:
    """Without the test clock everything but the clock is there: for suites that bring their own loop."""

    async def main() -> None:
        async with TestServer(io) as server:
            client = await server.connect()
            assert await client.call("add", 1, 2) == 3
            await client.emit("unknown")
            with pytest.raises(RuntimeError, match="time is real"):
                _ = server.clock

    asyncio.run(main())


@async_test
async def test_clients_are_disconnected_at_the_end() -> None:
    """Leaving the block runs the disconnect handlers, then the shutdown."""
    events: list[str] = []
    server = Server()
    server.on("disconnect")(lambda socket, reason: events.append(reason))
    async with TestServer(server) as running:
        client = await running.connect()
    assert events == ["transport close"]
    assert not client.connected


@async_test
async def test_lifespan_of_the_application_beside_runs() -> None:
    """Startup before the first client, shutdown after the last; a failed startup is raised."""
    steps: list[str] = []

    async def other(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            steps.append(step)
            await send({"type": f"lifespan.{step}.complete"})

    async with TestServer(Server().asgi(other)) as server:
        steps.append("client")
        await server.connect()
    assert steps == ["startup", "client", "shutdown"]

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="no database"):
        async with TestServer(Server().asgi(broken)):
            pass


@async_test
async def test_any_asgi_application_around_a_server_will_do() -> None:
    """An outer application without lifespan, with a path of its own."""
    inner = Server(path="/live/")

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] != "lifespan"
        await inner(scope, receive, send)

    async with TestServer(outer, path="/live/") as server:
        assert (await server.connect()).connected
        assert (await server.request("GET", "/healthz")).json == {"status": "ok"}
    await inner.close()  # no lifespan reaches it


@async_test
async def test_an_engine_alone_speaks_packets() -> None:
    """For an Engine there are raw packets; its echo comes back as text and as binary."""
    engine = Engine()

    @engine.on("message")
    def echo(session: Any, data: Any) -> None:
        session.send(data)

    async with TestServer(engine) as server:
        connection = await server.open()
        connection.send("4hello")
        connection.send(b"\x00\x01")
        assert [await connection.receive(), await connection.receive()] == ["4hello", b"\x00\x01"]


@async_test
async def test_an_exception_of_the_application_reaches_the_test() -> None:
    """What the application raises while it carries a connection is not lost."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            raise ZeroDivisionError("in the application")
        raise RuntimeError("no lifespan")

    with pytest.raises(ZeroDivisionError, match="in the application"):
        async with TestServer(broken) as server:
            await server.open()


@async_test
async def test_a_connection_closed_instead_of_an_answer_is_not_connected() -> None:
    """A middleware that hangs up: neither accepted nor refused."""
    server = Server()
    server.use(lambda socket: socket.disconnect(close=True))
    async with TestServer(server) as running:
        with pytest.raises(NotConnected):
            await running.connect()


@async_test
async def test_a_server_that_does_not_answer_times_out() -> None:
    """connect() waits as long as its timeout says, in the loop's time."""
    server = Server()

    @server.use
    async def slow(socket: Any) -> None:
        await asyncio.sleep(10)

    async with TestServer(server) as running:
        with pytest.raises(TimeoutError, match="no answer from / within 3 s"):
            await running.connect(timeout=3)
        assert (await running.connect(timeout=11)).connected


@async_test
async def test_requests_are_answered_in_memory() -> None:
    """Status, headers and body of an HTTP answer."""
    async with TestServer(Server()) as server:
        response = await server.request("GET", "/socket.io/", query={"EIO": "4", "transport": "polling"})
        assert response.status == 200
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert response.text.startswith("0{")
        response = await server.request("GET", "/nothing", headers={"Accept": "*/*"})
        assert (response.status, response.body) == (404, b"not found")


@async_test
async def test_an_application_that_refuses_with_a_plain_close() -> None:
    """A WebSocket outside the endpoint is refused as a server program would: 403."""
    async with TestServer(Server(), path="/elsewhere/") as server:
        with pytest.raises(ConnectionRefused) as caught:
            await server.open()
        assert caught.value.data == {"status": 403}
