"""Each bound on what one client may do: it gets a clear error or is cut off, and a second client goes on unharmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.internals import clients, rooms, runners

from shoal import Server, Socket
from shoal.handlers.rate_limit import TokenBucket
from shoal.testing import TestServer, async_test


def echo(**options: Any) -> Server:
    io = Server(**options)
    io.on("echo")(lambda socket, *args: args)
    return io


PLACEHOLDER = '{"_placeholder":true,"num":0}'
BROKEN: list[tuple[str, list[str | bytes]]] = [
    ("an unknown packet", ["4abc"]),
    ("no packet at all", ["4"]),
    ("an event of nothing", ["42"]),
    ("an event that is no list", ["42{}"]),
    ("a bad ack id", ["42abc[]"]),
    ("a reserved name", ['42["connect"]']),
    ("a namespace that was not entered", ['42/none,["x"]']),
    ("an ack of a namespace that was not entered", ["43/none,1[]"]),
    ("bad JSON", ['42["x"']),
    ("too deep", ['42["x",' + "[" * 64 + "]" * 64 + "]"]),
    ("binary out of place", [b"x"]),
    ("text out of place", ['451-["x",' + PLACEHOLDER + "]", '42["x"]']),
    ("CONNECT out of place", ['451-["x",' + PLACEHOLDER + "]", "40"]),
    ("too many attachments", ['4511-["x"]']),
    ("attachments that are too large", ['452-["x",' + PLACEHOLDER + "]", b"x" * 600, b"x" * 600]),
    ("a placeholder of nothing", ['451-["x",{"_placeholder":true,"num":1}]', b"x"]),
    ("a payload of CONNECT that is no object", ["40[]"]),
]


@pytest.mark.parametrize(("packets"), [packets for _, packets in BROKEN], ids=[name for name, _ in BROKEN])
def test_a_packet_that_breaks_the_protocol_costs_its_sender_the_connection(packets: list[str | bytes]) -> None:
    """With the reason `parse error`, counted; the other client does not notice."""

    @async_test
    async def check() -> None:
        io = echo(max_attachment_bytes=1_000)
        reasons: list[str] = []
        io.on("disconnect")(lambda socket, reason: reasons.append(reason))
        async with TestServer(io) as server:
            bad, good = await server.connect(), await server.connect()
            for packet in packets:
                bad.connection.send(packet)
            assert await bad.connection.closed() == 1000
            await server.settle()
            assert reasons == ["parse error"]
            assert io.stats.parse_errors == 1
            assert await good.call("echo", 1) == 1

    check()


@async_test
async def test_before_connect_an_event_costs_the_connection_too() -> None:
    io = echo()
    async with TestServer(io) as server:
        connection = await server.open()
        connection.send('42["echo"]')
        await connection.closed()
        assert io.stats.parse_errors == 1


@async_test
async def test_leaving_a_namespace_twice_is_no_error() -> None:
    """Both sides may leave at the same time."""
    io = echo()
    async with TestServer(io) as server:
        client = await server.connect()
        connection = client.connection
        connection.send("41")
        connection.send("41")
        connection.send("41/never")
        await server.settle()
        assert connection.open
        assert io.sockets == {}


class TestRate:
    @async_test
    async def test_events_beyond_it_are_refused_and_told(self) -> None:
        """In the acknowledgement, or with `error` once a second; no handler sees them; the connection lives."""
        io = Server(max_events_per_second=10)
        handled: list[Any] = []

        @io.on("echo")
        def handle(socket: Socket, *args: Any) -> Any:
            handled.append(args)
            return args

        async with TestServer(io) as server:
            fast, other = await server.connect(), await server.connect()
            answers = [await fast.call("echo", n) for n in range(12)]
            assert answers[:10] == list(range(10))
            assert answers[10:] == [{"error": "too many events", "event": "echo"}] * 2
            for _ in range(5):
                await fast.emit("echo")
            assert fast.received == [("error", {"error": "too many events", "event": "echo"})]
            assert io.stats.rate_limited == 7
            assert len(handled) == 10
            assert await other.call("echo", 1) == 1
            await server.clock.advance(0.5)
            assert [await fast.call("echo", n) for n in range(5)] == list(range(5))

    @async_test
    async def test_acks_do_not_count(self) -> None:
        io = echo(max_events_per_second=1)
        async with TestServer(io) as server:
            client = await server.connect()
            client.on("q", lambda: 1)
            for _ in range(20):
                assert await io.sockets[client.id].call("q") == 1

    @async_test
    async def test_without_the_option_there_is_none(self) -> None:
        io = echo()
        async with TestServer(io) as server:
            client = await server.connect()
            for _ in range(2_000):
                client.send("echo")
            assert await client.call("echo", 1) == 1
            assert io.stats.rate_limited == 0

    def test_the_bucket_lets_a_seconds_worth_through_at_once(self) -> None:
        """And then the rate, on average; time that goes unused is not saved beyond that."""
        bucket = TokenBucket(4.0, now=100.0)
        assert [bucket.take(100.0) for _ in range(5)] == [True] * 4 + [False]
        assert [bucket.take(100.25), bucket.take(100.25)] == [True, False]
        assert [bucket.take(900.0) for _ in range(5)] == [True] * 4 + [False]

    def test_a_rate_below_one_lets_one_event_through(self) -> None:
        bucket = TokenBucket(0.5, now=0.0)
        assert [bucket.take(now) for now in (0.0, 1.0, 2.0, 3.0, 4.0)] == [True, False, True, False, True]


@async_test
async def test_a_hundred_broken_clients_leave_nothing_behind() -> None:
    """Sessions, sockets, rooms, timers and runners are as before; and whoever is there was served all the time."""
    io = echo(max_waiting_events=4)

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        await socket.join("all", socket.id[:3])

    async with TestServer(io) as server:
        good = await server.connect()
        for number in range(100):
            bad = await server.connect()
            actions: list[Callable[[], object]] = [
                lambda bad=bad: bad.connection.send("4x"),  # type: ignore[misc]
                lambda bad=bad: bad.connection.drop(),  # type: ignore[misc]
                lambda bad=bad: bad.connection.close(),  # type: ignore[misc]
                lambda bad=bad: bad.connection.send('451-["x",' + PLACEHOLDER + "]") or bad.connection.drop(),  # type: ignore[misc]
            ]
            actions[number % 4]()
            assert await good.call("echo", number) == number
        await server.settle()
        assert len(clients(io)) == len(io.sockets) == io.engine.clients_count == 1
        assert len(rooms(io.of("/"))) == 2
        assert len(io.engine.context.wheel) == 1
        assert len(runners(io)) == 0
