"""`redis+streams://`: clients come back to any node with all that they missed, once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tests.brokers import Broker
from tests.internals import log_bus

from shoal import BrokerError, ConfigurationError, Server, Socket
from shoal.bus.redis_scripts import CLAIM
from shoal.cluster.messages import channel_of
from shoal.testing import TestClient, TestServer


def real_time(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a test's coroutine on a loop whose time is that of the broker."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


class Node:
    """A server in this process, and its clients."""

    def __init__(self, io: Server, server: TestServer) -> None:
        self.io = io
        self.server = server
        self.seen: list[tuple[Any, ...]] = []

    async def connect(self, client: TestClient | None = None, **auth: Any) -> TestClient:
        return await self.server.connect(auth={**auth, **(client.recovery if client is not None else {})})


def node(broker: Broker, name: str, prefix: str, **options: Any) -> Node:
    url = broker.url.replace("redis://", "redis+streams://")
    io = Server(node=name, broker=url, channel_prefix=prefix, **options)
    made = Node(io, TestServer(io))
    io.on("echo")(lambda socket, *args: args)
    io.on("disconnect")(lambda socket, reason: made.seen.append(("disconnect", socket.id)))
    io.on("socket_expired")(lambda sid, rooms, data: made.seen.append(("expired", sid, rooms, data)))

    @io.on("sit")
    async def sit(socket: Socket, *rooms: str) -> None:
        await socket.join(*rooms)
        socket.data["seats"] = list(rooms)

    @io.on("say")
    async def say(socket: Socket, room: str, *args: Any) -> None:
        await io.to(room).emit_confirmed("said", *args)

    return made


@contextlib.asynccontextmanager
async def cluster(broker: Broker, prefix: str, *names: str, **options: Any) -> AsyncIterator[list[Node]]:
    nodes = [node(broker, name, prefix, **options) for name in names]
    async with contextlib.AsyncExitStack() as stack:
        for each in nodes:
            await stack.enter_async_context(each.server)
        yield nodes


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def events(client: TestClient) -> list[tuple[Any, ...]]:
    """What came, without offsets."""
    return [tuple(event)[:-1] for event in client.received]


@real_time
async def test_all_hear_one_order(broker: Broker) -> None:
    """Clients of two nodes get the broadcasts of both in the same order."""
    async with cluster(broker, "order", "a", "b") as (a, b):
        anna, bert = await a.connect(), await b.connect()
        for number in range(200):
            (a if number % 2 else b).io.emit("n", number)
            if number % 7 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(anna.received) == len(bert.received) == 200)
        assert anna.received == bert.received
        offsets = [tuple(map(int, event[-1].split(".")[1:])) for event in anna.received]
        assert offsets == sorted(set(offsets))


@real_time
async def test_a_client_comes_back_to_another_node(broker: Broker) -> None:
    """Same id, rooms and data; what it missed, once and in order; its first node forgets it."""
    async with cluster(broker, "back", "a", "b") as (a, b):
        anna, bert = await a.connect(), await b.connect()
        await anna.call("echo")
        await anna.emit("sit", "front")
        await bert.emit("sit", "front")
        await until(lambda: "front" in a.io.sockets[anna.id].rooms and "front" in b.io.sockets[bert.id].rooms)
        b.io.to("front").emit("said", 1)
        await until(lambda: events(anna) == [("said", 1)])
        anna.connection.drop()
        await until(lambda: not a.io.sockets)
        b.io.to("front").emit("said", 2)
        await until(lambda: len(bert.received) == 2)
        a.io.emit("said", 3)
        await until(lambda: len(bert.received) == 3)
        b.io.to("elsewhere").emit("said", "not for her")
        b.io.to(anna.id).emit("said", 4)
        await until(lambda: len(bert.received) == 3)
        again = await b.connect(anna)
        assert again.id == anna.id
        assert again.recovery["pid"] == anna.recovery["pid"]
        await until(lambda: len(again.received) == 3)
        assert events(again) == [("said", 2), ("said", 3), ("said", 4)]
        socket = b.io.sockets[anna.id]
        assert (socket.recovered, socket.rooms, socket.data) == (True, {anna.id, "front"}, {"seats": ["front"]})
        a.io.to("front").emit("said", 5)
        a.io.to(anna.id).emit("said", 6)
        socket.emit("said", 7)
        await until(lambda: len(again.received) == 6)
        assert events(again)[3:] == [("said", 5), ("said", 6), ("said", 7)]
        assert (a.io.stats.recovered, b.io.stats.recovered) == (0, 1)
        # And once more, to where it began.
        again.connection.drop()
        await until(lambda: list(b.io.sockets) == [bert.id])
        b.io.to("front").emit("said", 8)
        third = await a.connect(again)
        await until(lambda: third.received)
        assert events(third) == [("said", 8)]
        assert third.id == anna.id


@real_time
async def test_one_that_is_believed_to_be_there(broker: Broker) -> None:
    """The old node still has the socket: it is told to end it, and its handlers run."""
    async with cluster(broker, "there", "a", "b") as (a, b):
        anna = await a.connect()
        again = await b.connect(anna)
        assert again.id == anna.id
        await until(lambda: a.seen == [("disconnect", anna.id)])
        b.io.emit("news")
        await until(lambda: again.received)
        assert list(b.io.sockets) == [anna.id]
        await asyncio.sleep(0.05)
        assert len(again.received) == 1


@real_time
async def test_one_that_never_got_an_event(broker: Broker) -> None:
    """It gets all that was sent since it came, and nothing from before."""
    async with cluster(broker, "never", "a", "b") as (a, b):
        witness = await b.connect()
        await b.io.to([]).emit_confirmed("news", 0)
        anna = await a.connect()
        anna.connection.drop()
        await until(lambda: not a.io.sockets)
        await b.io.to([]).emit_confirmed("news", 1)
        again = await b.connect(anna)
        await until(lambda: again.received)
        assert events(again) == [("news", 1)]
        assert len(witness.received) == 2


@real_time
async def test_a_room_has_no_past_for_those_who_join_it(broker: Broker) -> None:
    """What was sent to a room before a client joined it is not among what it missed."""
    async with cluster(broker, "past", "a") as (a,):
        bert, anna = await a.connect(), await a.connect()
        await bert.emit("sit", "r")
        await until(lambda: "r" in a.io.sockets[bert.id].rooms)
        await a.io.to("r").emit_confirmed("said", 1)
        await until(lambda: bert.received)
        await anna.emit("sit", "r")
        await until(lambda: "r" in a.io.sockets[anna.id].rooms)
        await asyncio.sleep(0.05)
        anna.connection.drop()
        await until(lambda: anna.id not in a.io.sockets)
        await a.io.to("r").emit_confirmed("said", 2)
        again = await a.connect(anna)
        await until(lambda: again.received)
        assert events(again) == [("said", 2)]


@real_time
async def test_a_state_is_given_once(broker: Broker) -> None:
    """Of two that show the same secret, the later one has it; a wrong one gets nothing."""
    async with cluster(broker, "once", "a", "b") as (a, b):
        anna = await a.connect()
        anna.connection.drop()
        await until(lambda: not a.io.sockets)
        first, stranger = await b.connect(anna), await b.connect(pid="x" * 28, offset="e.1.1")
        assert first.id == anna.id
        assert stranger.id != anna.id
        second = await a.connect(anna)
        assert second.id == anna.id
        await until(lambda: anna.id not in b.io.sockets)
        assert anna.id in a.io.sockets


@real_time
async def test_who_is_sent_away_gets_its_last_words_and_does_not_come_back(broker: Broker) -> None:
    """What was emitted before ``disconnect`` arrives; the state is gone."""
    async with cluster(broker, "kick", "a", "b") as (a, b):
        anna = await a.connect()
        socket = a.io.sockets[anna.id]
        socket.emit("said", "you are out")
        a.io.emit("news")
        await socket.disconnect()
        await until(lambda: not anna.connected)
        assert events(anna) == [("said", "you are out"), ("news",)]
        assert (await b.connect(anna)).id != anna.id


@real_time
async def test_too_much_is_told(broker: Broker) -> None:
    """Who missed more than ``max_replay``, or more than the log has, begins anew; who was there has it all."""
    async with cluster(broker, "much", "a", "b", max_replay=10_000, log_length=100) as (a, b):
        witness = await b.connect()
        anna, bert = await a.connect(), await a.connect()
        await anna.emit("sit", "r")
        await until(lambda: "r" in a.io.sockets[anna.id].rooms)
        for client in (anna, bert):
            client.connection.drop()
        await until(lambda: not a.io.sockets)
        for _ in range(20):
            a.io.to("r").emit("said", "x" * 1_000)
        assert (await b.connect(anna)).id != anna.id
        assert ("expired", anna.id, {"r"}, {"seats": ["r"]}) in b.seen
        for number in range(400):
            await a.io.to([]).emit_confirmed("n", number)
        assert (await b.connect(bert)).id != bert.id
        assert b.io.stats.not_recovered == 2
        assert [args[0] for event, *args in events(witness) if event == "n"] == list(range(400))


@real_time
async def test_expired_states_are_told_once(broker: Broker) -> None:
    """By the node that had the client; by one of the others if that node is gone."""
    options = {"max_disconnection_duration": 0.5}
    async with cluster(broker, "expired", "a", "b", **options) as (a, b):
        anna = await a.connect()
        await anna.emit("sit", "r")
        await until(lambda: a.io.sockets[anna.id].data)
        anna.connection.drop()
        await until(lambda: [each for each in a.seen if each[0] == "expired"], 10)
        assert [each for each in a.seen if each[0] == "expired"] == [("expired", anna.id, {"r"}, {"seats": ["r"]})]
        c = node(broker, "c", "expired", **options)
        async with c.server:
            bert = await c.connect()
        await until(lambda: [each for each in (*a.seen, *b.seen) if each[:2] == ("expired", bert.id)], 10)
        await asyncio.sleep(0.1)
        assert len([each for each in (*a.seen, *b.seen) if each[:2] == ("expired", bert.id)]) == 1


@real_time
async def test_history(broker: Broker) -> None:
    """The newest events of a room, or those behind an offset; of one room or of everyone."""
    async with cluster(broker, "history", "a", "b") as (a, b):
        for number in range(10):
            await a.io.to("r").emit_confirmed("said", number, b"\x00")
        found = await b.io.to("r").history(limit=3)
        assert [(entry.event, entry.args) for entry in found] == [("said", (n, b"\x00")) for n in (7, 8, 9)]
        assert [entry.args[0] for entry in await a.io.to("r").history(since=found[0].offset)] == [8, 9]
        assert await a.io.history() == []
        assert await a.io.to("r").history(since="other.1.0") == []
        with pytest.raises(ConfigurationError, match="one room"):
            await a.io.to("r", "s").history()


@real_time
async def test_volatile_and_local_events_have_an_offset_that_is_no_new_one(broker: Broker) -> None:
    """The official client takes any last text for an offset."""
    async with cluster(broker, "volatile", "a", "b") as (a, b):
        anna = await a.connect()
        a.io.emit("n", 1)
        await until(lambda: anna.received)
        a.io.volatile.emit("v")
        b.io.volatile.emit("v")
        a.io.local.emit("l")
        await until(lambda: len(anna.received) == 4)
        anna.connection.drop()
        await until(lambda: not a.io.sockets)
        a.io.emit("n", 2)
        again = await b.connect(anna)
        await until(lambda: again.received)
        assert events(again) == [("n", 2)]


@real_time
async def test_data_is_kept_when_it_changes(broker: Broker) -> None:
    """What is set in ``data`` is there at once; what lies deeper after ``save``."""
    async with cluster(broker, "data", "a", "b") as (a, b):
        anna = await a.connect()
        data = a.io.sockets[anna.id].data
        data["a"] = 1
        data.update(b=[1])
        data |= {"c": 3}
        data.pop("c")
        await asyncio.sleep(0.05)
        data["b"].append(2)
        a.io.sockets[anna.id].save()
        await asyncio.sleep(0.05)
        again = await b.connect(anna)
        assert b.io.sockets[again.id].data == {"a": 1, "b": [1, 2]}


@real_time
async def test_a_server_can_be_started_again(broker: Broker) -> None:
    """After its end, with all that it does: events, other nodes, clients that come back to it."""
    a, b = node(broker, "a", "again"), node(broker, "b", "again")
    async with b.server:
        for number in range(3):
            async with TestServer(a.io) as a.server:
                anna, bert = await a.connect(), await b.connect()
                a.io.emit("n", number)
                b.io.emit("m", number)
                await until(lambda anna=anna, bert=bert: len(anna.received) == len(bert.received) == 2)
                assert sorted(events(anna)) == sorted(events(bert)) == [("m", number), ("n", number)]
                await until(lambda: len(b.io._backend.link.peers.names()) == 1)
                await bert.disconnect()
        again = await b.connect(anna)
        assert again.id == anna.id


@real_time
async def test_a_node_that_was_deaf_catches_up() -> None:
    """Its link is cut while others speak: its clients get everything, once and in order."""
    with Broker() as broker:
        async with cluster(broker, "deaf", "a", "b") as (a, b):
            anna, bert = await a.connect(), await b.connect()
            await anna.emit("sit", "r")
            await bert.emit("sit", "r")
            await until(lambda: "r" in a.io.sockets[anna.id].rooms and "r" in b.io.sockets[bert.id].rooms)
            sent = 0
            for round_ in range(5):
                for _ in range(20):
                    (a if sent % 2 else b).io.to("r").emit("n", sent)
                    sent += 1
                    await asyncio.sleep(0.001)
                if round_ % 2 == 0:
                    broker.command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: len(anna.received) >= sent and len(bert.received) >= sent, 20)
            assert anna.received == bert.received
            assert sorted(event[1] for event in anna.received) == list(range(sent))
            assert anna.connected
            assert a.io.stats.broker.reconnects >= 1


@real_time
async def test_a_room_that_another_client_opens_meanwhile(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said between the broker's answer to a returning client and another's joining of its room is not lost."""
    async with cluster(broker, "meanwhile", "a", "b") as (a, b):
        anna, bert, carl = await b.connect(), await a.connect(), await b.connect()
        anna.connection.drop()
        await until(lambda: len(b.io.sockets) == 1)
        anna = await a.connect(anna)  # to come back to where she began: her own id is heard there already
        for each in (anna, bert):
            await each.call("sit", "front")
        anna.connection.drop()
        await until(lambda: len(a.io.sockets) == 1)
        bus = log_bus(b.io)
        run, held = bus.run, []

        def hold(script: bytes, keys: Any, args: Any, answer: Callable[[Any], None]) -> None:
            is_first = script == CLAIM and not held
            run(script, keys, args, (lambda reply: held.append((answer, reply))) if is_first else answer)

        monkeypatch.setattr(bus, "run", hold)
        async with asyncio.TaskGroup() as tasks:
            returning = tasks.create_task(b.connect(anna))
            await until(lambda: held)
            await bert.call("say", "front", 1)
            await carl.call("sit", "front")
            [(answer, reply)] = held
            answer(reply)
        again = returning.result()
        await bert.call("say", "front", 2)
        await until(lambda: ("said", 2) in events(again))
        assert (again.id, events(again)) == (anna.id, [("said", 1), ("said", 2)])


