"""python-socketio's asyncio client against our server, over polling, WebSocket and the upgrade between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import socketio
from tests.interop.clients import Heard, connected
from tests.interop.wire import case
from tests.servers import ServerProcess, lanes, serving, tracebacks

BYTES = bytes([0, 1, 127, 128, 255])
TRANSPORTS = [
    pytest.param(["polling"], id="polling"),
    pytest.param(["websocket"], id="websocket"),
    pytest.param(["polling", "websocket"], id="upgrade"),
]
over_every_transport = pytest.mark.parametrize("transports", TRANSPORTS)


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn"))
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with serving("js_suite:io", request.param) as process:
        yield process
    assert not tracebacks(process.final_log), process.final_log


@over_every_transport
@case
async def test_connects(server: ServerProcess, transports: list[str]) -> None:
    """The client has the id that the server knows it by, and the last transport that it asked for."""
    async with connected(server.url, transports) as client:
        assert await client.call("id") == client.get_sid()
        assert client.transport() == transports[-1]


@over_every_transport
@case
async def test_events_and_acks(server: ServerProcess, transports: list[str]) -> None:
    """Events come back as they went; an ack has one value, several, or none."""
    heard: list[Heard] = []
    async with connected(server.url, transports, lambda client: heard.append(Heard(client, "reflected"))) as client:
        await client.emit("reflect", (1, "två", {"3": [True, None]}))
        assert await heard[0].next() == (1, "två", {"3": [True, None]})
        assert await client.call("echo", "one") == "one"
        assert list(await client.call("echo", ("one", 2))) == ["one", 2]
        assert await client.call("nothing") in (None, [], ())


@over_every_transport
@case
async def test_binary(server: ServerProcess, transports: list[str]) -> None:
    """Bytes keep their places within an object, in events and acks."""
    value = {"a": [BYTES, {"b": b""}], "c": "text"}
    heard: list[Heard] = []
    async with connected(server.url, transports, lambda client: heard.append(Heard(client, "reflected"))) as client:
        await client.emit("reflect", (value, BYTES))
        assert await heard[0].next() == (value, BYTES)
        assert await client.call("echo", value) == value


@over_every_transport
@case
async def test_the_server_calls(server: ServerProcess, transports: list[str]) -> None:
    """The client's handler answers a call of the server."""

    def answer(client: socketio.AsyncClient) -> None:
        client.on("question", lambda number, data: [number + 1, data])

    async with connected(server.url, transports, answer) as client:
        assert await client.call("ask", (41, BYTES)) == [42, BYTES]


@over_every_transport
@case
async def test_namespaces(server: ServerProcess, transports: list[str]) -> None:
    """Several namespaces share a connection; each has its own events."""
    heard: list[Heard] = []

    def listen(client: socketio.AsyncClient) -> None:
        heard.extend(Heard(client, "reflected", namespace) for namespace in ("/", "/plain"))

    async with connected(server.url, transports, listen, namespaces=["/", "/plain", "/tenant-7"]) as client:
        assert await client.call("where", namespace="/") == "/"
        assert await client.call("where", namespace="/plain") == "/plain"
        assert await client.call("where", namespace="/tenant-7") == "/tenant-7"
        await client.emit("reflect", "plain", namespace="/plain")
        assert await heard[1].next() == ("plain",)
        assert heard[0].empty


@over_every_transport
@case
async def test_auth_and_refusal(server: ServerProcess, transports: list[str]) -> None:
    """The auth payload reaches the middleware, which lets in or tells why not."""
    options = {"namespaces": ["/secret"]}
    async with connected(server.url, transports, auth={"token": "secret"}, **options) as client:
        assert (await client.call("handshake", namespace="/secret"))["auth"] == {"token": "secret"}
    told: list[Heard] = []

    def listen(client: socketio.AsyncClient) -> None:
        told.append(Heard(client, "connect_error", "/secret"))

    with pytest.raises(socketio.exceptions.ConnectionError):
        async with connected(server.url, transports, listen, auth={"token": "guess"}, **options):
            pass
    assert await told[0].next() == ({"message": "not authorized", "data": {"retry": False}},)


@over_every_transport
@case
async def test_rooms(server: ServerProcess, transports: list[str]) -> None:
    """A room's members hear what is told to it, and nobody else does."""
    heard: list[Heard] = []

    def listen(client: socketio.AsyncClient) -> None:
        heard.append(Heard(client, "said"))

    async with connected(server.url, transports, listen) as a, connected(server.url, transports, listen) as b:
        room = f"of {a.get_sid()}"
        await a.call("join", room)
        await b.call("tell", ([room], "members", BYTES))
        assert await heard[0].next() == ("members", BYTES)
        await b.call("echo")
        assert heard[1].empty


@over_every_transport
@case
async def test_order(server: ServerProcess, transports: list[str]) -> None:
    """Five hundred events, while the transport may change, come back in their order.

    Ten at a time, because this client refuses a polling payload of more than sixteen packets.
    """
    heard: list[Heard] = []
    async with connected(server.url, transports, lambda client: heard.append(Heard(client, "reflected"))) as client:
        for start in range(0, 500, 10):
            for number in range(start, start + 10):
                await client.emit("reflect", number)
            assert [(await heard[0].next())[0] for _ in range(10)] == list(range(start, start + 10))


@over_every_transport
@case
async def test_leaving(server: ServerProcess, transports: list[str]) -> None:
    """The server ends the connection and the client hears it; the server knows who ended it."""
    heard: list[Heard] = []
    async with connected(server.url, transports, lambda client: heard.append(Heard(client, "disconnect"))) as client:
        sid = client.get_sid()
        await client.emit("kick")
        assert await heard[0].next() == ("server disconnect",)
        async with connected(server.url, transports) as observer:
            assert await observer.call("reason-of", sid) == "server namespace disconnect"
