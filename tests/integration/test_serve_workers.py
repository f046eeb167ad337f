"""`shoal serve --workers`: several processes with one port that speak as one, and that are kept up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.brokers import NO_BROKER, Broker
from tests.certificates import make_certificate
from tests.interop.wire import case
from tests.ports import free_port
from tests.requirements import missing
from tests.serve_process import Serve
from tests.servers import HOST
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed

from shoal.local.broker import find_broker
from shoal.local.checks import check_app
from shoal.local.job import Job
from shoal.local.plan import Machine, Options, make_plan
from shoal.local.workers import Facts, probe

APP = "tests.apps.cluster:io"
PATIENCE = 20.0
MOST = 64
"""Connections after which every one of three workers has one: that it has none is less likely than 1 in 10^10."""


@pytest.fixture(autouse=True)
def a_broker() -> None:
    """What `--workers` starts."""
    find_broker() or missing(NO_BROKER)


class Client:
    """A client by WebSocket in the namespace `/`, and what it has heard."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self.node = ""

    async def begin(self) -> Client:
        assert str(await self._recv()).startswith("0{")
        await self._link.send("40")
        assert str(await self._recv()).startswith("40{")
        name, self.node = await self.next()
        assert name == "welcome"
        await self._link.send('420["join","all"]')
        assert (await self._recv()).startswith("430")  # the broker has confirmed it
        return self

    async def _recv(self) -> str:
        return str(await asyncio.wait_for(self._link.recv(), PATIENCE))

    async def next(self) -> list[Any]:
        found: list[Any] = json.loads((await self._recv()).removeprefix("42"))
        return found

    async def emit(self, *args: Any) -> None:
        await self._link.send("42" + json.dumps(args))

    async def close(self) -> None:
        await self._link.close()

    async def is_closed(self) -> None:
        """Return when the server has closed it."""
        with pytest.raises(ConnectionClosed):
            await self._recv()


def a_link(server: Serve, uds: Path | None) -> Any:
    path = "/socket.io/?EIO=4&transport=websocket"
    return unix_connect(str(uds), f"ws://x{path}") if uds else connect(f"ws://{server.url}{path}", proxy=None)


@contextlib.asynccontextmanager
async def one_on_each(server: Serve, workers: int, uds: Path | None = None) -> AsyncIterator[dict[str, Client]]:
    """A client on every worker, all in the room `all`; by the name of the node."""
    found: dict[str, Client] = {}
    try:
        for _ in range(MOST):
            client = await Client(await a_link(server, uds)).begin()
            if client.node in found:
                await client.close()
            else:
                found[client.node] = client
            if len(found) == workers:
                break
        assert len(found) == workers, found
        yield found
    finally:
        for client in found.values():
            await client.close()


async def all_hear(clients: dict[str, Client]) -> None:
    """What one of them says to the room comes to all."""
    for node, speaker in clients.items():
        await speaker.emit("tell", "all", "hello")
        for client in clients.values():
            assert await client.next() == ["said", node, "hello"]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    find_broker() or missing(NO_BROKER)
    with Serve(tmp_path_factory.mktemp("workers"), APP, "--workers", "3", "--node", "w") as server:
        yield server.wait_until_up(3)


@case
async def test_a_room_spans_the_workers(three: Serve) -> None:
    """Each is a process with a name of its own; the broker between them was started by the command."""
    assert sorted(three.workers()) == ["w-1", "w-2", "w-3"]
    assert "shoal: the workers' broker is redis://127.0.0.1:" in three.text
    async with one_on_each(three, 3) as clients:
        assert sorted(clients) == ["w-1", "w-2", "w-3"]
        await all_hear(clients)


def test_the_workers_broker_is_for_them_alone(three: Serve) -> None:
    """Another user of the machine can do nothing there: it wants a password, which neither log nor command has."""
    environment = three.workers()["w-1"].environ()
    password = urlsplit(environment["SHOAL_BROKER"]).password
    port = re.search(r"broker is redis://127\.0\.0\.1:(\d+) ", three.text)
    assert password
    assert port is not None
    with socket.create_connection((HOST, int(port[1])), timeout=10) as stranger:
        stranger.sendall(b"INFO\r\n")
        assert stranger.makefile("rb").readline().startswith(b"-NOAUTH")
    assert password not in three.text
    assert password not in str([process.cmdline() for process in three.family()])


