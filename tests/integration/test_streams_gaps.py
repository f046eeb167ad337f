"""`redis+streams://`: what the broker no longer has is noticed, and told to whom it was meant for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import msgspec
import pytest
from tests.brokers import Broker
from tests.integration.test_streams import Node, cluster, events, real_time, until
from tests.internals import log_bus, stream_states_of

from shoal import BrokerError, Emitter, Server
from shoal.adapter import stream_state, stream_states
from shoal.testing import TestClient, TestServer

# The least that a log must be kept for with these is 0.7 s.
SOON = {"max_disconnection_duration": 0.3, "ping_interval": 0.2, "ping_timeout": 0.1, "log_lifetime": 0.7}


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


async def sits(node: Node, client: TestClient, room: str) -> None:
    await client.emit("sit", room)
    await until(lambda: room in node.io.sockets[client.id].rooms)


@contextlib.contextmanager
def cut_off(node: Node) -> Iterator[None]:
    """A node that does not find the broker."""
    bus = log_bus(node.io)

    async def fail() -> None:
        raise BrokerError("no way")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bus, "_connect", fail)
        bus._link_is_down("cut off")
        yield


@contextlib.contextmanager
def stopped(node: Node) -> Iterator[None]:
    """A node that gives no sign of life, though its link is up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_states_of(node.io), "_heartbeat", lambda lease: None)
        yield


@real_time
async def test_a_log_is_forgotten_while_a_node_is_cut_off(broker: Broker) -> None:
    """Its clients cannot be told what was in it: they are disconnected and begin anew, whoever they come to."""
    async with cluster(broker, "forgotten", "a", "b", **SOON) as (a, b):
        anna, witness = await a.connect(), await b.connect()
        await sits(a, anna, "r")
        with cut_off(a):
            await b.io.to("r").emit_confirmed("said", 1)
            await until(lambda: broker.command("EXISTS", "forgotten#log#/#r").strip() == b":0")
            assert anna.connected
        await until(lambda: not anna.connected)
        assert (a.io.stats.log_gaps, a.io.stats.epochs) == (1, 0)
        await witness.call("echo", 1)
        await until(lambda: a.io.not_ready() is None)
        for each in (b, a):
            assert (await each.connect(anna)).id != anna.id


@real_time
async def test_a_node_is_cut_off_and_nothing_is_said(broker: Broker) -> None:
    """There is nothing to have missed: its clients stay."""
    async with cluster(broker, "silence", "a", **SOON) as (a,):
        anna = await a.connect()
        a.io.emit("n", 1)
        await until(lambda: anna.received)
        with cut_off(a):
            await until(lambda: broker.command("EXISTS", "silence#log#/#").strip() == b":0")
        await until(lambda: a.io.not_ready() is None)
        a.io.emit("n", 2)
        await until(lambda: len(anna.received) == 2)
        assert (events(anna), a.io.stats.log_gaps, anna.connected) == ([("n", 1), ("n", 2)], 0, True)


