"""Targets that are a machine: the bytes are a script of legal and illegal calls, in any order.

Each line of a script is a letter, a digit and an argument; see :func:`.harness.steps`. Whatever happens, a client that
has nothing to do with it is served, and at the end nothing is left in any table.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from tests.fuzz.harness import no_errors_logged, steps, target
from tests.internals import clients, link, runners, sites
from tests.unit.asgi.polling import Pending, Poller, Upgrade
from tests.unit.engine.test_session_orders import Life

from shoal import Server
from shoal.bus import MemoryHub
from shoal.cluster.messages import Hello, Message, encode
from shoal.errors import ConnectionRefused, EngineProtocolError
from shoal.protocol.session import MOVES, Heartbeat, Move, Session, State
from shoal.server.engine import Engine
from shoal.testing import TestClient, TestConnection, TestServer, run

WAITS = (0.0, 0.1, 0.5, 1.0, 3.0, 5.0, 9.0, 11.0, 16.0, 50.0)
"""Seconds, by a step's digit."""
MOST_STEPS = 40
PEER = "abcdef"
"""Tag of the node that says what a script of messages says."""
CHANNELS = ("shoal#", "shoal##/#", "shoal#/#", "shoal#/#witness#")
BETWEEN = b"\n--\n"
"""Parts such messages."""
OTHERS = 4
"""Connections that a script can have at once."""


@target(mutations=1500)
def session_states(data: bytes) -> None:
    """The table of states and the heartbeat: m move, b look at the clock, p pong, with the time that has passed."""
    now = 100.0
    session = Session("sid", (State.POLLING, State.WEBSOCKET)[len(data) % 2], now, 25.0, 20.0)
    for letter, digit, _ in steps(data, 200):
        now += WAITS[digit]
        before, due, pinged = session.state, session.due, session.pinged
        if letter == "b":
            beat = session.check_heartbeat(now)
            assert (beat is Heartbeat.NOTHING) == (before is State.CLOSED or now < due)
            assert (beat is Heartbeat.TIMEOUT) <= pinged
            assert session.pinged == (pinged or beat is Heartbeat.PING)
        elif letter == "p":
            session.pong(now)
            assert session.due == (now + 25.0 if pinged else due)
        else:
            move = list(Move)[ord(letter) % len(Move)]
            with contextlib.suppress(EngineProtocolError):
                session.move(move)
                assert session.state is MOVES[before, move]
            assert session.state is MOVES.get((before, move), before)
        assert before is not State.CLOSED or session.state is State.CLOSED
        assert session.transport == ("websocket" if session.state is State.WEBSOCKET else "polling")


@target(mutations=150)
def engine_session(data: bytes) -> None:
    """One session of an engine, on polling and up: nothing is lost, doubled or out of order while it lives."""

    async def main() -> None:
        engine = Engine(ping_interval=10, ping_timeout=5, upgrade_timeout=4, close_timeout=2)
        async with TestServer(engine) as server:
            life = Life(engine, server)
            await life.poller.open()
            for letter, digit, argument in steps(data, MOST_STEPS):
                await take_step(life, letter, digit, argument)
                await server.settle()
                if life.session is not None and life.session.state is State.PROBING:
                    assert any(each.socket.open for each in life.sockets), "the upgrade is lost, and nobody noticed"
            await life.finish()
            await life.end()

    with no_errors_logged():
        run(main())


class Unheard(list[str]):
    """Stands for what the server got, once the script itself has sent what may be a message."""

    def append(self, message: str) -> None: ...


async def take_step(life: Life, letter: str, digit: int, argument: bytes) -> None:
    orders: dict[str, Callable[[], Any]] = {
        "g": life.poll,
        "m": lambda: life.post("message"),
        "r": lambda: life.posts.append(asyncio.ensure_future(life.poller.request("POST", argument))),
        "s": life.send,
        "o": life.open_websocket,
        "f": lambda: life.frame(digit, argument.decode("utf-8", "replace") or "message"),
        "b": lambda: digit < len(life.sockets) and life.sockets[digit].send(argument),
        "d": lambda: life.drop(digit),
        "c": life.cancel_poll,
        "w": lambda: life.wait(WAITS[digit]),
        "p": life.pause,
        "u": life.resume,
        "x": life.close,
        "a": life.abort,
    }
    order = letter if letter in orders else list(orders)[ord(letter) % len(orders)]
    if order in "rb" or (order == "f" and argument[:1] not in (b"", b"2", b"3", b"5")):
        life.got = Unheard()
    result = orders[order]()
    if isinstance(result, Awaitable):
        await result


