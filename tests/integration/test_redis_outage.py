"""`redis://` through losses of the broker and of links, four nodes whose clients talk: what they said meanwhile comes.

The broker is a real one. A client hears what others say to its room; each sender numbers what it says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.brokers import Broker
from tests.integration.test_streams import real_time, until
from tests.internals import link

from shoal import Server
from shoal.cluster.gathering import GATHERING_TIME
from shoal.testing import TestClient, TestServer

NODES = 4
PACE = 0.01  # seconds from one message of a client to its next
AWAY = 5.0  # seconds that the broker is away

pytestmark = pytest.mark.calm  # "all links are back within a second" is a statement on a machine with little to do


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


class Talk:
    """Four nodes with one client each, all in one room."""

    def __init__(self, servers: list[Server], clients: list[TestClient]) -> None:
        self.servers = servers
        self.clients = clients
        self.said = 0
        self.heard: list[dict[int, list[int]]] = [defaultdict(list) for _ in clients]
        for client, heard in zip(clients, self.heard, strict=True):
            client.on("said")(lambda sender, number, heard=heard: heard[sender].append(number))

    async def on(self, seconds: float) -> None:
        """Let all talk for so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            for sender, client in enumerate(self.clients):
                client.send("say", sender, self.said)
            self.said += 1
            await asyncio.sleep(PACE)

    def lost(self) -> dict[tuple[int, int], list[int]]:
        """What was not heard, by listener and sender."""
        everything = set(range(self.said))
        pairs = [(listener, sender) for listener in range(NODES) for sender in range(NODES)]
        found = {pair: sorted(everything - set(self.heard[pair[0]][pair[1]])) for pair in pairs}
        return {pair: numbers for pair, numbers in found.items() if numbers}

    async def is_over(self) -> None:
        """All that was said has been heard, once and in order."""
        with contextlib.suppress(TimeoutError):
            await until(lambda: not self.lost(), 5.0)
        assert not self.lost(), [io.stats.broker for io in self.servers]
        for heard in self.heard:
            for numbers in heard.values():
                assert numbers == list(range(self.said))

    @property
    def reconnects(self) -> list[int]:
        return [io.stats.broker.reconnects for io in self.servers]

    @property
    def all_up(self) -> bool:
        return all(link(io).up for io in self.servers)


def server(broker: Broker, name: str, **options: Any) -> Server:
    io = Server(node=name, broker=broker.url, **options)

    @io.on("connect")
    async def connect(socket: Any) -> None:
        await socket.join("all")

    io.on("echo")(lambda socket, *args: args[0])

    @io.on("say")
    def say(socket: Any, sender: int, number: int) -> None:
        io.to("all").emit("said", sender, number)

    return io


@contextlib.asynccontextmanager
async def talk(broker: Broker, **options: Any) -> AsyncIterator[Talk]:
    servers = [server(broker, f"node {number}", **options) for number in range(NODES)]
    async with contextlib.AsyncExitStack() as stack:
        running = [await stack.enter_async_context(TestServer(io)) for io in servers]
        await until(lambda: all(len(link(io).peers.names()) == NODES - 1 for io in servers))
        yield Talk(servers, [await each.connect() for each in running])


@real_time
async def test_a_broker_that_is_restarted_costs_nothing(broker: Broker) -> None:
    """Killed and started again after 5 s while all talk: each hears all that was said, once and in order."""
    async with talk(broker) as talking:
        await talking.on(0.5)
        away = asyncio.create_task(talking.on(AWAY + 2.0))
        broker.kill()
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(broker.start)
        await until(lambda: talking.all_up, 1.0)
        await away
        await talking.is_over()
        assert sum(io.stats.broker.dropped for io in talking.servers) == 0


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
@real_time
async def test_links_that_are_all_cut_cost_nothing(broker: Broker, kind: str) -> None:
    """Subscribers or publishers, of all nodes at once: they are back within moments, and all is heard."""
    async with talk(broker) as talking:
        await talking.on(0.7)
        for cut in range(1, 4):
            more = asyncio.create_task(talking.on(0.7))
            await asyncio.sleep(0.05)
            broker.command("CLIENT", "KILL", "TYPE", kind)
            await until(lambda cut=cut: talking.reconnects == [cut] * NODES, 0.5)
            await more
        await talking.is_over()


@real_time
async def test_one_subscriber_that_is_cut_misses_little(broker: Broker) -> None:
    """The broker is there, and others talk on: the node is away for a moment, and nobody else misses anything."""
    async with talk(broker) as talking:
        await talking.on(0.7)
        more = asyncio.create_task(talking.on(0.7))
        lines = broker.command("CLIENT", "LIST").decode().splitlines()
        victim = next(line for line in lines if "shoal:subscriber" in line)
        broker.command("CLIENT", "KILL", "ID", victim.split()[0].partition("=")[2])
        await until(lambda: sum(talking.reconnects) == 1, 0.5)
        await more
        await asyncio.sleep(0.2)
        lost = talking.lost()
        assert len({listener for listener, _ in lost}) <= 1
        assert all(len(numbers) <= 0.2 / PACE for numbers in lost.values()), lost


@real_time
async def test_what_is_said_meanwhile_is_bounded(broker: Broker) -> None:
    """Beyond ``broker_buffer`` the oldest is dropped and counted; clients are served meanwhile, the newest comes."""
    async with talk(broker, broker_buffer=20_000) as talking:
        witness, listener = talking.clients[0], talking.clients[1]
        broker.kill()
        await until(lambda: not talking.all_up)
        for number in range(1_000):
            talking.servers[0].to("all").emit("said", 0, number)
            await asyncio.sleep(0)  # what one turn says is one message
        async with asyncio.timeout(2.0):
            assert await witness.call("echo", "well?") == "well?"
        assert talking.heard[0][0] == list(range(1_000))
        await asyncio.to_thread(broker.start)
        await until(lambda: talking.heard[1][0][-1:] == [999])
        assert listener.connected
        dropped = talking.servers[0].stats.broker.dropped
        assert dropped > 500
        assert len(talking.heard[1][0]) < 500


@real_time
async def test_a_node_that_dies_meanwhile_is_waited_for_shortly(broker: Broker) -> None:
    """The others hear what was said with a delay, and it is counted; clients are served, and hear their own node."""
    async with talk(broker) as talking:
        witness = talking.clients[0]
        broker.kill()
        await until(lambda: not any(link(io).up for io in talking.servers))
        await link(talking.servers[3]).bus.close()
        talking.servers[0].to("all").emit("said", 0, 0)
        await asyncio.to_thread(broker.start)
        await until(lambda: all(link(io).up for io in talking.servers[:3]), 1.0)
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(GATHERING_TIME / 2):
            assert await witness.call("echo", "well?") == "well?"
            talking.servers[0].to("all").emit("said", 0, 1)
            await until(lambda: talking.heard[0][0] == [0, 1])
        assert talking.heard[1][0] == []
        await until(lambda: talking.heard[1][0] == talking.heard[2][0] == [0, 1])
        assert asyncio.get_running_loop().time() - began < GATHERING_TIME + 0.5
        assert talking.servers[0].stats.broker.unheard >= 2