@pytest.mark.parametrize("way", ["cut off", "stopped"])
def test_a_node_is_taken_for_dead(way: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away for longer than its clients may be: they are told of once, by another node, and begin anew. No other is."""
    monkeypatch.setattr(stream_states, "HEARTBEAT_INTERVAL", 0.05)
    monkeypatch.setattr(stream_states, "LEASE", 0.2)

    @real_time
    async def test() -> None:
        async with cluster(broker, f"dead {way}".replace(" ", "-"), "a", "b", max_disconnection_duration=0.3) as (a, b):
            anna, bert, carl = await a.connect(), await b.connect(), await b.connect()
            carl.connection.drop()
            await until(lambda: not b.io.sockets.get(carl.id))
            moved = await a.connect(carl)
            told = [("expired", each.id, set(), {}) for each in (anna, moved)]
            with contextlib.ExitStack() as stack:
                if way == "cut off":
                    stack.enter_context(cut_off(a))
                else:
                    stack.enter_context(stopped(a))
                await until(lambda: len(b.seen) == 3)
                assert sorted(b.seen[1:]) == sorted(told)
                assert anna.connected
            await until(lambda: not anna.connected and not moved.connected)
            await until(lambda: a.io.not_ready() is None)
            for each in (anna, moved):
                for to in (a, b):
                    again = await to.connect(each)
                    assert again.id != each.id
            await again.call("echo")
            assert bert.connected
            assert [each for each in a.seen if each[0] == "expired"] == []
            assert len([each for each in b.seen if each[0] == "expired"]) == 2

    test()


def test_a_later_version_has_written_a_state(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more at the end of its head, as nodes of two versions share a broker: its client comes back."""
    pack = stream_state.StreamState.pack

    def pack_more(state: stream_state.StreamState) -> bytes:
        value = pack(state)
        end = 4 + int.from_bytes(value[:4], "big")
        head = msgspec.msgpack.encode([*msgspec.msgpack.decode(value[4:end]), {"new": 1}])
        return len(head).to_bytes(4, "big") + head + value[end:]

    monkeypatch.setattr(stream_state.StreamState, "pack", pack_more)

    @real_time
    async def test() -> None:
        async with cluster(broker, "versions", "a", "b") as (a, b):
            anna = await a.connect()
            await sits(a, anna, "r")
            anna.connection.drop()
            await until(lambda: not a.io.sockets)
            assert (await b.connect(anna)).id == anna.id
            assert b.io.sockets[anna.id].rooms == {anna.id, "r"}

    test()


def test_nobody_is_taken_for_dead_after_an_outage(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """All nodes were without the broker for longer than clients may be away: who is back first waits for the others."""
    monkeypatch.setattr(stream_states, "HEARTBEAT_INTERVAL", 0.1)
    monkeypatch.setattr(stream_states, "LEASE", 1.0)

    @real_time
    async def test() -> None:
        async with cluster(broker, "outage", "a", "b", max_disconnection_duration=0.1) as nodes:
            clients = [await node.connect() for node in nodes]
            all_states = [stream_states_of(node.io) for node in nodes]

            def beat_in_time() -> bool:
                now = asyncio.get_running_loop().time()
                return all(now - states._beats_since > 1.5 for states in all_states)

            def are_late() -> bool:
                passed = str(int(time.time() * 1000) - 200)
                return broker.command("ZCOUNT", "outage#nodes", "-inf", passed).strip() == b":2"

            await until(beat_in_time)
            with cut_off(nodes[0]), cut_off(nodes[1]):
                await until(are_late)
            await until(lambda: not any(node.io.not_ready() for node in nodes))
            await until(beat_in_time)
            assert [each for node in nodes for each in node.seen] == []
            nodes[0].io.emit("news")
            await until(lambda: all(client.received for client in clients))

    test()


@real_time
async def test_a_client_leaves_while_its_node_is_cut_off(broker: Broker) -> None:
    """Nothing of it stays with the broker, where it would be told of as one that did not come back."""
    async with cluster(broker, "leaves", "a") as (a,):
        anna = await a.connect()
        states = f"leaves#states#{a.io.engine.tag}"
        assert broker.command("HLEN", states).strip() == b":1"
        with cut_off(a):
            await anna.disconnect()
            await until(lambda: not a.io.sockets)
        await until(lambda: broker.command("HLEN", states).strip() == b":0")


@real_time
async def test_a_broker_lost_its_last_second_and_others_counted_on(broker: Broker) -> None:
    """The node that had heard what is lost comes back last, when the count is higher than what it knows: it notices."""
    async with cluster(broker, "second", "a", "b") as (a, b):
        anna, bert = await a.connect(), await b.connect()
        await sits(a, anna, "r")
        await a.io.to("r").emit_confirmed("n", 0)
        broker.command("SAVE")
        for number in range(5):
            await a.io.to("r").emit_confirmed("n", number)  # b hears nothing of it
        await until(lambda: len(anna.received) == 6)
        broker.kill()
        with cut_off(a):
            broker.start()
            await until(lambda: b.io.not_ready() is None, 20)
            for number in range(20):
                await b.io.to([]).emit_confirmed("m", number)
        await until(lambda: not anna.connected)
        assert a.io.stats.epochs == 1
        assert (await a.connect(anna)).id != anna.id
        a.io.emit("news")
        await until(lambda: not bert.connected)


@real_time
async def test_a_broker_that_is_restarted_and_lost_nothing() -> None:
    """Its count goes on, and so does everybody; also after a second restart."""
    with Broker(options=("--appendonly", "yes", "--appendfsync", "always")) as broker:
        async with cluster(broker, "nothing", "a", "b") as (a, b):
            anna = await a.connect()
            for number in range(3):
                await b.io.to([]).emit_confirmed("n", number)
                broker.kill()
                broker.start()
                await until(lambda: a.io.not_ready() is b.io.not_ready() is None, 20)
            await until(lambda: len(anna.received) == 3)
            assert (anna.connected, a.io.stats.epochs, a.io.stats.log_gaps) == (True, 0, 0)


@real_time
async def test_history_is_that_of_one_room_or_of_everyone(broker: Broker) -> None:
    """What was for several rooms is not told to everyone, nor what was for a room of another namespace."""
    async with cluster(broker, "history", "a") as (a,):
        for number in range(3):
            await a.io.to([]).emit_confirmed("n", number)
            for _ in range(10):
                await a.io.to("r", "s").emit_confirmed("secret", number)
        await a.io.of("/x#y").to("z").emit_confirmed("secret", 0)
        assert [(entry.event, *entry.args) for entry in await a.io.history(limit=2)] == [("n", 1), ("n", 2)]
        [first, *_] = found = await a.io.history()
        assert [entry.args[0] for entry in found] == [0, 1, 2]
        assert [entry.args[0] for entry in await a.io.history(since=first.offset, limit=2)] == [1, 2]
        assert await a.io.to("r").history() == []
        assert await a.io.of("/x").to("y#z").history() == []


@real_time
async def test_who_asks_for_history_may_give_up(broker: Broker) -> None:
    """The answer that nobody waits for any more does no harm to the link."""
    async with cluster(broker, "impatient", "a") as (a,):
        await a.io.to([]).emit_confirmed("n", 1)
        asked = asyncio.ensure_future(a.io.history())
        await asyncio.sleep(0)
        asked.cancel()
        assert len(await a.io.history()) == 1
        assert a.io.stats.broker.reconnects == 0


@real_time
async def test_clusters_in_two_databases(broker: Broker) -> None:
    """Neither hears the other, though Pub/Sub knows no databases; an emitter reaches that of its own."""
    url = broker.url.replace("redis://", "redis+streams://")
    servers = [Server(node=name, broker=f"{url}/{name}") for name in ("0", "1")]
    async with TestServer(servers[0]) as zero, TestServer(servers[1]) as one, Emitter(f"{url}/1") as emitter:
        anna, bert = await zero.connect(), await one.connect()
        for number in range(5):
            for io in servers:
                await io.to([]).emit_confirmed("n", io.node, number)
            await emitter.emit_confirmed("n", "emitter", number)
        await until(lambda: len(anna.received) == 5 and len(bert.received) == 10)
        assert {event[1] for event in events(anna)} == {"0"}
        assert {event[1] for event in events(bert)} == {"1", "emitter"}
        assert [io.stats.broker.reconnects for io in servers] == [0, 0]


REFUSALS = {
    "OOM": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "READONLY": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "NOREPLICAS": (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    "NOPERM": (("ACL", "SETUSER", "default", "-@scripting"), ("ACL", "SETUSER", "default", "+@all")),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_broker_that_takes_nothing(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """One line says why; the node is not ready all the while, and what was emitted is sent when it is over."""
    begin, end = REFUSALS[reason]

    @real_time
    async def test() -> None:
        with Broker() as broker:
            async with cluster(broker, "refuses", "a") as (a,):
                anna = await a.connect()
                broker.command(*begin)
                a.io.emit("n", 1)
                await until(lambda: a.io.not_ready() is not None)
                for _ in range(100):  # a second: the node tries again some five times
                    await asyncio.sleep(0.01)
                    assert a.io.not_ready() is not None
                a.io.emit("n", 2)
                broker.command(*end)
                await until(lambda: len(anna.received) == 2, 20)
                assert events(anna) == [("n", 1), ("n", 2)]

    test()
    told = [each.getMessage() for each in caplog.records if reason in each.getMessage()]
    assert 1 <= len(told) <= (2 if reason == "NOPERM" else 1), told  # no right to this command, and to that one


def test_a_broker_that_is_still_loading(caplog: pytest.LogCaptureFixture) -> None:
    """It was started again and reads what it has on disk for a while: one line, not ready, and nothing is lost."""
    slowly = ("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")  # µs for each key

    @real_time
    async def test() -> None:
        with Broker(options=slowly) as broker:
            async with cluster(broker, "loads", "a") as (a,):
                anna = await a.connect()
                broker.command("EVAL", "for i = 1, 1000 do redis.call('SET', 'key' .. i, i) end", "0")
                assert broker.command("SAVE") == b"+OK\r\n"
                broker.kill()
                starting = asyncio.create_task(asyncio.to_thread(broker.start))
                await until(lambda: "LOADING" in caplog.text)
                a.io.emit("n", 1)
                looked = 0
                while True:
                    reason = a.io.not_ready()
                    if b"LOADING" not in broker.command("PING"):
                        break
                    assert reason is not None
                    looked += 1
                    await asyncio.sleep(0.01)
                assert looked
                await starting
                a.io.emit("n", 2)
                await until(lambda: len(anna.received) == 2, 20)
                assert events(anna) == [("n", 1), ("n", 2)]
                await until(lambda: a.io.not_ready() is None)

    test()
    told = [each.getMessage() for each in caplog.records if "LOADING" in each.getMessage()]
    assert len(told) == 1, told
