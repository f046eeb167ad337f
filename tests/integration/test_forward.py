"""A session's requests may come to any node: they are passed to the one that has it, on every way in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from tests.brokers import Broker
from tests.interop.wire import case
from tests.ports import free_port
from tests.servers import ServerProcess, command, tracebacks
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

APP = "forward:plain"
PAIRS = [
    ("fastlane", "fastlane"),
    ("uvicorn", "fastlane"),
    ("fastlane", "uvicorn"),
    ("hypercorn", "uvicorn"),
    ("granian", "hypercorn"),
]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@contextlib.contextmanager
def nodes(broker: Broker, *lanes: str, app: str = APP, **options: Any) -> Iterator[list[ServerProcess]]:
    """A node over each lane, which know each other."""
    options = {"channel_prefix": f"forward-{time.monotonic_ns()}", **options}
    with contextlib.ExitStack() as stack:
        started = []
        for number, lane in enumerate(lanes):
            port = free_port()
            env = {"SHOAL_BROKER": broker.url, "SHOAL_NODE": f"n{number}"}
            env |= {f"SHOAL_{name.upper()}": str(value) for name, value in options.items()}
            started.append(ServerProcess(command(app, lane, port), port, env))
            stack.callback(started[-1].close)
        for server in started:
            server.wait_until_up(path="/readyz")
        yield started
        for server in started:
            if server.alive:
                server.stop()
                assert not tracebacks(server.log()), server.log()


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, broker: Broker) -> Iterator[list[ServerProcess]]:
    """Two nodes as they are, for tests that end none of them."""
    with nodes(broker, *request.param) as started:
        yield started


class Session:
    """A long-polling session whose requests go where a test says."""

    def __init__(self, http: httpx.AsyncClient, home: ServerProcess, sid: str, opened: dict[str, Any]) -> None:
        self.http = http
        self.home = home
        self.sid = sid
        self.opened = opened

    def url(self, node: ServerProcess, scheme: str = "http", transport: str = "polling") -> str:
        return f"{scheme}://127.0.0.1:{node.port}/socket.io/?EIO=4&transport={transport}&sid={self.sid}"

    async def get(self, node: ServerProcess, **headers: str) -> httpx.Response:
        return await self.http.get(self.url(node), headers=headers)

    async def post(self, node: ServerProcess, body: str, **headers: str) -> httpx.Response:
        return await self.http.post(self.url(node), content=body, headers=headers)

    async def enter(self, node: ServerProcess) -> None:
        """Enter the namespace `/`."""
        assert (await self.post(node, "40")).text == "ok"
        assert (await self.get(node)).text.startswith('40{"sid"')


@contextlib.asynccontextmanager
async def session(home: ServerProcess, node: ServerProcess | None = None) -> AsyncIterator[Session]:
    """A session of one node; with another one, in the namespace `/` by way of that."""
    async with httpx.AsyncClient(trust_env=False, timeout=20.0) as http:
        answer = await http.get(f"http://127.0.0.1:{home.port}/socket.io/?EIO=4&transport=polling")
        opened = json.loads(answer.text[1:])
        made = Session(http, home, opened["sid"], opened)
        if node is not None:
            await made.enter(node)
        yield made


@contextlib.asynccontextmanager
async def upgraded(made: Session, node: ServerProcess) -> AsyncIterator[ClientConnection]:
    """A session's WebSocket, by way of a node."""
    url = made.url(node, "ws", "websocket")
    async with connect(url, proxy=None, compression=None, max_size=None, ping_interval=None) as socket:
        await socket.send("2probe")
        assert await socket.recv() == "3probe"
        await socket.send("5")
        yield socket


async def counts(node: ServerProcess) -> list[int]:
    """Forwarded, refused, too late and failed requests of a node, as it counts them."""
    async with session(node, node) as asker:
        await asker.post(node, '4210["counts"]')
        found: list[int] = json.loads((await asker.get(node)).text.removeprefix("4310"))[0]
        return found


