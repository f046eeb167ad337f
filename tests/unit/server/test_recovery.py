"""Coming back after a lost connection: to the same id, rooms, data, and to what was said meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from tests.internals import handlers, recovery, rooms

from shoal import ConfigurationError, ConnectionRefused, Server, Socket
from shoal.testing import TestClient, TestServer, async_test


def recovering(**options: Any) -> Server:
    """A server with a room, data and a log of who comes and goes."""
    io = Server(connection_state_recovery=True, ping_interval=25.0, ping_timeout=20.0, **options)
    io.on("echo")(lambda socket, *args: args)

    @io.on("sit")
    async def sit(socket: Socket, room: str) -> None:
        await socket.join(room)
        socket.data["seat"] = room

    return io


def events(client: TestClient) -> list[Any]:
    """Events with their arguments, without the offsets; in the order in which they came."""
    taken, client.received = client.received, []
    return [tuple(event)[:-1] for event in taken]


async def back(server: TestServer, client: TestClient, namespace: str = "/", **auth: Any) -> TestClient:
    return await server.connect(namespace, {**auth, **client.recovery})


@async_test
async def test_a_client_comes_back_to_its_state() -> None:
    """Id, rooms and data; the connect handler sees that it has come back."""
    io = recovering()
    seen: list[tuple[str, bool]] = []
    io.on("connect")(lambda socket: seen.append((socket.id, socket.recovered)))
    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        anna.connection.drop()
        again = await back(server, anna)
        assert again.id == anna.id
        assert again.recovery["pid"] == anna.recovery["pid"]
        socket = io.sockets[again.id]
        assert socket.rooms == {anna.id, "front"}
        assert socket.data == {"seat": "front"}
        assert seen == [(anna.id, False), (anna.id, True)]
        assert (io.stats.recovered, io.stats.not_recovered) == (1, 0)


@async_test
async def test_what_it_missed_comes_once_and_in_order() -> None:
    """Behind the CONNECT reply, in front of what the connect handler says; direct, by room, to all, binary."""
    io = recovering()
    io.on("connect")(lambda socket: socket.emit("welcome", "back" if socket.recovered else "new"))
    async with TestServer(io) as server:
        anna, other = await server.connect(), await server.connect()
        await anna.emit("sit", "front")
        io.emit("before")
        await server.settle()
        socket = io.sockets[anna.id]
        anna.connection.pause()
        io.to("front").emit("lost on the way")
        await server.settle()
        anna.connection.drop()
        socket.emit("direct", 1)
        io.to("front").emit("room", b"x")
        io.to("back").emit("another room")
        io.except_("front").emit("not in front")
        other_socket = io.sockets[other.id]
        other_socket.broadcast.emit("from the other")
        io.volatile.emit("volatile")
        io.local.emit("local")
        assert events(anna) == [("welcome", "new"), ("before",)]
        again = await back(server, anna)
        io.to("front").emit("after")
        await server.settle()
        assert events(again) == [
            ("lost on the way",),
            ("direct", 1),
            ("room", b"x"),
            ("from the other",),
            ("local",),
            ("welcome", "back"),
            ("after",),
        ]


@async_test
async def test_it_may_come_back_again_and_again() -> None:
    io = recovering()
    async with TestServer(io) as server:
        client = await server.connect()
        await client.emit("sit", "front")
        for number in range(5):
            client.connection.drop()
            io.to("front").emit("news", number)
            client = await back(server, client)
            assert events(client) == [("news", number)]
        assert io.stats.recovered == 5


@async_test
async def test_a_client_that_got_no_message_yet_has_missed_all_since_it_came() -> None:
    """It has no offset to show. What was said before it came was never for it."""
    io = recovering()
    async with TestServer(io) as server:
        await server.connect()
        io.emit("too early")
        anna = await server.connect()
        anna.connection.drop()
        io.emit("news")
        assert "offset" not in anna.recovery
        again = await back(server, anna)
        assert again.id == anna.id
        assert events(again) == [("news",)]


@async_test
async def test_an_offset_from_before_it_came_brings_nothing_more() -> None:
    """Who turns the offset back hears nothing that was said before it was there."""
    io = recovering()
    async with TestServer(io) as server:
        await server.connect()
        io.emit("secret")
        anna = await server.connect()
        anna.connection.drop()
        io.emit("news")
        again = await server.connect(auth={**anna.recovery, "offset": f"{io.engine.tag}.0"})
        assert events(again) == [("news",)]


@async_test
async def test_it_is_back_before_the_loss_is_noticed() -> None:
    """The old connection ends at once, and its disconnect handler runs before the new one's connect handler."""
    io = recovering()
    steps: list[Any] = []
    io.on("connect")(lambda socket: steps.append(("connect", socket.recovered)))
    io.on("disconnect")(lambda socket, reason: steps.append(("disconnect", reason)))
    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        anna.connection.pause()
        io.to("front").emit("news")
        again = await back(server, anna)
        assert again.id == anna.id
        assert events(again) == [("news",)]
        assert steps == [("connect", False), ("disconnect", "transport close"), ("connect", True)]
        assert list(io.sockets) == [anna.id]
        anna.connection.resume()
        await anna.disconnected()