class Crowd:
    """A server, a client that only wants its echo, and others that do as the script says."""

    def __init__(self, io: Server, server: TestServer) -> None:
        self.io = io
        self.server = server
        self.sockets: dict[int, TestConnection] = {}
        self.pollers: dict[int, Poller] = {}
        self.upgrades: dict[int, Upgrade] = {}
        self.requests: list[Pending] = []
        self.calls: list[asyncio.Task[Any]] = []

    async def open(self, number: int, argument: bytes) -> None:
        if number not in self.sockets and number not in self.pollers:
            self.sockets[number] = await self.server.open()

    async def open_polling(self, number: int, argument: bytes) -> None:
        if number not in self.sockets and number not in self.pollers:
            self.pollers[number] = await Poller(self.server).open()

    async def upgrade(self, number: int, argument: bytes) -> None:
        if number in self.pollers and number not in self.upgrades:
            with contextlib.suppress(ConnectionRefused):
                self.upgrades[number] = await self.pollers[number].upgrade()

    async def text(self, number: int, argument: bytes) -> None:
        """One packet, or a body of them where the client polls and has no WebSocket."""
        socket = self.sockets.get(number) or self.upgrades.get(number)
        if socket is not None:
            socket.send(argument.decode("utf-8", "replace"))
        elif number in self.pollers:
            self.requests.append(asyncio.ensure_future(self.pollers[number].request("POST", argument)))

    async def binary(self, number: int, argument: bytes) -> None:
        socket = self.sockets.get(number) or self.upgrades.get(number)
        if socket is not None:
            socket.send(argument)

    async def get(self, number: int, argument: bytes) -> None:
        if number in self.pollers:
            self.requests.append(self.pollers[number].poll())

    async def drop(self, number: int, argument: bytes) -> None:
        socket, upgrade = self.sockets.pop(number, None), self.upgrades.pop(number, None)
        self.pollers.pop(number, None)
        if socket is not None:
            await socket.end()
        if upgrade is not None:
            await upgrade.socket.end()

    async def wait(self, number: int, argument: bytes) -> None:
        await self.server.clock.advance(WAITS[number])

    async def emit(self, number: int, argument: bytes) -> None:
        self.io.to(*([f"room{number}"] if number else [])).emit("news", argument.decode("utf-8", "replace"), argument)

    async def call(self, number: int, argument: bytes) -> None:
        self.calls.append(asyncio.ensure_future(self.io.call("question", number, timeout=1.0)))

    async def send_away(self, number: int, argument: bytes) -> None:
        for socket in list(self.io.of("/two" if number % 2 else "/").sockets.values()):
            if "witness" not in socket.rooms:
                socket.disconnect(close=number > 5)

    async def pause(self, number: int, argument: bytes) -> None:
        if number in self.sockets:
            self.sockets[number].pause()

    async def resume(self, number: int, argument: bytes) -> None:
        if number in self.sockets:
            self.sockets[number].resume()

    async def play(self, data: bytes) -> None:
        for letter, digit, argument in steps(data, MOST_STEPS):
            order = ORDERS.get(letter) or list(ORDERS.values())[ord(letter) % len(ORDERS)]
            await order(self, digit if order in (Crowd.wait, Crowd.send_away) else digit % OTHERS, argument)
            await self.server.settle()

    async def leave(self) -> None:
        """All go but the witness, and every deadline passes."""
        for number in range(OTHERS):
            await self.drop(number, b"")
        for request in self.requests:
            request.cancel()
        await asyncio.gather(*self.requests, return_exceptions=True)
        await self.server.clock.advance(120)
        await asyncio.gather(*self.calls)


Order = Callable[[Crowd, int, bytes], Awaitable[None]]
ORDERS: dict[str, Order] = {
    "o": Crowd.open,
    "p": Crowd.open_polling,
    "u": Crowd.upgrade,
    "t": Crowd.text,
    "b": Crowd.binary,
    "g": Crowd.get,
    "d": Crowd.drop,
    "w": Crowd.wait,
    "e": Crowd.emit,
    "c": Crowd.call,
    "k": Crowd.send_away,
    "z": Crowd.pause,
    "y": Crowd.resume,
}


