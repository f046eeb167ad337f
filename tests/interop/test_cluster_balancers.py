"""Four servers of `shoal up` behind a real nginx and a real HAProxy: eight clients, every message, and only where due.

The broker is a process of the test's own, so that it can be asked who is subscribed, killed, and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis
import socketio
from tests.brokers import Broker
from tests.cluster_process import Up
from tests.interop.clients import Heard, connected
from tests.interop.wire import case, eventually
from tests.requirements import need
from tests.servers import ROOT, tracebacks

WEBSOCKET = ["websocket"]


@dataclass(frozen=True)
class Cluster:
    """Four nodes behind a balancer, on a broker."""

    up: Up
    broker: Broker

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.up.port}"

    @property
    def nodes(self) -> list[str]:
        return [str(port) for port in self.up.ports]

    def subscribers(self, room: str) -> int:
        """How many nodes hear a room of the main namespace, by the broker's own account."""
        with redis.Redis(port=self.broker.port) as client:
            return sum(
                dict(client.pubsub_numsub(name))[name]
                for name in client.pubsub_channels()
                if f"#{room}#" in name.decode()
            )

    def readiness(self) -> list[int]:
        """What each node says to /readyz."""
        with httpx.Client(trust_env=False, verify=False) as http:
            return [http.get(f"http://127.0.0.1:{node}/readyz").status_code for node in self.nodes]


BALANCERS = ["nginx", "haproxy"]


@contextlib.contextmanager
def running(balancer: str, folder: Path) -> Iterator[Cluster]:
    need(balancer)
    arguments = ["--balancer", balancer, "--app", "tests.apps.cluster:io"]
    with Broker() as broker:
        up = Up(folder, 4, *arguments, "--broker", broker.url, environment={"PYTHONPATH": str(ROOT)})
        try:
            yield Cluster(up.wait_until_up(), broker)
            up.stop()
        finally:
            up.kill()
    assert not tracebacks(up.log + up.err.read_text()), up.everything()