@async_test
async def test_a_namespace_that_ends_with_the_old_connection() -> None:
    """A dynamic one is forgotten with its last socket, and made anew for the one that comes back."""
    io = recovering()
    io.of(re.compile(r"^/room-\d+$"))
    async with TestServer(io) as server:
        anna = await server.connect("/room-1")
        again = await back(server, anna, "/room-1")
        assert again.id == anna.id
        io.of("/room-1").emit("news")
        await server.settle()
        assert events(again) == [("news",)]


@async_test
async def test_each_namespace_has_its_own_state() -> None:
    """What was said in one is not told in the other, and a secret of one opens no other."""
    io = recovering()
    io.of("/a")
    io.of("/b")
    async with TestServer(io) as server:
        first = await server.connect("/a")
        second = await first.enter("/b")
        first.connection.drop()
        io.of("/a").emit("a")
        io.of("/b").emit("b")
        with_the_wrong_one = await server.connect("/a", second.recovery)
        assert with_the_wrong_one.id not in (first.id, second.id)
        again = await back(server, first, "/a")
        again_too = await again.enter("/b", second.recovery)
        assert (events(again), events(again_too)) == ([("a",)], [("b",)])
        assert (again.id, again_too.id) == (first.id, second.id)


@pytest.mark.parametrize("seconds", [119.0, 121.0])
def test_it_may_be_away_for_two_minutes(seconds: float) -> None:
    @async_test
    async def check() -> None:
        io = recovering()
        async with TestServer(io) as server:
            anna, other = await server.connect(), await server.connect()
            anna.connection.drop()
            io.emit("news")
            await server.clock.advance(seconds)
            again = await back(server, anna)
            assert (again.id == anna.id) is (seconds < 120)
            assert events(again) == ([("news",)] if seconds < 120 else [])
            assert other.connected

    check()


@async_test
async def test_a_loss_that_is_noticed_late_costs_no_message() -> None:
    """What was said before the ping timeout told of it is still there at the end of the two minutes."""
    io = recovering()
    async with TestServer(io) as server:
        anna, other = await server.connect(), await server.connect()
        anna.connection.pause()
        io.emit("news")
        await server.clock.advance(46)
        assert anna.id not in io.sockets
        await server.clock.advance(110)
        io.emit("more")
        again = await back(server, anna)
        assert events(again) == [("news",), ("more",)]
        assert other.connected


@async_test
async def test_who_left_on_purpose_begins_anew() -> None:
    """Whoever ended it: the client, or the application."""
    io = recovering()
    async with TestServer(io) as server:
        anna, ben = await server.connect(), await server.connect()
        await anna.disconnect()
        await io.sockets[ben.id].disconnect()
        await server.settle()
        assert (await back(server, anna)).id != anna.id
        assert (await back(server, ben)).id != ben.id
        assert (io.stats.recovered, io.stats.not_recovered) == (0, 2)


@async_test
async def test_a_state_is_given_once() -> None:
    """A second one with the same secret takes it over from the first: there is never more than one."""
    io = recovering()
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        first = await back(server, anna)
        second = await back(server, anna)
        await server.settle()
        assert first.id == second.id
        assert (first.connected, second.connected) == (False, True)
        assert list(io.sockets) == [anna.id]


BAD: list[Any] = [
    {"pid": 7},
    {"pid": ["x"]},
    {"pid": ""},
    {"pid": "guessed", "offset": "1"},
    {"offset": "1"},
    {},
]


