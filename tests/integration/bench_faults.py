"""A small Socket.IO server that does what a good one must not: it drops, doubles, swaps or cuts off, exactly as told.

It exists to see whether a load tester notices. It knows the chat's event and nothing else of Socket.IO.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from websockets.asyncio.server import ServerConnection, serve

Fault = Literal["none", "drop", "double", "swap", "close", "silent", "refuse", "deaf sender"]

OPEN = '0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
EVERY = 10  # messages between two faults


@asynccontextmanager
async def faulty_server(fault: Fault) -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """Serve on a free port; gives the port, and how many faults there have been so far.

    A fault concerns every tenth message on its way to the client that connected last.
    """
    chat = _Chat(fault)
    async with serve(chat.handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        yield server.sockets[0].getsockname()[1], lambda: chat.faults


class _Chat:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.faults = self.messages = 0
        self.members: list[ServerConnection] = []
        self.held: str | None = None

    async def handle(self, peer: ServerConnection) -> None:
        await peer.send(OPEN)
        async for data in peer:  # until the client says goodbye
            packet = str(data)
            if packet == "40" and self.fault == "refuse":
                await peer.send('44{"message":"closed today"}')
            elif packet == "40":
                self.members.append(peer)
                await peer.send('40{"sid":"b"}')
            elif packet.startswith("42"):
                await self.broadcast(peer, json.loads(packet[2:])[1])

    async def broadcast(self, sender: ServerConnection, text: str) -> None:
        self.messages += 1
        packet = f"42{json.dumps(['chat-message', text], separators=(',', ':'))}"
        for member in self.members:
            if self.fault == "silent" or (self.fault == "deaf sender" and member is sender):
                continue
            for each in self.what_arrives(packet) if member is self.members[-1] else [packet]:
                await member.send(each)
        if self.fault == "close" and self.messages == EVERY:
            self.faults += 1
            await self.members.pop().close(1011, "enough")

    def what_arrives(self, packet: str) -> list[str]:
        if self.held is not None:
            held, self.held = self.held, None
            return [packet, held]
        if self.messages % EVERY or self.fault not in {"drop", "double", "swap"}:
            return [packet]
        self.faults += 1
        if self.fault == "swap":
            self.held = packet
        return [packet, packet] if self.fault == "double" else []
