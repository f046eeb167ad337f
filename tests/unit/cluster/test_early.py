"""A server that does not run emits: in a worker or a management command that imports it, or before it is started."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.internals import link

from shoal import ConfigurationError, Server
from shoal.testing import TestServer, async_test


def pair() -> tuple[Server, Server]:
    return Server(node="one", broker="memory://early"), Server(node="two", broker="memory://early")


@async_test
async def test_where_no_loop_runs_it_is_an_error_that_names_the_way_and_nothing_else_is_lost() -> None:
    """Each time; and once it does run the server speaks to the others, and does not say what it failed to say."""
    one, two = pair()

    def emit() -> None:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"^nothing sent: .*shoal\.SyncEmitter"):
                one.emit("early", "x" * 100)

    await asyncio.to_thread(emit)
    assert link(one)._outgoing == []
    async with TestServer(one) as first, TestServer(two) as second:
        client = await second.connect()
        one.emit("late")
        await first.settle()
        assert client.received == [("late",)]
        assert [socket.id for socket in await one.fetch_sockets()] == [client.id]


@async_test
async def test_on_a_loop_it_waits_for_the_start_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    one, two = pair()
    async with TestServer(two) as second:
        client = await second.connect()
        with caplog.at_level(logging.WARNING, "shoal.cluster"):
            for number in range(3):
                one.emit("early", number)
                await second.settle()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "shoal.SyncEmitter" in caplog.text
        assert client.received == []
        async with TestServer(one) as first:
            await first.settle()
            assert client.received == [("early", number) for number in range(3)]
