"""The test client does what the official client does, against a real server in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.internals import clients

from shoal import AckTimeout, ConnectionRefused, NotConnected, Server
from shoal.testing import TestServer, async_test


def echo_server(**options: Any) -> Server:
    io = Server(**options)

    @io.on("echo")
    def echo(socket: Any, *args: Any) -> Any:
        socket.emit("echoed", *args)
        return args

    @io.on("silent")
    async def silent(socket: Any) -> None:
        await asyncio.sleep(1_000)

    return io


@pytest.mark.parametrize("parser", ["json", "msgpack"])
def test_events_and_acknowledgements_go_both_ways(parser: str) -> None:
    """Text, binary, no argument and several arrive as they were sent, on both wires."""

    @async_test
    async def check() -> None:
        async with TestServer(echo_server(parser=parser)) as server:
            client = await server.connect()
            for args in [(), (1,), ("a", None, [1, {"b": b"\x00\xff"}]), (b"x", b"y")]:
                answer = await client.call("echo", *args)
                assert answer == (None if not args else args[0] if len(args) == 1 else args)
                assert await client.receive() == ("echoed", *args)

    check()


@async_test
async def test_emit_returns_when_the_server_has_done_its_part() -> None:
    """What the emit brought about is in `received` when it returns: no waiting, no polling."""
    async with TestServer(echo_server()) as server:
        client = await server.connect()
        await client.emit("echo", "x")
        assert client.received == [("echoed", "x")]


@async_test
async def test_receive_takes_by_name_and_leaves_the_rest() -> None:
    """Events are taken in order, or the first of a name."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        for event in ("a", "b", "a"):
            io.emit(event, event * 2)
        assert await client.receive("b") == ("b", "bb")
        event, *args = await client.receive()
        assert (event, args) == ("a", ["aa"])
        assert (await client.receive()).args == ("aa",)
        assert client.received == []


@async_test
async def test_receive_says_what_came_instead() -> None:
    """The error of a test that waits in vain lists what there was."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        io.emit("other", 1)
        with pytest.raises(TimeoutError, match=r"'news' did not come within 3 s.*other"):
            await client.receive("news", timeout=3)


@async_test
async def test_a_refused_client_gets_message_and_data() -> None:
    """What middleware raises is raised at the client."""
    io = Server()

    @io.use
    def refuse(socket: Any) -> None:
        raise ConnectionRefused("not today", data={"retry": 5})

    async with TestServer(io) as server:
        with pytest.raises(ConnectionRefused, match="not today") as caught:
            await server.connect()
        assert caught.value.data == {"retry": 5}
        with pytest.raises(ConnectionRefused, match="Invalid namespace"):
            await server.connect("/nowhere")
        await server.settle()
        assert clients(server.app) == set()


@async_test
async def test_a_refused_handshake_has_status_and_code() -> None:
    """A refusal before any namespace, by the engine or the application, is ConnectionRefused too."""
    io = Server(transports=("polling",))
    async with TestServer(io) as server:
        with pytest.raises(ConnectionRefused, match="Transport unknown") as caught:
            await server.connect()
        assert caught.value.data == {"status": 400, "code": 0}
    io = Server()
    io.allow_request(lambda request: None if request.headers.get("x-key") == "1" else "no key")
    async with TestServer(io) as server:
        with pytest.raises(ConnectionRefused, match="no key") as caught:
            await server.connect()
        assert caught.value.data == {"status": 403, "code": 4}
        assert (await server.connect(headers={"X-Key": "1"})).connected


@async_test
async def test_the_handshake_is_what_the_test_says() -> None:
    """Headers, query, auth, address and scheme reach the server."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect(
            auth={"token": "t"}, headers={"X-A": "b"}, query={"v": "ü&="}, address="10.1.2.3", secure=True
        )
        shake = io.sockets[client.id].handshake
        assert shake.auth == {"token": "t"}
        assert shake.headers["x-a"] == "b"
        assert shake.query["v"] == "ü&="
        assert (shake.address, shake.secure) == ("10.1.2.3", True)


@async_test
async def test_a_handler_answers_the_servers_call() -> None:
    """Plain and async handlers acknowledge with what they return; None, one value, several."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        socket = io.sockets[client.id]
        client.on("plain", lambda x: x + 1)

        @client.on("slow")
        async def slow() -> tuple[int, bytes]:
            await asyncio.sleep(2)
            return 1, b"2"

        client.on("nothing", lambda: None)
        assert await socket.call("plain", 1) == 2
        assert await socket.call("slow", timeout=5) == (1, b"2")
        assert await socket.call("nothing") is None
        assert client.received == []


@async_test
async def test_an_event_without_a_handler_can_be_acknowledged_by_hand() -> None:
    """The received event holds the way back, and only if the server asked for it."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        socket = io.sockets[client.id]
        call = asyncio.create_task(socket.call("question", 1))
        event = await client.receive("question")
        assert event.ack is not None
        event.ack("yes", 2)
        assert await call == ("yes", 2)
        socket.emit("plain")
        assert (await client.receive()).ack is None


