"""docker-compose.yml with each balancer and each installed version of Compose: the chat works and survives restarts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import httpx
import pytest
import socketio

from .stack import NODES, Stack, composes, run, started, until

CASES = [(compose, balancer) for compose in composes() for balancer in ("nginx", "haproxy")]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    with started(*request.param) as stack:
        yield stack


class Client:
    """An official-protocol client of the chat that keeps what it heard."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.heard: list[str] = []
        self.cuts = 0  # how often the connection was lost
        self.io = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.5, http_session=session)
        self.io.on("chat-message", self.heard.append)
        self.io.on("disconnect", self._cut)

    def _cut(self, reason: str) -> None:
        self.cuts += 1

    async def say(self, text: str) -> None:
        assert (await self.io.call("chat", text, timeout=10))["ok"]

    async def home(self) -> str:
        """The name of the server that it is connected to, which signs what it says."""
        text = f"where is {self.io.get_sid()}?"
        await self.say(text)
        await eventually(f"an echo of {text!r}", lambda: self.nodes(text))
        [node] = self.nodes(text)
        return node

    def nodes(self, text: str) -> set[str]:
        """The names of the servers whose clients said `text`, as far as this client heard."""
        return {message.partition(":")[0] for message in self.heard if message.endswith(text)}


async def eventually(what: str, true: Callable[[], object], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def chatting(url: str, count: int) -> AsyncIterator[list[Client]]:
    """`count` clients, connected one after another through the balancer, for the length of the block."""
    async with aiohttp.ClientSession() as session:  # the client forgets its own when it is told to stop reconnecting
        clients = [Client(session) for _ in range(count)]
        try:
            for client in clients:
                await client.io.connect(url, transports=["websocket"], wait_timeout=10)
            yield clients
        finally:
            for client in clients:
                await client.io.shutdown()


async def everyone_hears_everyone(clients: list[Client], text: str) -> None:
    """Each client says `text`; each hears it from every server."""
    for client in clients:
        await client.say(text)
    everybody = set(NODES.values())
    await eventually(f"{text!r} from all servers", lambda: all(c.nodes(text) == everybody for c in clients))


def test_all_are_up_and_none_is_root(stack: Stack) -> None:
    """Four servers, a broker and one balancer run, healthy, not as root, on a read-only disk, without capabilities."""
    known = stack.containers()
    assert set(known) == {*NODES, "broker", stack.balancer}
    for service in known:
        until(f"{service} is healthy", lambda service=service: stack.health(service) == "healthy")
        assert run("docker", "exec", stack.container(service), "id", "-u").strip() != "0"
        assert known[service]["HostConfig"]["ReadonlyRootfs"]
        assert known[service]["HostConfig"]["CapDrop"] == ["ALL"]


def test_each_server_says_so(stack: Stack) -> None:
    """The log has the line that tells which server listens on which port."""
    log = stack("logs", "--no-color")
    assert all(f"{node} is listening on port: {node}" in log for node in NODES.values())


def test_the_page_and_its_client_come_through_the_balancer(stack: Stack) -> None:
    """The page is there, and the browser client that it loads: a copy of ours, or the way to the public one."""
    page = httpx.get(stack.url)
    assert page.status_code == 200
    assert "socket.io" in page.text
    client = httpx.get(f"{stack.url}/socket.io/socket.io.min.js")
    assert client.status_code in {200, 302}


def test_the_chat_crosses_servers(stack: Stack) -> None:
    """Eight clients through the balancer are spread over four servers, and each hears what any of them says."""

    async def chat() -> None:
        async with chatting(stack.url, 8) as clients:
            await everyone_hears_everyone(clients, "Hello! I'm client")

    asyncio.run(chat())


def test_a_server_may_restart(stack: Stack) -> None:
    """One server restarts under its clients: the others chat on, and its clients come back."""

    async def chat() -> None:
        async with chatting(stack.url, 8) as clients:
            await everyone_hears_everyone(clients, "before")
            # Asked, not counted: after an earlier test, or on a busy machine, it need not be two for each server.
            homes = [await client.home() for client in clients]
            theirs = [client for client, home in zip(clients, homes, strict=True) if home == NODES["ws2"]]
            others = [client for client in clients if client not in theirs]
            restart = asyncio.create_task(asyncio.to_thread(run, "docker", "restart", stack.container("ws2")))
            await eventually("its clients are cut off", lambda: all(client.cuts for client in theirs))
            await others[0].say("meanwhile")
            await eventually("its own message", lambda: others[0].nodes("meanwhile"))
            await restart
            await eventually("all are back", lambda: all(client.io.connected for client in clients))
            assert [client.cuts for client in theirs] == [1] * len(theirs)
            assert not any(client.cuts for client in others), "only the clients of that server were cut off"
        await asyncio.to_thread(stack.until_ready)
        async with chatting(stack.url, 12) as clients:
            await everyone_hears_everyone(clients, "after")

    asyncio.run(chat())


def test_the_broker_may_restart(stack: Stack) -> None:
    """The broker restarts under the clients: nobody is cut off, and messages cross servers again."""

    async def chat() -> None:
        async with chatting(stack.url, 8) as clients:
            await asyncio.to_thread(run, "docker", "restart", stack.container("broker"))
            await asyncio.to_thread(stack.until_ready)
            await everyone_hears_everyone(clients, "again")
            assert not any(client.cuts for client in clients)

    asyncio.run(chat())


def test_it_stops_gracefully(stack: Stack) -> None:
    """`stop` with clients connected takes seconds, and every container ends by itself, with exit code 0."""

    async def stop() -> float:
        async with chatting(stack.url, 4):
            began = time.monotonic()
            await asyncio.to_thread(stack, "stop")
            return time.monotonic() - began

    took = asyncio.run(stop())
    codes = {service: known["State"]["ExitCode"] for service, known in stack.containers().items()}
    assert codes == dict.fromkeys(codes, 0)
    assert took < 25
