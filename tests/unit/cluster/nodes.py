"""Several nodes in one process, joined by a hub in memory, for the tests of the cluster."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from tests.internals import link

from shoal import Server
from shoal.bus import MemoryBus, MemoryHub
from shoal.cluster.messages import Message, decode
from shoal.testing import TestClient, TestServer

_names = itertools.count()


class Node:
    """A server of a cluster, and the test server that it runs in."""

    def __init__(self, io: Server, server: TestServer) -> None:
        self.io = io
        self.server = server
        self.link = link(io)
        assert isinstance(self.link.bus, MemoryBus)
        self.bus: MemoryBus = self.link.bus

    async def connect(self, *rooms: str, namespace: str = "/", **options: Any) -> TestClient:
        """A client that is in `rooms`."""
        client = await self.server.connect(namespace, **options)
        await self.io.of(namespace).sockets[client.id].join(*rooms)
        return client


class Cluster(list[Node]):
    """The nodes, and the hub between them."""

    def __init__(self, hub: MemoryHub) -> None:
        super().__init__()
        self.hub = hub
        self.spy = MemoryBus(hub)
        self.heard: list[tuple[str, bytes]] = []
        """What the spy heard on the channels that it listens on."""

    def channels(self, node: Node) -> set[str]:
        """What a node hears: the hub's subscriptions, not the node's own idea of them."""
        return {channel for channel, listeners in self.hub._listeners.items() if node.bus in listeners}

    async def settle(self) -> None:
        await self[0].server.settle()

    def messages(self) -> list[tuple[str, Message]]:
        return [(channel, decode(payload)) for channel, payload in self.heard]


@contextlib.asynccontextmanager
async def cluster(*servers: Server | str, **options: Any) -> AsyncIterator[Cluster]:
    """Run servers as one cluster. A name stands for a server of that name; all must share `broker`."""
    broker = f"memory://unit-{next(_names)}"
    nodes = Cluster(MemoryHub.named(broker.removeprefix("memory://")))
    async with contextlib.AsyncExitStack() as stack:
        await nodes.spy.start(lambda channel, payload: nodes.heard.append((channel, payload)), lambda up: None)
        stack.push_async_callback(nodes.spy.close)
        for each in servers:
            io = Server(node=each, broker=broker, **options) if isinstance(each, str) else each
            nodes.append(Node(io, await stack.enter_async_context(TestServer(io))))
        if servers:
            await nodes.settle()
        yield nodes