def chat(**options: Any) -> Server:
    """A server with an echo, rooms that clients choose, a slow handler, and namespaces that come and go."""
    io = Server(
        ping_interval=10, ping_timeout=5, upgrade_timeout=4, close_timeout=2, connect_timeout=8, max_rooms=4, **options
    )

    async def join(socket: Any, *rooms: Any) -> list[str]:
        await socket.join(*(str(room) for room in rooms))
        return sorted(socket.rooms - {socket.id})

    async def slow(socket: Any, *args: Any) -> Any:
        await asyncio.sleep(0.5)
        return args

    for place in (io, io.of("/two")):
        place.on("echo")(lambda socket, *args: args)
        place.on("say")(lambda socket, *args: socket.broadcast.emit("said", *args))
        place.on("join")(join)
        place.on("slow")(slow)
    return io


async def play(io: Server, data: bytes) -> None:
    """Play a script against a server, and look whether the witness and the tables are as before."""
    async with TestServer(io) as server:
        witness = await server.connect()
        await io.sockets[witness.id].join("witness")
        crowd = Crowd(io, server)
        await crowd.play(data)
        await hears_its_echo(witness, len(data))
        await crowd.leave()
        await hears_its_echo(witness, len(data))
        assert tables(io) == {"sessions": 1, "clients": 1, "/": 1, "rooms of /": 1}, tables(io)
    assert tables(io) == {}, tables(io)


async def hears_its_echo(witness: TestClient, number: int) -> None:
    assert await witness.call("echo", number) == number


def tables(io: Server) -> dict[str, int]:
    """The size of everything that a client can leave something in, where it is not empty."""
    engine = io.engine
    sizes = {
        "sessions": len(engine.sessions),
        "final_packets": len(engine.table.final_packets),
        "clients": len(clients(io)),
    }
    sizes |= {"clients": len(clients(io)), "tasks": len(engine.context.tasks), "runners": len(runners(io))}
    for name, site in sites(io).items():
        table = site.adapter.rooms
        sizes |= {name: len(table.by_id), f"rooms of {name}": len(table)}
        assert len(table.everyone) == len(table.by_id)
    return {name: size for name, size in sizes.items() if size}


@target(mutations=100)
def server_json(data: bytes) -> None:
    """A Socket.IO server, several clients, and what they send."""
    with no_errors_logged():
        run(play(chat(), data))


@target(mutations=60)
def server_msgpack(data: bytes) -> None:
    """The same on the wire of msgpack."""
    with no_errors_logged():
        run(play(chat(parser="msgpack"), data))


@target(mutations=100)
def cluster_node(data: bytes) -> None:
    """A node of a cluster, and bytes on its channels, while it waits for an answer of another node.

    What another node orders is done, and that nonsense could not be done is logged: both are no findings. A client that
    comes afterwards is served.
    """

    async def main() -> None:
        io = chat(broker="memory://fuzz", node="fuzzed")
        async with TestServer(io) as server:
            client = await server.open()
            client.send("40")
            await hear(io, server, data)
            await hears_its_echo(await server.connect(), len(data))
        assert tables(io) == {}, tables(io)

    with no_errors_logged(but="request "):
        run(main())


async def hear(io: Server, server: TestServer, data: bytes) -> None:
    """Let a node hear messages on all its channels. ``id1`` in them stands for the question that it has asked."""
    hub, requests = MemoryHub.named("fuzz"), link(io).requests
    hub.carry("shoal#", encode(Message(PEER, [Hello("peer")])))
    await server.settle()
    question = asyncio.ensure_future(requests.ask("fetch", [["/", [], []], None], 5.0))
    await server.settle()
    [identifier] = requests._pending
    for number, message in enumerate(data.split(BETWEEN)):
        answer = message.replace(b"\xa3id1", b"\xac" + identifier.encode())
        hub.carry(CHANNELS[number % len(CHANNELS)], answer)
        link(io)._receive("shoal#", answer)  # here nobody catches what it raises
        await server.settle()
    await server.clock.advance(60)
    replies = await question
    assert len(replies.bodies) + len(replies.missing) <= 1
    assert not requests._pending
    assert not link(io).peers.names()
