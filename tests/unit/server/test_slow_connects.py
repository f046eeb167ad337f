"""A connect handler that does not return is named, with the line at which it waits: its client waits too."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any

import pytest

from shoal import Server, Socket
from shoal.testing import TestServer, async_test


async def ask_the_database() -> None:
    await asyncio.get_running_loop().create_future()  # never done


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "waits to be let into" in record.getMessage()]


def line_of(function: Any, text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


@async_test
async def test_it_is_logged_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """After five seconds, with each line from the handler to what it awaits, and none of ours."""
    io = Server()

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        if socket.handshake.auth:
            await ask_the_database()

    async with TestServer(io) as server:
        slow = await server.open()
        slow.send('40{"user":1}')
        await server.connect()
        await server.clock.advance(4.9)
        assert told(caplog) == []
        await server.clock.advance(0.7)
        [message] = told(caplog)
        assert re.match(r"socket \S{20} waits to be let into / for 5\.\d s; 1 clients did so", message)
        lines = re.findall(rf'File "{re.escape(__file__)}", line (\d+), in (\w+)', message)
        assert lines == [
            (str(line_of(connect, "await ask_the_database")), "connect"),
            (str(line_of(ask_the_database, "never done")), "ask_the_database"),
        ]
        assert "/shoal/" not in message
        assert io.stats.slow_connects == 1
        await server.clock.advance(39)
        assert slow.open
        await server.clock.advance(1)
        assert not slow.open  # `connect_timeout` holds as ever
    assert len(told(caplog)) == 1


@async_test
async def test_middleware_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    """And so is the connect handler of a namespace that is not the client's first."""
    io = Server(slow_connect=1)

    @io.of("/other").use
    async def authenticate(socket: Socket) -> None:
        await ask_the_database()

    async with TestServer(io) as server:
        client = await server.connect()
        await server.clock.advance(20)
        client.connection.send("40/other,")
        await server.clock.advance(2)
        [message] = told(caplog)
        assert "/other" in message
        assert "in authenticate" in message
        await server.clock.advance(60)
        assert client.connected
        assert len(told(caplog)) == 1


@pytest.mark.parametrize("slow_connect", [0, 45, 100])
def test_it_can_be_turned_off(caplog: pytest.LogCaptureFixture, slow_connect: float) -> None:
    """Or come too late to be of use; ``connect_timeout`` stays what it is."""

    @async_test
    async def check() -> None:
        io = Server(slow_connect=slow_connect)
        io.use(lambda socket: ask_the_database())
        async with TestServer(io) as server:
            connection = await server.open()
            connection.send("40")
            await server.clock.advance(44.9)
            assert connection.open
            await server.clock.advance(0.7)
            assert not connection.open
        assert told(caplog) == []

    check()


@async_test
async def test_those_who_ask_late_or_not_at_all_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()
    io.use(lambda socket: ask_the_database())
    async with TestServer(io) as server:
        await server.open()
        late = await server.open()
        await server.clock.advance(4)
        late.send("40")
        await server.clock.advance(3)
        assert told(caplog) == []
        assert io.stats.slow_connects == 0


@async_test
async def test_of_many_a_few_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """All are counted: to find out where each of them waits takes time that a server in trouble does not have."""
    io = Server()
    io.use(lambda socket: ask_the_database())
    async with TestServer(io) as server:
        for _ in range(50):
            (await server.open()).send("40")
        await server.clock.advance(6)
        assert len(told(caplog)) == 10
        assert io.stats.slow_connects == 50
