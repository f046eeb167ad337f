"""Shoal as a plain ASGI application: under Hypercorn and Granian as under our own server, and beside FastAPI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from tests.interop.contracts import Closing, Handshake, Upgrade
from tests.interop.wire import POLLING, Client, Endpoint, Frames, case, client, within
from tests.servers import REFERENCE, ServerProcess, lanes, serving, tracebacks
from websockets.asyncio.client import connect

pytestmark = pytest.mark.skipif(bool(REFERENCE), reason="not applicable: the reference is no ASGI application")


@pytest.fixture(scope="module", params=lanes("hypercorn", "granian"))
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    with serving("socket_suite:io", request.param, env={"SUITE_PING_TIMEOUT": "5"}) as server:
        yield Endpoint(server.port, "/socket.io/")
    assert not tracebacks(server.final_log), server.final_log


class TestHandshake(Handshake):
    ping_timeout = 5000


class TestUpgrade(Upgrade):
    pass


class TestClosing(Closing):
    pass


async def connected(someone: Client) -> Frames:
    frames = await someone.websocket()
    await frames.open_packet()
    await frames.send("40")
    assert str(await frames.next()).startswith('40{"sid":')
    assert await frames.next() == '42["auth",{}]'
    return frames


class TestMessages:
    @case
    async def test_over_websocket(self, endpoint: Endpoint) -> None:
        """Text, ack and binary come back over a WebSocket."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            await frames.send('42["message","é",{"3":[true]}]')
            assert await frames.next() == '42["message-back","é",{"3":[true]}]'
            await frames.send('451-7["message-with-ack",{"_placeholder":true,"num":0}]')
            await frames.send(b"\x00\xff")
            assert [await frames.next() for _ in range(2)] == ['461-7[{"_placeholder":true,"num":0}]', b"\x00\xff"]

    @case
    async def test_over_polling(self, endpoint: Endpoint) -> None:
        """The same over long-polling."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            assert (await someone.push(sid, "40")).text == "ok"
            reply, auth = await someone.packets(sid, 2)
            assert reply.startswith('40{"sid":')
            assert auth == '42["auth",{}]'
            payload = '451-7["message-with-ack",{"_placeholder":true,"num":0}]\x1ebAP8='
            assert (await someone.push(sid, payload)).text == "ok"
            assert await someone.packets(sid, 2) == ['461-7[{"_placeholder":true,"num":0}]', "bAP8="]

    @case
    async def test_heartbeat_over_both(self, endpoint: Endpoint) -> None:
        """Pings come and pongs count, over both transports at once."""
        async with client(endpoint) as someone:
            sid, frames = await someone.open(), await connected(someone)
            for _ in range(2):
                assert (await someone.poll(sid)).text == "2"
                await someone.push(sid, "3")
                await frames.ping()
                await frames.send("3")

    @case
    async def test_a_bad_packet_closes(self, endpoint: Endpoint) -> None:
        """What is no packet ends its connection and no other."""
        async with client(endpoint) as someone:
            bad, good = await connected(someone), await connected(someone)
            await bad.send("4abc")
            assert await bad.closed_though_ponging() == []
            await good.send('42["message",1]')
            assert await good.next() == '42["message-back",1]'


@dataclass(frozen=True)
class Mount:
    """Where an application keeps its Socket.IO: the attribute of tests/apps/mounted.py, the node's name, the path."""

    app: str
    name: str
    path: str


MOUNTS = {
    "in-front": Mount("mounted:in_front", "in front", "/socket.io/"),
    "mounted": Mount("mounted:mounted", "mounted", "/socket.io/"),
    "deeper": Mount("mounted:deeper", "deeper", "/live/socket.io/"),
}
BESIDE_FASTAPI = [
    ("fastlane", "in-front"),
    ("fastlane", "mounted"),
    ("uvicorn", "in-front"),
    ("uvicorn", "mounted"),
    ("uvicorn", "deeper"),
    ("hypercorn", "in-front"),
    ("granian", "mounted"),
]


@dataclass(frozen=True)
class Running:
    mount: Mount
    server: ServerProcess
    endpoint: Endpoint


@pytest.fixture(scope="module", params=BESIDE_FASTAPI, ids="-".join)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    lane, mount = request.param
    with serving(MOUNTS[mount].app, lane) as server:
        yield Running(MOUNTS[mount], server, Endpoint(server.port, MOUNTS[mount].path))
    assert not tracebacks(server.final_log), server.final_log
    assert "the lifespan of FastAPI has ended" in server.final_log


class TestBesideFastAPI:
    def test_the_rest_is_fastapis(self, running: Running) -> None:
        """Pages, errors and documentation outside our path come from FastAPI, whose lifespan began once."""
        with httpx.Client(base_url=running.server.url, trust_env=False, verify=False) as http:
            assert http.get("/hello").json() == {"hello": running.mount.name, "started": 1}
            assert http.post("/items/7", json={"a": [1]}).json() == {"number": 7, "body": {"a": [1]}}
            assert http.post("/items/x", json={}).status_code == 422
            assert http.get("/openapi.json").json()["paths"].keys() == {"/hello", "/items/{number}"}
            assert http.get("/nothing/here").status_code == 404

    @case
    async def test_fastapi_keeps_its_websockets(self, running: Running) -> None:
        """A WebSocket route of FastAPI works beside ours."""
        url = running.server.url.replace("http", "ws", 1) + "/raw"
        async with connect(url, proxy=None) as websocket:
            await websocket.send("bytes")
            assert await within(websocket.recv()) == "raw bytes"

    @case
    async def test_our_path_is_ours(self, running: Running) -> None:
        """Polling, WebSocket and upgrade work, and a FastAPI route can emit to both."""
        async with client(running.endpoint) as someone:
            frames = await someone.websocket()
            await frames.open_packet()
            await frames.send("40")
            assert str(await frames.next()).startswith('40{"sid":')
            await frames.send('421["echo",1]')
            assert await frames.next() == "431[1]"

            sid = await someone.open()
            upgraded = await someone.websocket(f"EIO=4&transport=websocket&sid={sid}")
            assert (await someone.push(sid, "40")).text == "ok"
            assert (await someone.packets(sid, 1))[0].startswith('40{"sid":')
            assert (await someone.push(sid, '422["echo",2]')).text == "ok"
            assert await someone.packets(sid, 1) == ["432[2]"]
            await upgraded.send("2probe")
            assert await upgraded.next() == "3probe"
            await upgraded.send("5")

            answer = await someone.http.post(f"{running.server.url}/items/3", json={"b": None})
            assert answer.status_code == 200
            event = "42" + json.dumps(["item", 3, {"b": None}], separators=(",", ":"))
            assert [await frames.next(), await upgraded.next()] == [event, event]

    @case
    async def test_bad_handshakes_are_refused_here_too(self, running: Running) -> None:
        """The refusals have our code and message, not FastAPI's."""
        async with client(running.endpoint) as someone:
            response = await someone.get(POLLING.replace("4", "9"))
            assert response.status_code == 400
            assert response.json() == {"code": 5, "message": "Unsupported protocol version"}