@pytest.mark.parametrize("pair", [*PAIRS, ("hypercorn", "granian")], indirect=True, ids="-to-".join)
@case
async def test_polling(pair: list[ServerProcess]) -> None:
    """Every request but the first goes to the wrong node: all is as if it went to the right one."""
    there, home = pair
    before, *_ = await counts(there)
    async with session(home, there) as made, session(home, home) as direct:
        await direct.post(home, '42["say","hello"]')
        expected = await direct.get(home)
        answer = await made.get(there)
        assert answer.status_code == 200
        assert answer.text == expected.text == '42["said","hello"]'
        kept = {"content-type", "cache-control", "access-control-allow-origin", "content-length"}
        assert {n: answer.headers[n] for n in kept} == {n: expected.headers[n] for n in kept}
        assert "shoal-hop-proof" not in answer.headers
        # A GET that waits, and is answered by what comes later.
        waiting = asyncio.create_task(made.get(there))
        await asyncio.sleep(0.1)
        assert (await made.post(there, '42["say","later"]\x1e427["echo","' + "é" * 40_000 + '"]')).text == "ok"
        first = (await waiting).text
        if "437" not in first:
            first += "\x1e" + (await made.get(there)).text
        assert first == '42["said","later"]\x1e437["' + "é" * 40_000 + '"]'
        # The end: the client's own, and then the session is not known.
        assert (await made.post(there, "1")).text == "ok"
        gone = await made.get(there)
        assert (gone.status_code, gone.json()) == (400, {"code": 1, "message": "Session ID unknown"})
        assert await counts(home) == [0, 0, 0, 0]
        forwarded, *faults = await counts(there)
        assert forwarded - before >= 6
        assert faults == [0, 0, 0]


@pytest.mark.parametrize("pair", PAIRS, indirect=True, ids="-to-".join)
@case
async def test_upgrade(pair: list[ServerProcess]) -> None:
    """The WebSocket of a session goes through another node, in pieces of any size, text and binary, to its end."""
    there, home = pair
    async with session(home, there) as made, upgraded(made, there) as socket:
        await socket.send('421["echo","short"]')
        assert await socket.recv() == '431["short"]'
        await socket.send('421["echo","' + "y" * 300_000 + '"]')
        assert await socket.recv() == '431["' + "y" * 300_000 + '"]'
        await socket.send('451-2["echo",{"_placeholder":true,"num":0}]')
        await socket.send(b"\x00\xff" * 1000)
        assert str(await socket.recv()).startswith("461-2[")
        assert await socket.recv() == b"\x00\xff" * 1000
        await socket.send('42["burst",200,5000]')
        for number in range(200):
            frame = await socket.recv()
            assert frame == f'42["part",{number},"{"x" * 5000}"]'
        await socket.send("1")  # the client leaves: the server closes the WebSocket
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
    assert (await counts(there))[1:] == [0, 0, 0]


@case
async def test_a_server_that_sends_no_headers_with_a_websocket(broker: Broker) -> None:
    """Granian (2.8) drops an accepted WebSocket's headers, so the answer proves nothing: the client goes on polling."""
    with nodes(broker, "fastlane", "granian") as (there, home):
        async with session(home, there) as made:
            with pytest.raises(InvalidStatus):
                async with upgraded(made, there):
                    pass
            await made.post(there, '421["echo",1]')
            assert (await made.get(there)).text == "431[1]"


@case
async def test_a_close_code_comes_through(broker: Broker) -> None:
    """What the owner says of a message that is too large reaches the client: 1009 (RFC 6455)."""
    for lanes in [("fastlane", "fastlane"), ("uvicorn", "fastlane")]:
        # Read whole: a connection that is closed with bytes unread is reset, and what was sent may be lost.
        with nodes(broker, *lanes, max_payload=1_000) as (there, home):
            async with session(home, there) as made, upgraded(made, there) as socket:
                await socket.send("4" + "x" * 1_001)
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1009, lanes