@async_test
async def test_a_call_without_an_answer_times_out() -> None:
    """AckTimeout names the event; the time is the loop's."""
    async with TestServer(echo_server()) as server:
        client = await server.connect()
        with pytest.raises(AckTimeout) as caught:
            await client.call("silent", timeout=7)
        assert (caught.value.event, caught.value.timeout) == ("silent", 7)


@async_test
async def test_a_call_ends_when_the_client_is_sent_away() -> None:
    """NotConnected, rather than a wait for nothing."""
    io = echo_server()
    async with TestServer(io) as server:
        client = await server.connect()
        call = asyncio.create_task(client.call("silent", timeout=500))
        await server.settle()
        await io.sockets[client.id].disconnect()
        with pytest.raises(NotConnected):
            await call


@async_test
async def test_reasons_are_those_of_the_official_client() -> None:
    """The client and the server each get the reason that Node and the browser give."""
    io = Server()
    gone: list[str] = []
    io.on("disconnect")(lambda socket, reason: gone.append(reason))
    async with TestServer(io) as server:
        away, left, lost, closed = [await server.connect() for _ in range(4)]
        await io.sockets[away.id].disconnect()
        assert await away.disconnected() == "io server disconnect"
        await left.disconnect()
        lost.connection.drop()
        closed.connection.close()
        await server.settle()
        assert [client.reason for client in (left, lost, closed)] == [
            "io client disconnect",
            "transport close",
            "forced close",
        ]
    assert gone == ["server namespace disconnect", "client namespace disconnect", "transport close", "transport close"]


@async_test
async def test_a_client_that_has_left_says_so() -> None:
    """Emit, call and receive raise NotConnected; what came before can still be taken."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        io.emit("last")
        await server.settle()
        await client.disconnect()
        with pytest.raises(NotConnected):
            await client.emit("x")
        with pytest.raises(NotConnected):
            await client.call("x")
        assert await client.receive() == ("last",)
        with pytest.raises(NotConnected):
            await client.receive()
        await client.disconnect()


@async_test
async def test_several_namespaces_share_a_connection() -> None:
    """Entering and leaving one leaves the others alone; the last one closes the connection."""
    io = Server()
    io.of("/admin").on("who")(lambda socket: socket.namespace.name)
    async with TestServer(io) as server:
        client = await server.connect()
        admin = await client.enter("/admin", auth={"a": 1})
        assert admin.connection is client.connection
        assert await admin.call("who") == "/admin"
        with pytest.raises(ConnectionRefused):
            await client.enter("/none")
        await client.disconnect()
        assert admin.connected
        assert admin.connection.open
        await admin.disconnect()
        assert not admin.connection.open
        assert clients(io) == set()


@async_test
async def test_a_client_that_does_not_read_fills_its_outbox() -> None:
    """pause() is back-pressure: the bytes wait in the server; resume() brings them all, in order."""
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        client.connection.pause()
        for number in range(100):
            io.emit("chunk", number, "x" * 10_000)
            await server.settle()
        assert client.received == []
        assert io.sockets[client.id].conn.buffered > 900_000
        client.connection.resume()
        await server.settle()
        assert [event.args[0] for event in client.received] == list(range(100))


@async_test
async def test_a_dead_client_is_found_by_the_heartbeat() -> None:
    """With answers_pings off the server closes the connection after interval and timeout."""
    io = Server(ping_interval=10, ping_timeout=5)
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))
    async with TestServer(io) as server:
        client = await server.connect()
        await server.clock.advance(100)
        assert client.connected
        client.connection.answers_pings = False
        await server.clock.advance(30)
        assert not client.connected
        assert reasons == ["ping timeout"]


@async_test
async def test_raw_packets_can_be_sent() -> None:
    """A broken client is played with the connection itself."""
    io = Server()
    async with TestServer(io) as server:
        connection = await server.open()
        assert connection.handshake["pingInterval"] == 25_000
        connection.send("40")
        answer = await connection.receive()
        assert isinstance(answer, str)
        assert answer.startswith('40{"sid":')
        connection.send("4nonsense")
        assert await connection.closed() == 1000
        with pytest.raises(NotConnected):
            await connection.receive()
        assert io.stats.parse_errors == 1