@pytest.mark.parametrize("auth", BAD, ids=repr)
def test_a_secret_that_is_none(auth: Any) -> None:
    """Begins anew, as any client does."""

    @async_test
    async def check() -> None:
        io = recovering()
        async with TestServer(io) as server:
            anna = await server.connect()
            anna.connection.drop()
            other = await server.connect(auth=auth)
            assert other.id != anna.id
            assert (await back(server, anna)).id == anna.id

    check()


FOREIGN: list[Any] = [
    "",
    "-1",
    "x",
    "1",
    "99",
    ".1",
    "abcdef.1",
    "{tag}",
    "{tag}.",
    "{tag}.x",
    "{tag}.-1",
    "{tag}.١",
    1,
    ["1"],
]
FOREIGN += [None, "{tag}." + "9" * 19, "{tag}." + "9" * 5_000]


@pytest.mark.parametrize("offset", FOREIGN, ids=lambda offset: repr(offset)[:20])
def test_an_offset_that_is_none_of_this_server(offset: Any) -> None:
    """The client got it from an earlier process, and nothing from this one: it has missed all since it came."""

    @async_test
    async def check() -> None:
        io = recovering()
        async with TestServer(io) as server:
            anna = await server.connect()
            io.emit("news")
            await server.settle()
            anna.connection.drop()
            shown = offset.replace("{tag}", io.engine.tag) if isinstance(offset, str) else offset
            again = await server.connect(auth={**anna.recovery, "offset": shown})
            assert again.id == anna.id
            assert events(again) == [("news",)]

    check()


@async_test
async def test_an_offset_that_was_not_given_yet() -> None:
    """Begins anew: nobody can say what it has."""
    io = recovering()
    async with TestServer(io) as server:
        anna = await server.connect()
        io.emit("news")
        await server.settle()
        anna.connection.drop()
        again = await server.connect(auth={**anna.recovery, "offset": f"{io.engine.tag}.2"})
        assert again.id != anna.id
        assert io.stats.not_recovered == 1


@async_test
async def test_an_offset_of_an_earlier_server_hides_nothing() -> None:
    """The official client keeps its offset when it begins anew; the numbers of another process mean nothing here."""
    before, io = recovering(), recovering()
    async with TestServer(before) as server:
        anna = await server.connect()
        for number in range(50):
            before.emit("old", number)
        await server.settle()
        old = anna.recovery
    async with TestServer(io) as server:
        anna = await server.connect(auth=old)
        anna.connection.pause()
        for number in range(60):
            io.emit("news", number)
        await server.settle()
        anna.connection.drop()
        again = await server.connect(auth={"pid": anna.recovery["pid"], "offset": old["offset"]})
        assert again.id == anna.id
        assert events(again) == [("news", number) for number in range(60)]


@async_test
async def test_middleware_is_not_asked_again() -> None:
    io = recovering()
    asked: list[bool] = []
    io.use(lambda socket: asked.append(socket.recovered))
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        await back(server, anna)
        assert asked == [False]


@async_test
async def test_middleware_may_be_asked_again_and_refuse() -> None:
    """Then nothing of what was missed reaches it, and the state is spent."""
    io = recovering(skip_middlewares=False)

    @io.use
    async def only_once(socket: Socket) -> None:
        if socket.recovered:
            raise ConnectionRefused("once is enough")

    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        io.emit("news")
        with pytest.raises(ConnectionRefused, match="once is enough"):
            await back(server, anna)
        assert not io.sockets
        handlers(io.of("/")).middleware.clear()
        assert (await back(server, anna)).id != anna.id


@async_test
async def test_a_connection_that_is_lost_before_it_was_accepted_loses_nothing() -> None:
    """It comes back a third time, to all that it has not got."""
    io = recovering()
    gate: list[float] = [0.0, 5.0, 0.0]

    @io.on("connect")
    async def slowly(socket: Socket) -> None:
        await asyncio.sleep(gate.pop(0))

    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        anna.connection.drop()
        io.to("front").emit("one")
        connection = await server.open()
        connection.send("40" + json.dumps(anna.recovery))
        await server.settle()
        connection.drop()
        io.to("front").emit("two")
        await server.clock.advance(10)
        again = await back(server, anna)
        assert again.id == anna.id
        assert events(again) == [("one",), ("two",)]
        assert io.sockets[again.id].data == {"seat": "front"}