@pytest.mark.parametrize("entry", ["fastlane", "uvicorn"])
@case
async def test_the_owner_is_killed(broker: Broker, entry: str) -> None:
    """400 and code 1 at once, also while the others do not know it yet; a WebSocket that went through ends."""
    with nodes(broker, entry, "fastlane") as (there, home):
        async with session(home, there) as made, session(home, there) as other, upgraded(other, there) as socket:
            waiting = asyncio.create_task(made.get(there))
            await asyncio.sleep(0.2)
            home.kill()
            began = time.monotonic()
            for answer in [await waiting, await made.get(there), await made.post(there, "3")]:
                assert (answer.status_code, answer.json()["code"]) == (400, 1)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            with pytest.raises(InvalidStatus) as refused:
                async with upgraded(made, there):
                    pass
            assert refused.value.response.status_code == 400
            assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("entry", ["fastlane", "uvicorn", "hypercorn", "granian"])
@case
async def test_a_node_that_stops_waits_for_no_other(broker: Broker, entry: str) -> None:
    """Polls that it has passed on end with it, and their clients go elsewhere, at once."""
    with nodes(broker, entry, "fastlane") as (there, home):
        async with session(home, there) as made:
            waiting = asyncio.create_task(made.get(there))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            await asyncio.to_thread(there.stop)
            assert time.monotonic() - began < 2.0
            assert (await waiting).status_code == 400