@real_time
async def test_a_node_hears_nothing_of_who_has_left(broker: Broker) -> None:
    """A client that came from another node and leaves takes the subscription to its id with it."""

    def subscribed(sid: str) -> bytes:
        return broker.command("PUBSUB", "NUMSUB", channel_of("leaves", "/", (sid,))).rsplit(b":")[-1].strip()

    async with cluster(broker, "leaves", "a", "b") as (a, b):
        anna = await a.connect()
        anna.connection.drop()
        await until(lambda: not a.io.sockets)
        again = await b.connect(anna)
        assert again.id == anna.id
        assert subscribed(anna.id) == b"2"
        await again.disconnect()
        await until(lambda: subscribed(anna.id) == b"1")


@real_time
async def test_a_broker_that_lost_its_memory() -> None:
    """It is noticed, counted, and told: clients are disconnected and begin anew; then all works as before."""
    with Broker() as broker:
        async with cluster(broker, "lost", "a") as (a,):
            anna = await a.connect()
            a.io.emit("n", 1)
            await until(lambda: anna.received)
            broker.kill()
            broker.start()
            await until(lambda: not anna.connected, 20)
            again = await a.connect(anna)
            assert again.id != anna.id
            assert a.io.stats.epochs == 1
            a.io.emit("n", 2)
            await until(lambda: again.received)
            assert events(again) == [("n", 2)]


@real_time
async def test_a_broker_that_refuses_writes() -> None:
    """Out of memory: not ready, events wait; with memory again they are sent."""
    with Broker() as broker:
        async with cluster(broker, "full", "a") as (a,):
            anna = await a.connect()
            broker.command("CONFIG", "SET", "maxmemory", "1")
            a.io.emit("n", 1)
            await until(lambda: a.io.not_ready() is not None)
            a.io.emit("n", 2)
            with pytest.raises(BrokerError, match="within"):
                await a.io.to([]).emit_confirmed("n", 3, timeout=0.2)
            broker.command("CONFIG", "SET", "maxmemory", "0")
            await until(lambda: len(anna.received) == 3, 20)
            assert events(anna) == [("n", 1), ("n", 2), ("n", 3)]
            assert a.io.not_ready() is None