@case
async def test_a_worker_that_is_killed_is_started_again(three: Serve) -> None:
    """The clients of the others notice nothing; after a moment a room spans three again."""
    victim = three.workers()["w-2"]
    async with one_on_each(three, 3) as clients:
        victim.kill()
        await clients.pop("w-2").is_closed()
        await all_hear(clients)
    three.wait_for(r"(?m)^w-2 is listening on ", 2)
    assert "shoal: w-2 died (exit code -9), restarting in 0.1 s" in three.text
    assert three.workers()["w-2"].pid != victim.pid
    async with one_on_each(three, 3) as clients:
        await all_hear(clients)


def test_sigterm_drains_all(three: Serve) -> None:
    """The last of this cluster: clients are told, and nothing is left, the broker and the port included."""

    async def meet() -> None:
        async with one_on_each(three, 3) as clients:
            three.process.terminate()
            await asyncio.gather(*(client.is_closed() for client in clients.values()))

    asyncio.run(asyncio.wait_for(meet(), 2 * PATIENCE))
    assert three.wait() == 0
    assert "Traceback" not in three.text
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, three.port))


MOUNTED_CLUSTER = """
from fastapi import FastAPI
from tests.apps.cluster import io
app = FastAPI()
app.mount("/", io)
"""


def test_any_worker_takes_any_request_of_a_session_over_tls(tmp_path: Path) -> None:
    """Long-polling, and each request on a connection of its own. The broker was running: none is started.

    The server is mounted, where the lifespan does not come: a worker joins the others before its first request all the
    same.
    """
    (tmp_path / "site_app.py").write_text(MOUNTED_CLUSTER)
    certificate, key = make_certificate(tmp_path)
    files = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
    with (
        Broker() as broker,
        Serve(tmp_path, "site_app:app", "--workers", "2", "--broker", broker.url, *files) as server,
    ):
        server.wait_until_up(2).wait_for(": connected", 2)
        passed = asyncio.run(asyncio.wait_for(poll(f"https://{server.url}", certificate), 2 * PATIENCE))
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0
        assert passed > 0
        assert "the workers' broker" not in server.text


async def poll(url: str, certificate: Path) -> int:
    """Talk to a session by polling; how many requests reached a worker that had it not."""
    verify, limits = ssl.create_default_context(cafile=certificate), httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(verify=verify, limits=limits, trust_env=False, timeout=PATIENCE) as http:

        async def ask(sid: str, event: str) -> Any:
            assert (await http.post(f"{there}&sid={sid}", content=f'420["{event}"]')).text == "ok"
            return json.loads((await http.get(f"{there}&sid={sid}")).text.removeprefix("430"))[0]

        async def begin() -> tuple[str, str]:
            sid = json.loads((await http.get(there)).text[1:])["sid"]
            while (await http.post(f"{there}&sid={sid}", content="40")).status_code != 200:
                await asyncio.sleep(0.02)  # until they have told each other their addresses
            welcome = ""
            while '"welcome"' not in welcome:
                answer = await http.get(f"{there}&sid={sid}")
                assert answer.status_code == 200, answer.text
                welcome = answer.text.split("\x1e")[-1]
            return json.loads(welcome.removeprefix("42"))[1], sid

        there = f"{url}/socket.io/?EIO=4&transport=polling"
        sessions: dict[str, str] = {}
        while len(sessions) < 2:
            node, sid = await begin()
            sessions[node] = sid
        for _ in range(8):
            for node, sid in sessions.items():
                assert await ask(sid, "node") == node
        passed = 0
        for sid in sessions.values():
            forwarded, failed = await ask(sid, "forwarded")
            assert failed == 0
            passed += forwarded
        return passed


@case
async def test_workers_share_a_unix_socket(tmp_path: Path) -> None:
    """SIGINT drains as well, and the file is gone then."""
    path = tmp_path / "io.sock"
    with Serve(tmp_path, APP, "--workers", "2", "--uds", str(path)) as server:
        await asyncio.to_thread(server.wait_until_up, 2)
        assert sorted(server.workers()) == ["io-1", "io-2"]
        async with one_on_each(server, 2, path) as clients:
            await all_hear(clients)
        server.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(server.wait) == 0
        assert not path.exists()


APPLICATION = """
from shoal import Server
io = Server()
"""