@pytest.fixture(scope="module", params=BALANCERS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


@dataclass(frozen=True)
class Person:
    """One client: the node that it is connected to, and what it has heard."""

    client: socketio.AsyncClient
    node: str
    said: Heard
    gone: Heard

    async def call(self, event: str, *args: object) -> object:
        return await self.client.call(event, args, timeout=20)

    async def until_all_was_heard(self) -> None:
        """Return once what was said before is in line: an answer on the same connection comes after it."""
        await self.call("heard")


@contextlib.asynccontextmanager
async def eight(cluster: Cluster) -> AsyncIterator[list[Person]]:
    """Eight clients through the balancer, two on each node, those of one node side by side."""
    async with contextlib.AsyncExitStack() as stack:
        people: list[Person] = []
        for _ in range(24):  # eight where nobody else is dealt a turn; health checks do not count
            if len(people) == 8:
                break
            person = await join(cluster, stack)
            if sum(each.node == person.node for each in people) < 2:
                people.append(person)
        assert sorted(each.node for each in people) == sorted(cluster.nodes * 2), "the balancer left a server out"
        yield sorted(people, key=lambda each: each.node)


async def join(cluster: Cluster, stack: contextlib.AsyncExitStack) -> Person:
    lines: list[Heard] = []

    def listen(client: socketio.AsyncClient) -> None:
        lines.extend(Heard(client, event) for event in ("welcome", "said", "disconnect"))
        client.on("question", lambda: client.get_sid())

    client = await stack.enter_async_context(connected(cluster.url, WEBSOCKET, listen))
    welcome, said, gone = lines
    (node,) = await welcome.next()
    return Person(client, node, said, gone)


@case
async def test_every_message_reaches_everyone(cluster: Cluster) -> None:
    """What each of the eight says, to all and to a room, all eight hear once, signed by the speaker's server."""
    async with eight(cluster) as people:
        await asyncio.gather(*(person.call("join", "everyone") for person in people))
        for number, person in enumerate(people):
            await person.client.emit("tell", ("everyone", f"room {number}"))
            await person.client.emit("tell-all", f"all {number}")
        expected = {
            (person.node, f"{kind} {number}") for number, person in enumerate(people) for kind in ("room", "all")
        }
        for person in people:
            heard = await person.said.many(16)
            assert set(heard) == expected
        await asyncio.gather(*(person.until_all_was_heard() for person in people))
        assert all(person.said.empty for person in people)


@case
async def test_one_speakers_messages_keep_their_order(cluster: Cluster) -> None:
    """Two hundred messages of one client, to a room and to all by turns, arrive everywhere in their order."""
    async with eight(cluster) as people:
        await asyncio.gather(*(person.call("join", "in order") for person in people))
        speaker = people[3]
        for number in range(0, 200, 2):
            await speaker.client.emit("tell", ("in order", number))
            await speaker.client.emit("tell-all", number + 1)
        for person in people:
            assert await person.said.many(200) == [(speaker.node, number) for number in range(200)]


@case
async def test_a_node_hears_only_rooms_it_has_members_in(cluster: Cluster) -> None:
    """The broker counts a subscriber for each node with members, and messages reach no other node."""
    async with eight(cluster) as people:
        one, two, three, four = people[0::2]
        await asyncio.gather(*(person.call("join", "red") for person in people[:2]), one.call("join", "blue"))
        await two.call("join", "blue")
        await asyncio.gather(*(person.call("join", "green") for person in people))
        assert [cluster.subscribers(room) for room in ("red", "blue", "green", "black")] == [1, 2, 4, 0]

        before = [await person.call("heard") for person in (one, two, three, four)]
        for number in range(100):
            await four.client.emit("tell", ("blue", number))
            await three.client.emit("tell", ("red", number))
        for person in (one, two):
            blue = [text for node, text in await person.said.many(200 if person is one else 100) if node == four.node]
            assert blue == list(range(100))
        after = [await person.call("heard") for person in (one, two, three, four)]
        counts = [int(str(late)) - int(str(early)) for early, late in zip(before, after, strict=True)]
        # Nodes also tell each other that they are there, some times a minute.
        assert counts[0] >= 200
        assert 100 <= counts[1] < 150
        assert max(counts[2:]) < 50
        assert three.said.empty
        assert four.said.empty

        await people[0].call("leave", "red")
        assert cluster.subscribers("red") == 1, "another member is still on the node"
        await people[1].call("leave", "red")
        await eventually(lambda: cluster.subscribers("red") == 0)
        await two.client.disconnect()
        await eventually(lambda: cluster.subscribers("blue") == 1)


@case
async def test_many_sockets_are_asked_and_moved_across_nodes(cluster: Cluster) -> None:
    """The members of a room on every node can be listed, called, moved to another room, and disconnected."""
    async with eight(cluster) as people:
        await asyncio.gather(*(person.call("join", "asked") for person in people))
        ids = sorted(person.client.get_sid() for person in people)
        speaker = people[5]
        assert await speaker.call("members", "asked") == ids
        answers = await speaker.call("ask", "asked")
        assert isinstance(answers, dict)
        assert (sorted(answers["responses"]), answers["missing"]) == (ids, 0)
        await speaker.call("move", "asked", "moved")
        assert await speaker.call("members", "asked") == []
        assert await speaker.call("members", "moved") == ids
        await speaker.call("leave", "moved")
        await speaker.call("end", "moved")
        for person in people:
            if person is not speaker:
                assert await person.gone.next() == ("server disconnect",)
        assert await speaker.call("members", "moved") == []
        assert speaker.gone.empty


@case
async def test_the_sender_is_left_out_across_nodes(cluster: Cluster) -> None:
    """A broadcast from a socket reaches the room on every node, with binary data, but not the socket itself."""
    async with eight(cluster) as people:
        await asyncio.gather(*(person.call("join", "others") for person in people))
        await people[2].call("tell-others", "others", {"bytes": [b"\x00\xff"]})
        for person in people:
            if person is not people[2]:
                assert await person.said.next() == (people[2].node, {"bytes": [b"\x00\xff"]})
        await asyncio.gather(*(person.until_all_was_heard() for person in people))
        assert people[2].said.empty


@case
async def test_clients_outlive_the_broker(cluster: Cluster) -> None:
    """While the broker is dead clients stay, those of one node hear each other, and /readyz says 503; then all is well.

    What is said just before the link is up again may be lost: Redis Pub/Sub promises no more.
    """
    async with eight(cluster) as people:
        await asyncio.gather(*(person.call("join", "patient") for person in people))
        assert cluster.readiness() == [200] * 4
        cluster.broker.kill()
        try:
            await eventually(lambda: cluster.readiness() == [503] * 4)
            for person in people[0::2]:
                await person.client.emit("tell", ("patient", "is anybody here?"))
            for person in people:
                assert await person.said.next() == (person.node, "is anybody here?")
        finally:
            cluster.broker.start()
        await eventually(lambda: cluster.readiness() == [200] * 4, 20.0)
        await eventually(lambda: cluster.subscribers("patient") == 4)

        await say_to_all(people, "patient", "back again")
        assert all(person.gone.empty for person in people)
        assert all(person.client.connected for person in people)


async def say_to_all(people: list[Person], room: str, text: str) -> None:
    """Everyone says `text`, and everyone hears it from everyone. What was said before and came late is passed over."""
    for person in people:
        await person.client.emit("tell", (room, text))
    expected = sorted((person.node, text) for person in people)
    for person in people:
        heard: list[tuple[object, ...]] = []
        while len(heard) < len(people):
            said = await person.said.next()
            if said[1] == text:
                heard.append(said)
        assert sorted(heard, key=str) == expected
