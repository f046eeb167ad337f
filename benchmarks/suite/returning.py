"""A crowd whose node is killed comes back to the other nodes, while others go on to talk: the load of one measurement.

A program of its own, on the core of the load. Its clients speak the protocol as the official one does, keep `pid` and
offset, and wait as long before they connect again: a second, half a second more or less, and twice as long after each
failure, up to five. Every text is numbered by who says it, and followed to everyone who is to hear it.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import orjson

from shoal.load.frames import masked_text, split
from suite.machine import cpu_seconds

try:
    import uvloop
except ImportError:
    uvloop = None

HOST = "127.0.0.1"
# Of socket.io-client: reconnectionDelay, reconnectionDelayMax, randomizationFactor.
DELAY, MAX_DELAY, DEVIATION = 1.0, 5.0, 0.5
CONNECTING = 32  # clients that come at one time before the test; afterwards nobody holds them back
START_SECONDS = 60.0
SETTLE_SECONDS = 5.0  # for what is under way at the end
HEAD = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@dataclass
class Heard:
    """What went wrong with texts on their way, and how long those took that talkers heard."""

    lost: int = 0
    duplicates: int = 0
    reordered: int = 0
    received: int = 0
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """When it came, and seconds since it was due."""


class Client(asyncio.Protocol):
    """One client of the official kind, in a room with others.

    Args:
        number: Its own.
        ports: Of the nodes that it may be sent to; each time one of them, by chance.
        heard: Where it counts.
        is_talker: Whether its latencies count.
        own_rooms: How many rooms it is in that nobody else is in.
        pause: Seconds that it stays away beyond what the official client waits.
    """

    def __init__(
        self,
        number: int,
        room: str,
        ports: Sequence[int],
        heard: Heard,
        is_talker: bool,
        own_rooms: int = 0,
        pause: float = 0.0,
    ) -> None:
        self.number = number
        self.room = room
        self.own_rooms = own_rooms
        self.ports = ports
        self.sid = self._pid = self._offset = ""
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.attempts = 0
        self.began_at = self.returned_at = 0.0
        """When it first tried to come back, and when the server had accepted it again."""
        self.outcome = ""
        """`recovered` or `anew`, once it is back."""
        self.expected: dict[int, int] = {}
        self._missing: set[tuple[int, int]] = set()
        self._heard = heard
        self._is_talker = is_talker
        self._pause = pause
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._open = self._closing = False
        self._failures = 0
        self._again: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    # ---- for the test

    async def connect(self) -> None:
        """Connect to one of the nodes; failing that, again later."""
        self._open, self._rest = False, b""
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, HOST, random.choice(self.ports))
        except OSError:
            self._come_again()

    def send(self, packet: bytes) -> None:
        if self._transport is not None:
            self._transport.write(masked_text(packet))

    def say(self, number: int, due: float, size: int, room: str = "") -> None:
        text = f"{self.number} {number} {due:.6f} ".ljust(size, ".")
        self.send(b"42" + orjson.dumps(["say", room or self.room, text]))

    async def join(self, rooms: Sequence[str]) -> None:
        """Return when it is in them."""
        self.joined = asyncio.get_running_loop().create_future()
        self._join(rooms)
        await self.joined

    def _join(self, rooms: Sequence[str]) -> None:
        """In order; it waits for the acknowledgement of the last, which has the id 0."""
        for left, room in zip(range(len(rooms) - 1, -1, -1), rooms, strict=True):
            self.send(b"42%d" % left + orjson.dumps(["join", room]))

    def close(self) -> None:
        self._closing = True
        for each in (self._again, self._connecting):
            if each is not None:
                each.cancel()
        if self._transport is not None:
            self._transport.abort()

    def lacks(self, said: dict[int, int]) -> int:
        """How many of the texts in its room it has not heard."""
        return len(self._missing) + sum(count - self.expected.get(talker, 0) for talker, count in said.items())

    # ---- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._open:
            self._failures = 0
        self._come_again()

    def _come_again(self) -> None:
        if self._closing:
            return
        delay = DELAY * 2**self._failures * random.uniform(1 - DEVIATION, 1 + DEVIATION)
        self._failures += 1
        loop = asyncio.get_running_loop()
        self._again = loop.call_later(min(MAX_DELAY, delay) + self._pause, self._reconnect)

    def _reconnect(self) -> None:
        self.began_at = self.began_at or time.monotonic()
        self.attempts += 1
        self._connecting = asyncio.get_running_loop().create_task(self.connect())

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            self._open = head.startswith(b"HTTP/1.1 101")
            if not self._open:
                self.drop()
                return
        packets, end = split(data)
        self._rest = data[end:]
        for packet in packets:
            self._take(packet)
        if self._rest[:1] == b"\x88":
            self.drop()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ---- packets

    def _take(self, packet: bytes) -> None:
        if packet.startswith(b"42"):
            self._event(orjson.loads(packet[2:]))
        elif packet == b"2":
            self.send(b"3")
        elif packet.startswith(b"0"):
            shown = {"pid": self._pid, "offset": self._offset} if self._offset else {"pid": self._pid}
            self.send(b"40" + (orjson.dumps(shown) if self._pid else b""))
        elif packet.startswith(b"40"):
            self._accepted(orjson.loads(packet[2:]))
        elif packet.startswith(b"430[") and not self.joined.done():
            self.joined.set_result(None)
        elif packet[:2] in (b"41", b"44"):
            self.drop()

    def _accepted(self, identity: dict[str, str]) -> None:
        if self.sid:
            self.returned_at = time.monotonic()
            self.outcome = "recovered" if identity["sid"] == self.sid else "anew"
        if self.outcome != "recovered":
            self._join([*[f"of-{self.number}-{each}" for each in range(self.own_rooms)], self.room])
        self.sid, self._pid = identity["sid"], identity.get("pid", "")

    def _event(self, event: list[Any]) -> None:
        if self._pid and isinstance(event[-1], str):
            self._offset = event[-1]
        talker, number, due = event[1].partition(": ")[2].split(None, 3)[:3]
        self._follow(int(talker), int(number))
        if self._is_talker:
            now = time.monotonic()
            self._heard.latencies.append((now, now - float(due)))

    def _follow(self, talker: int, number: int) -> None:
        heard, expected = self._heard, self.expected.get(talker, 0)
        heard.received += 1
        if number >= expected:
            self._missing.update((talker, each) for each in range(expected, number))
            self.expected[talker] = number + 1
        elif (talker, number) in self._missing:
            self._missing.remove((talker, number))
            heard.reordered += 1
        else:
            heard.duplicates += 1


class Talk:
    """What some clients say, each in its room, all of them together `rate` texts of `size` bytes a second."""

    def __init__(self, talkers: Sequence[Client], rate: float, size: int) -> None:
        self.said: dict[int, int] = {talker.number: 0 for talker in talkers}
        self._talkers = talkers
        self._rate = rate
        self._size = size
        self._ends = False

    async def run(self) -> None:
        due, turn = time.monotonic(), 0
        while not self._ends:
            await asyncio.sleep(due - time.monotonic())
            talker = self._talkers[turn % len(self._talkers)]
            talker.say(self.said[talker.number], due, self._size)
            self.said[talker.number] += 1
            due, turn = due + 1 / self._rate, turn + 1

    def end(self) -> None:
        self._ends = True

    def in_room(self, room: str) -> dict[int, int]:
        return {talker.number: self.said[talker.number] for talker in self._talkers if talker.room == room}


async def measure(
    ports: Sequence[int],
    kill: Callable[[], object],
    pids: Sequence[int] = (),
    *,
    clients: int,
    others: int,
    rooms: int,
    rate: float,
    seconds: float = 2.0,
    own_rooms: int = 1,
    size: int = 64,
    pause: float = 0.0,
    patience: float = 60.0,
) -> dict[str, Any]:
    """Let the clients of the first port's node come back.

    Args:
        ports: Of the nodes. The first is that of the one that is killed.
        kill: Kills it.
        pids: Of the nodes, in their order, and of the broker: for their processor time.
        clients: How many are on the node that is killed, and how many on the others.
        rooms: All are spread over them.
        rate: Texts a second of the others together.
        own_rooms: Of each client, beside that.
        size: Bytes of a text.
        pause: Seconds that the crowd stays away beyond what the official client waits.
        seconds: Before the kill, and after the last has come back.
        patience: Seconds after the kill for all to be back.
    """
    heard = Heard()
    first, rest = list(ports[:1]), list(ports[1:])
    crowd = [Client(n, f"room-{n % rooms}", first, heard, False, own_rooms, pause) for n in range(clients)]
    talkers = [Client(n, f"room-{n % rooms}", [rest[n % len(rest)]], heard, True) for n in range(others)]
    async with asyncio.timeout(START_SECONDS):
        await come([*crowd, *talkers])
    for client in crowd:
        client.ports = rest
    talk = Talk(talkers, rate, size)
    talking = asyncio.create_task(talk.run())
    try:
        await asyncio.sleep(seconds / 2)  # does not count
        quiet_from = time.monotonic()
        await asyncio.sleep(seconds)
        killed_at, cpu = time.monotonic(), [cpu_seconds([pid]) for pid in pids[1:]]
        own = time.process_time()
        kill()
        await _wait(lambda: all(client.outcome for client in crowd), patience)
        end = max([client.returned_at for client in crowd if client.outcome], default=time.monotonic())
        used = [round(cpu_seconds([pid]) - before, 3) for pid, before in zip(pids[1:], cpu, strict=True)]
        own = time.process_time() - own
        await asyncio.sleep(seconds)
        talk.end()
        await talking
        rooms_said = {client.room: talk.in_room(client.room) for client in crowd}
        lacking = [client for client in [*crowd, *talkers] if client.room in rooms_said]
        await _wait(lambda: not any(client.lacks(rooms_said[client.room]) for client in lacking), SETTLE_SECONDS)
    finally:
        talking.cancel()
        for client in [*crowd, *talkers]:
            client.close()
    heard.lost = sum(client.lacks(rooms_said[client.room]) for client in lacking)
    outcomes = [client.outcome for client in crowd]
    return {
        "clients": clients,
        "recovered": outcomes.count("recovered"),
        "anew": outcomes.count("anew"),
        "missing": outcomes.count(""),
        "not_recovered": clients - outcomes.count("recovered"),
        "attempts": sum(client.attempts for client in crowd),
        "all_back_s": round(end - killed_at, 3),
        "return_s": _percentiles([c.returned_at - c.began_at for c in crowd if c.outcome], 1),
        "others_before_ms": _percentiles([took for at, took in heard.latencies if quiet_from <= at < killed_at], 1e3),
        "others_ms": _percentiles([took for at, took in heard.latencies if killed_at <= at <= end], 1e3),
        "received": heard.received,
        "lost": heard.lost,
        "duplicates": heard.duplicates,
        "reordered": heard.reordered,
        "servers_cpu_s": used,
        "load_cpu": round(own / (end - killed_at), 3),
    }


async def come(clients: Iterable[Client]) -> None:
    """Let them connect and join, a few at a time."""
    gate = asyncio.Semaphore(CONNECTING)

    async def come(client: Client) -> None:
        async with gate:
            await client.connect()
            await client.joined

    await asyncio.gather(*map(come, clients))


async def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


def _percentiles(values: Iterable[float], factor: float) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    points = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(factor * ordered[int(share * (len(ordered) - 1))], 3) for name, share in points.items()}


def main() -> int:
    """Measure as the command line says; print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = lambda text: [int(each) for each in text.split(",")]  # noqa: E731
    parser.add_argument("--ports", type=numbers, required=True)
    parser.add_argument("--pids", type=numbers, required=True, help="of the nodes, in their order, and of the broker")
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--others", type=int, default=200)
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--own-rooms", type=int, default=1, help="rooms of each client that nobody else is in")
    parser.add_argument("--size", type=int, default=64, help="bytes of a text")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that the crowd stays away beyond its delay")
    parser.add_argument("--patience", type=float, default=60.0)
    options = vars(parser.parse_known_args()[0])
    ports, pids = options.pop("ports"), options.pop("pids")
    run = asyncio.run if uvloop is None else uvloop.run
    print(json.dumps(run(measure(ports, lambda: os.kill(pids[0], signal.SIGKILL), pids, **options))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