@async_test
async def test_a_stale_socket_still_speaks_to_its_client() -> None:
    """An application may hold the object of before: what it emits there waits, or goes to the one that came back."""
    io = recovering()
    async with TestServer(io) as server:
        anna = await server.connect()
        stale = io.sockets[anna.id]
        anna.connection.drop()
        await server.settle()
        stale.emit("while away")
        again = await back(server, anna)
        stale.emit("when back")
        await server.settle()
        assert events(again) == [("while away",), ("when back",)]


@async_test
async def test_every_event_without_an_ack_has_an_offset() -> None:
    """The official client takes any text at the end for one: a volatile event has that of the message before."""
    io = recovering()
    io.use(lambda socket: socket.emit("in middleware", "text"))
    async with TestServer(io) as server:
        anna = await server.connect()
        io.emit("news", "text")
        io.volatile.emit("volatile", "text")
        io.sockets[anna.id].emit("direct", "text")
        await server.settle()
        tag = io.engine.tag
        assert [tuple(event) for event in anna.received] == [
            ("in middleware", "text", f"{tag}.0"),
            ("news", "text", f"{tag}.1"),
            ("volatile", "text", f"{tag}.1"),
            ("direct", "text", f"{tag}.2"),
        ]
        anna.on("question", lambda *args: args)
        assert await io.sockets[anna.id].call("question", "text") == "text"


@async_test
async def test_who_missed_more_than_fits_begins_anew() -> None:
    """More than half of what may wait for a client: sent at once it could cut the client off, again and again."""
    io = recovering(max_outbox=10_000)
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        for _ in range(6):
            io.emit("news", "x" * 1_000)
        again = await back(server, anna)
        assert again.id != anna.id
        assert events(again) == []
        assert io.stats.not_recovered == 1


@async_test
async def test_the_states_of_those_who_are_away_are_bounded() -> None:
    """The first to leave begins anew; what has expired makes room first, and counts as nothing lost."""
    io = recovering(recovery_states=2)
    async with TestServer(io) as server:
        clients = [await server.connect() for _ in range(3)]
        for client in clients:
            client.connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 1
        ids = [(await back(server, client)).id for client in clients]
        assert [old.id == new for old, new in zip(clients, ids, strict=True)] == [False, True, True]

        late = [await server.connect() for _ in range(4)]
        for client in late[:2]:
            client.connection.drop()
        await server.clock.advance(121)
        for client in late[2:]:
            client.connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 1


@async_test
async def test_without_the_option_nothing_is_added() -> None:
    """No secret in the CONNECT reply, no offset in events."""
    io = Server()
    async with TestServer(io) as server:
        anna = await server.connect(auth={"pid": "x", "offset": "1"})
        io.emit("news", "text")
        await server.settle()
        assert anna.recovery == {}
        assert [tuple(event) for event in anna.received] == [("news", "text")]


def test_it_is_for_one_node() -> None:
    with pytest.raises(ConfigurationError, match="connection_state_recovery works on one node only"):
        Server(connection_state_recovery=True, broker="redis://127.0.0.1:1")


# ---- in between


@async_test
async def test_a_room_cannot_be_named_like_one_who_is_away() -> None:
    """It would get what is said to that client, now and when it is back."""
    io = recovering()
    async with TestServer(io) as server:
        anna, eve = await server.connect(), await server.connect()
        stale = io.sockets[anna.id]
        anna.connection.drop()
        await server.settle()
        await eve.emit("sit", anna.id)
        assert io.stats.rooms_refused == 1
        stale.emit("secret")
        again = await back(server, anna)
        io.to(anna.id).emit("another")
        await server.settle()
        assert events(again) == [("secret",), ("another",)]
        assert events(eve) == []
        again.connection.drop()
        await server.clock.advance(300)
        await eve.emit("sit", anna.id)
        assert io.stats.rooms_refused == 1


@async_test
async def test_listeners_of_rooms_come_behind_what_was_missed() -> None:
    """They hear of a socket when it is in all of its rooms; what they say there is new to it."""
    io = recovering()

    @io.on("join_room")
    def joined(room: str, socket_id: str) -> None:
        io.to("front", "back").emit("joined", room)

    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        await anna.emit("sit", "back")
        anna.connection.drop()
        anna.received.clear()
        await server.settle()
        io.to("front").emit("one")
        io.to("back").emit("two")
        again = await back(server, anna)
        heard = events(again)
        assert heard[:2] == [("one",), ("two",)]
        assert sorted(heard[2:]) == [("joined", "back"), ("joined", "front")]
        again.connection.drop()
        assert sorted(events(await back(server, again))) == [("joined", "back"), ("joined", "front")]