@pytest.mark.parametrize("entry", ["fastlane", "uvicorn"])
@case
async def test_an_owner_that_hangs_holds_up_nobody(broker: Broker, entry: str) -> None:
    """Requests for it end in time; those for another node and for this one are answered meanwhile."""
    options = {"ping_interval": 1.5, "ping_timeout": 1.5, "forward_timeout": 1.0}
    with nodes(broker, entry, "fastlane", "fastlane", **options) as (there, home, third):
        async with session(home, there) as stuck, session(third, there) as fine, session(there, there) as local:
            os.kill(home.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                hanging = [asyncio.create_task(stuck.post(there, '42["echo"]')) for _ in range(20)]
                for _ in range(20):
                    for witness in (fine, local):
                        await witness.post(there, '421["echo",1]')
                        text = (await witness.get(there)).text
                        while "431[1]" not in text:  # a ping
                            await witness.post(there, "3")
                            text = (await witness.get(there)).text
                assert time.monotonic() - began < 2.0
                with pytest.raises(InvalidStatus) as refused:
                    async with upgraded(stuck, there):
                        pass
                assert refused.value.response.status_code == 504
                answers = [await task for task in hanging]
                assert {answer.status_code for answer in answers} == {504}
                assert time.monotonic() - began < 6.0
                assert (await counts(there))[2] == 21
            finally:
                os.kill(home.pid, signal.SIGCONT)


@pytest.mark.parametrize("entry", ["fastlane", "uvicorn"])
@case
async def test_too_much_is_refused(broker: Broker, entry: str) -> None:
    """`max_forwarded` requests to one node: one more gets 503, and a place that is free again is used."""
    with nodes(broker, entry, "fastlane", max_forwarded=3) as (there, home):
        async with contextlib.AsyncExitStack() as stack:
            *made, witness = [await stack.enter_async_context(session(home, home)) for _ in range(4)]
            waiting = [asyncio.create_task(each.get(there)) for each in made]
            await asyncio.sleep(0.3)
            assert (await witness.get(there)).status_code == 503
            with pytest.raises(InvalidStatus) as refused:
                async with upgraded(witness, there):
                    pass
            assert refused.value.response.status_code == 503
            assert (await counts(there))[1] == 2
            await made[0].post(home, '42["say","x"]')
            assert {(await task).text for task in waiting} == {'42["said","x"]'}
            assert (await witness.get(there)).text == '42["said","x"]'


@pytest.mark.parametrize("entry", ["fastlane", "uvicorn"])
@case
async def test_too_many_bytes_are_refused(broker: Broker, entry: str) -> None:
    """`max_forwarded_bytes`: an answer that is too large for it is not taken, and costs that client alone."""
    with nodes(broker, entry, "fastlane", max_forwarded_bytes=200_000) as (there, home):
        async with session(home, there) as made, session(home, there) as witness:
            await made.post(there, '42["burst",300,1000]')
            assert (await made.get(there)).status_code == 503
            await witness.post(there, '421["echo",1]')
            assert (await witness.get(there)).text == "431[1]"


@pytest.mark.parametrize("lanes", [("fastlane", "fastlane"), ("uvicorn", "fastlane"), ("fastlane", "uvicorn")])
@case
async def test_the_client_is_who_it_was(broker: Broker, lanes: tuple[str, str]) -> None:
    """The owner sees the address that the first node saw, and what proxies added; a client's mark is not believed."""
    with nodes(broker, *lanes, app="forward:io") as (there, home):
        async with session(home) as made:
            forwarded = {"x-forwarded-for": "203.0.113.9, 198.51.100.7"}
            assert (await made.post(there, "40", **forwarded)).headers["x-node"] == "n1"
            await made.get(there)
            forged = {"shoal-hop": "1 192.0.2.66 " + "0" * 32}
            await made.post(home, '421["echo"]', **forged)
            answer = await made.get(home)
            assert answer.text == "431[]"
            assert "shoal-hop-proof" not in answer.headers
            await made.post(home, '421["polls"]')
            seen = json.loads((await made.get(home)).text[3:])[0]
            assert ["198.51.100.7", False] in seen
            assert not any(mark or "192.0.2.66" in address for address, mark in seen)
            # A node does not pass on what says that it was passed on: nothing can circle.
            circling = await made.get(there, **forged)
            assert (circling.status_code, circling.json()["code"]) == (400, 1)


@pytest.mark.parametrize("entry", ["fastlane", "uvicorn"])
@case
async def test_an_address_that_is_somebody_else(broker: Broker, entry: str) -> None:
    """A program that only listens where a node says that it does gets no session, and its answer reaches no client."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        status = b"101 Switching Protocols" if b"pgrade" in asked[-1] else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\nshoal-hop-proof: %b\r\ncontent-length: 4\r\n\r\nevil" % (status, b"0" * 32))
        await writer.drain()
        writer.close()

    stranger = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = stranger.sockets[0].getsockname()[1]
    prefix = {"channel_prefix": f"stranger{time.monotonic_ns()}"}
    elsewhere = {**prefix, "advertise": f"127.0.0.1:{port}"}
    with nodes(broker, entry, **prefix) as (there,), nodes(broker, "fastlane", **elsewhere) as (home,):
        async with session(home, home) as made:
            for reply in [await made.get(there), await made.post(there, "3")]:
                assert (reply.status_code, reply.json()["code"]) == (400, 1)
            with pytest.raises(InvalidStatus) as refused:
                async with upgraded(made, there):
                    pass
            assert refused.value.response.status_code == 400
            assert len(asked) == 3
            assert (await counts(there))[3] == 3
            await made.post(home, '421["echo",1]')
            assert (await made.get(home)).text == "431[1]"
    stranger.close()
    await stranger.wait_closed()


@pytest.mark.parametrize("pair", PAIRS[:2], indirect=True, ids="-to-".join)
@case
async def test_unknown_sessions(pair: list[ServerProcess]) -> None:
    """Ids of nodes that are not there go nowhere; a flood of ids that the owner does not know is refused there."""
    there, home = pair
    async with session(home, there) as made, httpx.AsyncClient(trust_env=False) as http:
        tag = made.sid.partition(".")[2][:6]
        base = f"http://127.0.0.1:{there.port}/socket.io/?EIO=4&transport=polling&sid="
        for sid in ["AAAAAA" + "x" * 22, "", ".", "n1.", "%0d%0aX:", "n1." + tag, "n1." + tag + "y" * 22]:
            answer = await http.get(base + sid)
            assert (answer.status_code, answer.json()["code"]) == (400, 1), sid
        flood = [http.get(f"{base}n1.{tag}{number:022}") for number in range(300)]
        assert {answer.status_code for answer in await asyncio.gather(*flood)} == {400}
        assert (await counts(there))[1:] == [0, 0, 0]
        await made.post(there, '421["echo",1]')
        assert (await made.get(there)).text == "431[1]"