def test_one_that_cannot_start_again_is_tried_again_and_a_killed_command_leaves_nothing(tmp_path: Path) -> None:
    """The other one serves on meanwhile. At last the command is killed, which can clean up nothing itself."""
    source = tmp_path / "mine.py"
    source.write_text(APPLICATION)
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    with Serve(tmp_path, "mine:io", "--workers", "2", "--node", "w", environment=environment) as server:
        server.wait_until_up(2)
        source.write_text("import no_such_thing\n")
        server.workers()["w-1"].kill()
        server.wait_for(r"shoal: w-1 cannot start: cannot load mine:io: .*No module named 'no_such_thing'")
        assert httpx.get(f"http://{server.url}/readyz", trust_env=False).status_code == 200
        source.write_text(APPLICATION)
        server.wait_for(r"(?m)^w-1 is listening on ", 2)
        assert len(server.family()) >= 3
        os.kill(server.process.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_command_that_is_killed_while_the_application_loads_leaves_nothing(tmp_path: Path, command: str) -> None:
    """Neither that process, nor what it has started, nor a folder."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "mine.py").write_text("import subprocess\nsubprocess.run(['sleep', '60'])\n")
    environment = {"TMPDIR": str(temporary)}
    words = ["--workers", "2"] if command == "serve" else ["--balancer", "kernel", "--ports", str(free_port())]
    with Serve(tmp_path, "mine:io", *words, environment=environment, command=command) as server:
        server.until(lambda: len(server.family()) >= 3)  # the guard, the process that loads, and `sleep`
        assert list(temporary.iterdir())
        os.kill(server.process.pid, signal.SIGKILL)
        server.wait()
        server.until(lambda: not list(temporary.iterdir()))


NO_STOCK = """
from shoal import Server
async def other(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the shop has no stock"})
io = Server().asgi(other)
"""


def test_a_worker_that_cannot_start_ends_the_command(tmp_path: Path) -> None:
    """And nothing is left. What is wrong, the application has said itself."""
    (tmp_path / "mine.py").write_text(NO_STOCK)
    with Serve(tmp_path, "mine:io", "--workers", "2", "--node", "w") as server:
        line = server.refusal()
    assert re.fullmatch(r"shoal: w-\d ended while starting \(exit code \d\): the log above says why", line)
    assert "the shop has no stock" in server.text


def test_a_broker_in_the_code_that_joins_nobody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from shoal import Server\nio = Server(broker='memory://')\n")
    with Serve(tmp_path, "mine:io", "--workers", "2") as server:
        assert "mine:io says broker='memory://' in its code" in server.refusal()
    assert server.text.count("says broker") == 1


def test_a_file_that_is_called_as_a_module_of_python_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `shoal serve` serves, it serves with workers, and `shoal up` as well."""
    (tmp_path / "queue.py").write_text("raise RuntimeError('not meant')\n")
    (tmp_path / "mine.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHOAL_BROKER", raising=False)
    assert asyncio.run(probe(Job(app="mine:io"))) == Facts(brokers=("memory://",))
    plan = make_plan(Options(app="mine:io", servers=1), Machine(directory="", free_port=1, programs={"broker": "x"}))
    asyncio.run(check_app(plan, sys.executable))


MOUNTED = """
from fastapi import FastAPI
from shoal import Engine, Server
io, engine = Server(connection_state_recovery=True), Engine()
app = FastAPI()
app.mount("/", io)
"""


def test_a_first_look_finds_servers_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why it cannot look, in the words of `shoal serve`."""
    monkeypatch.setenv("SHOAL_ADVERTISE", "127.0.0.1:1")  # of the environment, which is no mistake
    (tmp_path / "mounted.py").write_text(MOUNTED)
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "gone.py").write_text("import os; os._exit(7)")

    async def look(module: str) -> Facts:
        return await probe(Job(app=f"{module}:app", app_dir=str(tmp_path)))

    async def look_at_all() -> list[Facts | BaseException]:
        return await asyncio.gather(*(look(name) for name in ("mounted", "broken", "gone")), return_exceptions=True)

    mounted, broken, gone = asyncio.run(look_at_all())
    assert mounted == Facts(brokers=("memory://",), recovers=True, engines=1)
    assert str(broken).startswith("cannot load broken:app: SyntaxError: invalid syntax")
    assert str(gone) == "gone:app ended with exit code 7 while it was loaded"
