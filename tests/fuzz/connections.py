"""Targets that are one connection in memory: WebSocket frames, HTTP up to the upgrade, and a broker's replies.

The bytes are cut into reads at random places that they themselves name. Where there are two ways through, both must
end with the same.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from tests.fuzz.harness import no_errors_logged, target
from tests.unit.fastlane.test_first_bytes import Harness
from tests.unit.fastlane.test_websocket import Lane, Seen, by_websockets
from websockets.utils import accept_key

from shoal.bus.base import BusStats
from shoal.bus.redis_publish import Publisher, PublishLink
from shoal.bus.redis_subscribe import SubscribeLink, Subscriptions
from shoal.bus.redis_wire import RedisLink
from shoal.load.frames import FrameClient
from shoal.testing import Clock, run

logging.getLogger("uvicorn").addHandler(logging.NullHandler())  # it says of each bad request that it is one

MAX_HEARD = 64
"""Reads of one input."""


def reads(data: bytes) -> list[bytes]:
    """Everything behind the first byte, in pieces of the size that this byte says; 0 is one piece."""
    size = max(data[0], (len(data) - 2) // MAX_HEARD + 1) if data[:1] > b"\0" else max(1, len(data))
    return [data[start : start + size] for start in range(1, len(data), size)]


@target(mutations=250)
def websocket_frames(data: bytes) -> None:
    """A client's frames on the fast lane: what `websockets` alone makes of them, whole and in pieces.

    Zeros behind them complete any header: of half a header `websockets` may say what is wrong earlier than we do.
    """
    data = data.ljust(1, b"\0") + bytes(14)
    stream = data[1:]
    theirs = by_websockets(stream)
    with no_errors_logged():
        ours = [run(on_the_fast_lane(each)) for each in ([stream], reads(data))]
    assert ours[0].messages == ours[1].messages
    if all(kind == "BINARY" or message.startswith(b"4") for kind, message in theirs.messages):
        assert ours[0].messages == theirs.messages
        assert ours[0].sent == ours[1].sent == theirs.sent


async def on_the_fast_lane(pieces: list[bytes]) -> Seen:
    it = Lane()
    for piece in pieces:
        if piece and not it.transport.aborted:
            it.lane.data_received(piece)
            await Clock.running().settle()
    seen = it.end()
    assert len(it.reasons) == 1
    assert not it.engine.sessions
    assert not it.connections
    return seen


@target(mutations=150)
def http_connection(data: bytes) -> None:
    """A new connection from its first byte, through uvicorn's HTTP or past it, to a session and its frames."""
    with no_errors_logged():
        run(to_its_end(data))


async def to_its_end(data: bytes) -> None:
    ends = []
    for short_cut in (True, False):
        harness = Harness(short_cut=short_cut)
        for read in reads(data) or [b"\r\n"]:
            harness.receive(read)
        ends.append(await harness.end())
        assert len(harness.engine.context.wheel) == 0
    assert ends[0] == ends[1]


class Broker:
    """The socket of a broker, in memory."""

    def __init__(self) -> None:
        self.link: RedisLink | None = None
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def abort(self) -> None:
        if self.link is not None:
            asyncio.get_running_loop().call_soon(self.link.connection_lost, None)


@target(mutations=500)
def redis_replies(data: bytes) -> None:
    """What a broker, or who knows what, answers to the greeting; then what it sends to each of the two links.

    The first line is how many answers the greeting gets from the bytes. Lists of a million are a broker's to make.
    """
    if any(sign + b"%d" % digit in data for sign in (b"*", b">", b"%", b"~", b"|") for digit in range(1, 10)) and any(
        len(line.lstrip(b"*>%~|+0123456789\x00 ")) == 0 and len(line) > 5 for line in data.split(b"\r\n")
    ):
        return
    with no_errors_logged():
        run(hear_broker(reads(data)))


async def hear_broker(pieces: list[bytes]) -> None:
    stats, reasons = BusStats(), list[str]()
    heard: list[tuple[str, bytes]] = []
    subscriptions = Subscriptions(stats, "probe")
    subscriptions.on_message = lambda channel, payload: heard.append((channel, payload))
    subscriptions.add("room")
    publisher = Publisher(10_000, stats, "broker")
    links: list[RedisLink] = [
        SubscribeLink(subscriptions, reasons.append),
        PublishLink(publisher, reasons.append),
        RedisLink("greeting", reasons.append, read_size=1024),
    ]
    for link in links:
        broker: Any = Broker()
        broker.link = link
        link.connection_made(broker)
        if link.role != "greeting":
            link._greeted = None
        else:
            link._expected = 3
        if isinstance(link, SubscribeLink):
            subscriptions.attach(link)
        for piece in pieces:
            if link._transport is not None:
                link.get_buffer(-1)[: len(piece)] = piece
                link.buffer_updated(len(piece))
    await Clock.running().settle()
    for link in links:
        await link.close()
    subscriptions.close()
    assert len(reasons) <= 2
    assert all(channel == "room" for channel, _ in heard)
    assert stats.received == len(heard)


@target(mutations=800)
def load_frames(data: bytes) -> None:
    """What a server sends to a client of ``shoal bench``: its answer to the handshake if the first byte is ``h``."""
    ends = []
    for pieces in ([data[1:]], reads(data)):
        client = FrameClient("ws://localhost/")
        messages = client.feed(b"" if data[:1] == b"h" else agreement(client))
        for piece in pieces:
            if client.failure is None:
                messages += client.feed(piece)
                client.to_send()
        ends.append((messages, client.open, client.failure is None))
        client.close()
    assert ends[0] == ends[1]


def agreement(client: FrameClient) -> bytes:
    key = client.to_send().partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
    lines = "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept_key(key)}", "", ""]).encode()