@async_test
async def test_a_listener_of_rooms_may_send_it_away() -> None:
    """Nothing of it is left in any room."""
    io = recovering()
    banned: set[str] = set()

    @io.on("join_room")
    def joined(room: str, socket_id: str) -> None:
        if socket_id in banned:
            io.sockets[socket_id].disconnect()

    async with TestServer(io) as server:
        anna = await server.connect()
        await anna.emit("sit", "front")
        await anna.emit("sit", "back")
        anna.connection.drop()
        await server.settle()
        banned.add(anna.id)
        connection = await server.open()
        connection.send("40" + json.dumps(anna.recovery))
        await server.settle()
        assert (io.sockets, rooms(io.of("/")).names()) == ({}, [])


@pytest.mark.parametrize("handler", ["of an event", "of disconnect"])
def test_it_comes_back_behind_the_handlers_of_its_socket_before(handler: str) -> None:
    """Presence that is kept by connect and disconnect ends as it should, however slow they are."""

    @async_test
    async def check() -> None:
        io = recovering()
        online: set[str] = set()
        io.on("connect")(lambda socket: online.add(socket.id))

        @io.on("work")
        async def work(socket: Socket) -> None:
            await asyncio.sleep(3)

        @io.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            if handler == "of disconnect":
                await asyncio.sleep(3)
            online.discard(socket.id)

        async with TestServer(io) as server:
            anna = await server.connect()
            if handler == "of an event":
                anna.send("work")
                await server.settle()
            anna.connection.drop()
            io.emit("news")
            again = await back(server, anna)
            assert online == {anna.id}
            assert again.connected
            assert events(again) == [("news",)]
            assert not recovery(io)._leaving

    check()


@async_test
async def test_a_disconnect_handler_that_never_ends_holds_nobody_up_for_ever() -> None:
    io = recovering()
    io.on("disconnect")(lambda socket, reason: asyncio.sleep(3600))
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        again = await server.connect(auth=anna.recovery, timeout=6)
        assert again.id == anna.id


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_of_two_that_ask_the_second_one_has_it(seconds: float) -> None:
    """However close together: also while the first one's namespace is still being looked for."""

    @async_test
    async def check() -> None:
        io = recovering()

        async def matches(name: str, auth: Any) -> bool:
            await asyncio.sleep(1)
            return name == "/slow"

        io.of(matches)
        async with TestServer(io) as server:
            anna = await server.connect("/slow")
            anna.connection.drop()
            await server.settle()
            connections = [await server.open(), await server.open()]
            for connection in connections:
                connection.send("40/slow," + json.dumps(anna.recovery))
                await server.clock.advance(seconds)
            await server.clock.advance(5)
            assert not connections[0].open
            reply = await connections[1].receive()
            assert isinstance(reply, str)
            assert json.loads(reply.removeprefix("40/slow,"))["sid"] == anna.id
            assert list(io.of("/slow").sockets) == [anna.id]

    check()


@async_test
async def test_what_a_listener_says_comes_behind_what_it_heard() -> None:
    """On the wire, in the offsets and for those who come back."""
    io = recovering()
    async with TestServer(io) as server:
        anna, ben = await server.connect(), await server.connect()

        @io.sockets[anna.id].on_any_outgoing
        def audit(event: str, *args: Any) -> None:
            if event != "audit":
                io.to(ben.id).emit("audit", event)

        io.emit("news")
        await server.settle()
        assert events(ben) == [("news",), ("audit", "news")]
        ben.connection.drop()
        assert events(await back(server, ben)) == []


def test_an_event_before_the_server_runs() -> None:
    """Nobody can miss it."""
    recovering().emit("early")


@async_test
async def test_what_is_kept_ends_with_time() -> None:
    """With nobody coming or going, and no message said."""
    io = recovering()
    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        io.emit("news")
        await server.clock.advance(600)
        assert repr(recovery(io)) == "<recovery, 0 here, 0 away, 0 messages>"


@async_test
async def test_an_idle_client_of_a_busy_server_comes_back() -> None:
    """Its offset is old, but all that was said since is known to have been for others, or to have arrived."""
    io = recovering()
    async with TestServer(io) as server:
        anna, ben = await server.connect(), await server.connect()
        io.emit("for both")
        await server.settle()
        for _ in range(40):
            io.to(ben.id).emit("for him")
            await server.clock.advance(25)
        anna.connection.drop()
        io.to(anna.id).emit("for her")
        again = await back(server, anna)
        assert again.id == anna.id
        assert events(again) == [("for her",)]


