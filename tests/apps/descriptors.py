"""The application behind the test of descriptors. It opens and closes files all the while, so that numbers are reused,
and looks at each write past a transport before it happens: is that number still the socket that it was claimed for?
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from typing import Any

from shoal import Server
from shoal.fanout import writer
from shoal.fastlane import repeated
from shoal.fastlane import websocket as fastlane

io = Server(node="descriptors", broker="memory://", max_outbox=200_000)
claimed: set[int] = set()
tasks: list[asyncio.Task[None]] = []
seen = {"past": 0, "by_ring": 0, "astray": 0, "files": 0, "reused": 0, "spoilt": 0, "answers": 0}
claim, write = fastlane.claim_descriptor, writer.os_write


class Claim(int):
    """A descriptor as one outbox keeps it, and the inode of the socket that it was claimed for."""

    inode: int


def noting_claim(transport: Any) -> int:
    """Half of the sockets take little at a time."""
    descriptor = Claim(claim(transport))
    if descriptor >= 0:
        claimed.add(descriptor)
        descriptor.inode = os.fstat(descriptor).st_ino
        if random.random() < 0.5:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    return descriptor


def look_at(descriptor: Claim) -> None:
    try:
        seen["astray"] += os.fstat(descriptor).st_ino != descriptor.inode
    except OSError:
        seen["astray"] += 1


def suspicious_write(descriptor: Claim, data: bytes) -> int:
    seen["past"] += 1
    seen["answers"] += data.startswith(b"HTTP/1.1 200")
    look_at(descriptor)
    return write(descriptor, data)


class SuspiciousRing(writer.Ring):
    def send_all(self, descriptors: list[Claim], data: bytes) -> list[int] | None:  # type: ignore[override]
        self._look_at(descriptors)
        return super().send_all(descriptors, data)

    def send_each(self, descriptors: list[Claim], pieces: list[bytes]) -> list[int] | None:  # type: ignore[override]
        self._look_at(descriptors)
        seen["answers"] += sum(piece.startswith(b"HTTP/1.1 200") for piece in pieces)
        return super().send_each(descriptors, pieces)

    def _look_at(self, descriptors: list[Claim]) -> None:
        seen["by_ring"] += len(descriptors)
        for descriptor in descriptors:
            look_at(descriptor)


fastlane.claim_descriptor = repeated.claim_descriptor = noting_claim  # type: ignore[assignment]
writer.os_write = suspicious_write  # type: ignore[assignment]
writer.Ring = SuspiciousRing  # type: ignore[misc]
writer.RING_FROM = 2  # type: ignore[misc]


async def churn() -> None:
    """Keep some files open, for a moment each. Whatever is written to one is somebody's message astray."""
    files: list[int] = []
    dice = random.Random(1)
    while True:
        for _ in range(dice.randrange(8)):
            files.append(os.memfd_create("file"))
            seen["files"] += 1
            seen["reused"] += files[-1] in claimed
        while len(files) > 100:
            file = files.pop(dice.randrange(len(files)))
            seen["spoilt"] += os.fstat(file).st_size > 0
            os.close(file)
        await asyncio.sleep(0)


async def talk() -> None:
    """Numbered broadcasts, alone in their turn or with others; some are larger than a socket takes."""
    dice = random.Random(2)
    number = 0
    while True:
        for _ in range(dice.choice([1, 1, 1, 3])):
            io.to("all").emit("said", number, "x" * dice.choice([10, 10, 10, 10, 30_000]))
            number += 1
        if dice.random() < 0.3:
            io.emit("said", number, "")
            number += 1
        await asyncio.sleep(dice.choice([0, 0, 0.001]))


@io.on("begin")
async def begin(client):
    tasks.extend([asyncio.create_task(churn()), asyncio.create_task(talk())])


@io.on("join")
async def join(client):
    await client.join("all")


@io.on("kick")
async def kick(client):
    await client.disconnect(close=True)


@io.on("seen")
def tell(client):
    return seen
