"""Sixty official JavaScript clients with default options behind balancers that know nothing of sessions.

Each request goes to the server whose turn it is: HAProxy and nginx as one configures them for anything, and the kernel,
which deals out connections. What balancers can be told so that no request goes astray is not used here.
`SHOAL_ROUND_ROBIN_SECONDS` says for how long they talk over polling alone; without it, for eight seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.brokers import Broker
from tests.cluster_process import Up
from tests.interop.fleet import Fleet
from tests.interop.test_javascript_client import SCRIPTS
from tests.interop.wire import eventually
from tests.requirements import need, need_npm
from tests.servers import ROOT, die_with_parent, tracebacks

CLIENTS = 60
SERVERS = 4
PATIENCE = 40.0  # seconds for anything that a crowd does on a slow machine
POLLING_SECONDS = float(os.environ.get("SHOAL_ROUND_ROBIN_SECONDS", "8"))
# What the client's own delays are: reconnectionDelay 1 s, doubled at each failure, each half more or less. A client may
# come to the balancer while that still sends it to the dead server, twice: 1.5 + 3 + 6 s at most, limited to 5 s each,
# and what a busy machine needs to connect sixty.
BACK = 1.5 + 3.0 + 5.0 + 5.0
POLLING: Mapping[str, Any] = {"transports": ["polling"]}

NGINX = """
error_log stderr warn; pid {folder}/nginx.pid; worker_rlimit_nofile 4096; events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  upstream all {{ {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://all; proxy_http_version 1.1; proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  option redispatch
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
frontend public
  bind 127.0.0.1:{port}
  default_backend all
backend all
  balance roundrobin
  option httpchk GET /readyz
  default-server check inter 500ms
{servers}
"""


class PlainFleet(Fleet):
    """Servers behind round robin and nothing more."""

    def configuration(self, balancer: str, folder: Path, *arguments: str) -> str:
        if balancer == "nginx":
            servers = " ".join(f"server 127.0.0.1:{port};" for port in self.ports)
            return NGINX.format(folder=folder, port=self.port, servers=servers)
        servers = "\n".join(f"  server s{port} 127.0.0.1:{port}" for port in self.ports)
        return HAPROXY.format(port=self.port, servers=servers)


class Place:
    """Four servers behind one port, and how one of them is killed and comes again.

    Args:
        url: Where the clients go.
        kill_and_restart: Does so; returns when the server is there again.
    """

    def __init__(self, url: str, kill_and_restart: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.url = url
        self.kill_and_restart = kill_and_restart


@contextlib.contextmanager
def fleet(balancer: str, folder: Path) -> Iterator[Place]:
    with Broker() as broker:
        fleet = PlainFleet(balancer, folder, SERVERS, environment={"SHOAL_BROKER": broker.url})

        async def kill_and_restart() -> None:
            port = fleet.ports[1]
            victim = fleet.running.pop(port)
            victim.kill()
            victim.close()
            await fleet.start(port)
            await fleet.session(port)  # as soon as HAProxy deals to it again: the next test is for all four

        with fleet.balanced(SERVERS):
            yield Place(f"http://127.0.0.1:{fleet.port}", kill_and_restart)
            logs = [server.log() for server in fleet.running.values()]
        assert not [line for log in logs for line in tracebacks(log)], logs


@contextlib.contextmanager
def kernel(folder: Path) -> Iterator[Place]:
    with Broker() as broker:
        arguments = ["--balancer", "kernel", "--app", "tests.apps.cluster:io", "--broker", broker.url]
        up = Up(folder, SERVERS, *arguments, environment={"PYTHONPATH": str(ROOT)})

        async def kill_and_restart() -> None:
            victim = up.server(up.ports[1])
            victim.kill()
            await eventually(lambda: up.log.count(f"died (exit code {-signal.SIGKILL})") == 1)

        try:
            up.wait_until_up()
            yield Place(f"http://127.0.0.1:{up.port}", kill_and_restart)
            up.stop()
        finally:
            up.kill()
    assert not tracebacks(up.log + up.err.read_text()), up.everything()


@contextlib.contextmanager
def running(balancer: str, folder: Path) -> Iterator[Place]:
    need("node")
    need_npm("socket.io-client")
    with kernel(folder) if balancer == "kernel" else fleet(balancer, folder) as place:
        yield place


@pytest.fixture(scope="module", params=["haproxy", "nginx", "kernel"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as place:
        yield place


class JavaScriptCrowd:
    """Official clients in a process of node's: `js/crowd.cjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, url: str, options: Mapping[str, Any]) -> AsyncIterator[JavaScriptCrowd]:
        """All of them, connected."""
        process = await asyncio.create_subprocess_exec(
            need("node"),
            str(SCRIPTS / "crowd.cjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=die_with_parent,
            limit=1 << 24,
        )
        crowd = cls(process)
        try:
            await crowd.ask("connect", url=url, count=CLIENTS, options=options)
            yield crowd
            await crowd.ask("close")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Let it do a command; its answer. A failure there is one here."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        line = {"command": command, "patience": PATIENCE * 1000, **arguments}
        stdin.write(json.dumps(line).encode() + b"\n")
        await stdin.drain()
        answer = json.loads(await asyncio.wait_for(stdout.readline(), PATIENCE + 5))
        assert "error" not in answer, answer
        return answer

    async def until(self, what: str, least: int) -> None:
        """Return as soon as a number of its state is large enough."""
        async with asyncio.timeout(PATIENCE):
            while (await self.ask("state"))[what] < least:
                await asyncio.sleep(0.05)

    async def talk(self, seconds: float, every: int) -> None:
        """Everyone talks for a while, and all is heard by all who are meant, in order."""
        await self.ask("talk", every=every)
        await asyncio.sleep(seconds)
        heard = await self.ask("hush")
        state = await self.ask("state")
        assert heard["wrong"] == [], (heard, state)
        assert heard["said"] >= CLIENTS * (seconds * 1000 / every - 2) / 2  # a busy machine is late

    async def assert_undisturbed(self) -> None:
        state = await self.ask("state")
        assert state["trouble"] == []
        assert len(set(state["nodes"])) == SERVERS


def bounded(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 3 * PATIENCE + POLLING_SECONDS))


def test_with_nothing_set(place: Place) -> None:
    """Everyone connects, upgrades and talks in order; nothing is lost, no connection fails. What is said while they
    upgrade arrives in order, too."""

    async def test() -> None:
        async with JavaScriptCrowd.of(place.url, {}) as crowd:
            await crowd.talk(1.0, every=250)
            await crowd.ask("upgraded")
            await crowd.talk(2.0, every=250)
            await crowd.assert_undisturbed()

    bounded(test())


def test_with_polling_alone(place: Place) -> None:
    """Three of four requests come to a server that has not the session: all talk in order, and nothing is lost."""

    async def test() -> None:
        async with JavaScriptCrowd.of(place.url, POLLING) as crowd:
            await crowd.talk(POLLING_SECONDS, every=2000)
            await crowd.assert_undisturbed()
            assert (await crowd.ask("state"))["transports"] == ["polling"]

    bounded(test())


@pytest.mark.parametrize("place", ["haproxy"], indirect=True)
@pytest.mark.parametrize("options", [{}, POLLING], ids=["default", "polling"])
def test_a_server_is_killed(place: Place, options: Mapping[str, Any]) -> None:
    """Its clients, and those whose requests went through it, are back within the client's own delays; the others miss
    nothing meanwhile, and then nobody does."""

    async def test() -> None:
        async with JavaScriptCrowd.of(place.url, options) as crowd:
            await crowd.ask("talk", every=1000)
            await crowd.until("said", CLIENTS)
            await place.kill_and_restart()
            await crowd.until("disturbed", 1)
            back = await crowd.ask("back")
            assert back["longest"] <= BACK * 1000, (back, await crowd.ask("state"))
            heard = await crowd.ask("hush")
            assert heard["wrong"] == [], (heard, await crowd.ask("state"))
            await crowd.talk(1.0, every=500)
            state = await crowd.ask("state")
            assert state["joined"] == CLIENTS
            assert state["trouble"] == []

    bounded(test())