@async_test
async def test_several_namespaces_share_what_fits() -> None:
    """What all sockets of a connection missed must fit into its outbox together."""
    io = recovering(max_outbox=100_000)
    names = ["/a", "/b", "/c"]
    for name in names:
        io.of(name)
    async with TestServer(io) as server:
        first = await server.connect("/a")
        clients = [first, await first.enter("/b"), await first.enter("/c")]
        first.connection.drop()
        for name in names:
            io.of(name).emit("news", "x" * 30_000)
        again = await back(server, first, "/a")
        others = [await again.enter(client.namespace, client.recovery) for client in clients[1:]]
        assert [new.id == old.id for new, old in zip([again, *others], clients, strict=True)] == [True, False, False]


@async_test
async def test_who_was_never_accepted_takes_no_place() -> None:
    """It was not told the secret with which it could come back."""
    io = recovering(recovery_states=1)
    slow = [0.0, 5.0]

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        await asyncio.sleep(slow.pop(0) if slow else 0)

    async with TestServer(io) as server:
        anna = await server.connect()
        anna.connection.drop()
        connection = await server.open()
        connection.send("40")
        await server.settle()
        connection.drop()
        await server.clock.advance(10)
        assert (await back(server, anna)).id == anna.id


@async_test
async def test_long_names_of_rooms_are_bounded_too() -> None:
    """A client may have chosen them."""
    io = recovering(recovery_buffer=100_000)
    async with TestServer(io) as server:
        clients = [await server.connect() for _ in range(5)]
        for number, client in enumerate(clients):
            await client.emit("sit", str(number) * 40_000)
            client.connection.drop()
        await server.settle()
        assert io.stats.states_dropped == 3


@async_test
async def test_who_is_away_can_be_sent_away_and_moved() -> None:
    """By orders to many and by the socket of before: it comes back to what is left, or not at all."""
    io = recovering()
    io.on("disconnecting")(lambda socket, reason: socket.leave("middle"))
    async with TestServer(io) as server:
        clients = [await server.connect() for _ in range(4)]
        stale = [io.sockets[client.id] for client in clients]
        for client in clients:
            for room in ("front", "middle", "back", f"seat {clients.index(client)}"):
                await client.emit("sit", room)
            client.connection.drop()
        await server.settle()
        await io.in_("front").except_("seat 2").leave("front")
        await io.in_("seat 0").disconnect()
        await stale[1].disconnect()
        stale[2].data = "new"
        stale[3].leave("back", "front")
        again = [await back(server, client) for client in clients]
        assert [new.id == old.id for new, old in zip(again, clients, strict=True)] == [False, False, True, True]
        assert io.sockets[clients[2].id].rooms == {clients[2].id, "front", "back", "seat 2"}
        assert io.sockets[clients[2].id].data == "new"
        assert io.sockets[clients[3].id].rooms == {clients[3].id, "seat 3"}


@async_test
async def test_a_stale_socket_of_a_namespace_that_was_made_anew() -> None:
    """What is said there reaches the client; after the client has left for good it is not even kept."""
    io = recovering()
    io.of(re.compile("^/room-[0-9]$"))
    async with TestServer(io) as server:
        anna = await server.connect("/room-1")
        stale = io.of("/room-1").sockets[anna.id]
        anna.connection.drop()
        await server.settle()
        again = await back(server, anna, "/room-1")
        stale.emit("news")
        await server.settle()
        assert events(again) == [("news",)]
        await again.disconnect()
        kept = len(recovery(io).history)
        stale.emit("nobody")
        assert len(recovery(io).history) == kept


@async_test
async def test_no_time_to_come_back_costs_no_turns_of_the_loop() -> None:
    """With a duration of nothing everybody begins anew, and nobody sweeps without a pause."""
    io = recovering(max_disconnection_duration=0)
    async with TestServer(io) as server:
        anna, other = await server.connect(), await server.connect()
        anna.connection.drop()
        io.emit("news")
        await server.settle()  # returns when nothing more can happen at this time
        await server.clock.advance(1)
        assert (await back(server, anna)).id != anna.id
        assert other.connected
