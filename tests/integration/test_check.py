"""`shoal check` tries a broker as a node would, and says what became of it within its patience."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from tests.brokers import HOST, Broker

from shoal import Server
from shoal.inspection import Report, examine

PATIENCE = 0.3


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker with a password, and a user who may do next to nothing."""
    options = ("--requirepass", "secret", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with Broker(options=options) as running:
        yield running


def look(url: str, **options: float) -> Report:
    io = Server(broker=url)
    io.on("say")(lambda socket: None)
    return asyncio.run(examine(f"{__name__}:io", io, environment={}, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["redis", "redis+streams"])
def test_a_broker_is_reached_and_asked_what_it_is(broker: Broker, scheme: str) -> None:
    report = look(f"{scheme}://:secret@{HOST}:{broker.port}")
    assert report.broker is not None
    assert (report.broker.url, report.broker.reachable) == (f"{scheme}://{HOST}:{broker.port}", True)
    assert report.broker.milliseconds is not None
    assert report.broker.product in ("Redis", "Valkey")
    assert report.broker.version is not None
    assert int(report.broker.version.partition(".")[0]) >= 6
    assert report.broker.eviction == "allkeys-lru"
    assert report.ok
    assert [note.code for note in report.notes] == (["broker-evicts"] if scheme == "redis+streams" else [])


def test_nothing_is_left_in_the_broker(broker: Broker) -> None:
    """No key, and no subscription: the numbering of a cluster's messages is not begun by who only looks."""
    look(f"redis+streams://:secret@{HOST}:{broker.port}")
    with socket.create_connection((HOST, broker.port), timeout=5) as peer:
        peer.sendall(b"AUTH secret\r\nDBSIZE\r\nPUBSUB CHANNELS\r\n")
        answer = b""
        while not answer.endswith(b"*0\r\n"):
            more = peer.recv(4096)
            assert more, answer
            answer += more
    assert answer == b"+OK\r\n:0\r\n*0\r\n"


def test_a_broker_that_hides_what_it_is_counts_as_reached() -> None:
    with Broker(options=("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-info")) as broker:
        report = look(broker.url)
    assert report.broker is not None
    assert (report.broker.reachable, report.broker.product, report.ok) == (True, None, True)


def test_a_wrong_password_is_told_and_not_shown(broker: Broker) -> None:
    report = look(f"redis://:wrong-word@{HOST}:{broker.port}")
    [problem] = report.problems
    assert problem.code == "broker-unreachable"
    assert "WRONGPASS" in problem.message
    assert "wrong-word" not in str(report.as_dict())


def test_a_broker_that_is_away_is_told() -> None:
    with contextlib.closing(socket.socket()) as taken:  # bound, but not listening: it refuses
        taken.bind((HOST, 0))
        report = look(f"redis://{HOST}:{taken.getsockname()[1]}")
    assert [problem.code for problem in report.problems] == ["broker-unreachable"]
    assert report.problems[0].message.endswith("cannot be reached: Connection refused")


def test_a_broker_that_says_nothing_is_not_waited_for() -> None:
    """The kernel takes the connection, and nobody answers."""
    with contextlib.closing(socket.create_server((HOST, 0))) as silent:
        started = time.monotonic()
        report = look(f"redis://{HOST}:{silent.getsockname()[1]}", timeout=PATIENCE)
        taken = time.monotonic() - started
    assert report.problems[0].message.endswith(f"cannot be reached: no answer within {PATIENCE:g} s")
    assert PATIENCE <= taken < PATIENCE + 5


def test_a_peer_that_is_no_broker_is_told() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(1000)
        writer.close()

    async def against_a_web_server() -> Report:
        server = await asyncio.start_server(answer, HOST, 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            io = Server(broker=f"redis://{HOST}:{port}")
            return await examine(f"{__name__}:io", io, environment={}, ignore=["no-handlers"])

    report = asyncio.run(against_a_web_server())
    assert [problem.code for problem in report.problems] == ["broker-unreachable"]
    assert "no Redis broker" in report.problems[0].message
