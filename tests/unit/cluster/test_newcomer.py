"""A node that has just started has not heard of all others yet: a request for a session of theirs waits a moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.cluster.nodes import cluster

from shoal import Server
from shoal.cluster.messages import Hello
from shoal.cluster.peers import ANSWERS_TIMEOUT
from shoal.http.request import Request
from shoal.testing import TestServer, async_test

ADDRESS = "10.0.0.2:8000"


def asked(tag: str) -> Request:
    query = f"EIO=4&transport=polling&sid={tag}xxxxxxxxxxxxxx".encode()
    return Request("POST", "/socket.io/", query, b"\r\n", "", False)


@async_test
async def test_a_session_of_a_node_that_answers_late_is_found() -> None:
    async with cluster("one") as nodes:
        newcomer = nodes[0]
        forwarder = newcomer.io.engine.forwarder
        assert forwarder.is_elsewhere(asked("OTHER0"))
        late = asyncio.create_task(forwarder.locate(asked("OTHER0")))
        await newcomer.server.clock.advance(ANSWERS_TIMEOUT / 2)
        assert not late.done()
        newcomer.link.peers.hello_received("OTHER0", Hello("two", ADDRESS, b"k" * 16))
        await newcomer.server.clock.advance(0.05)
        assert (await late) is forwarder.owner(asked("OTHER0"))


@async_test
async def test_a_session_of_nobody_is_refused_then_and_at_once_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    async with cluster("one") as nodes:
        newcomer = nodes[0]
        forwarder = newcomer.io.engine.forwarder
        nobody = asyncio.create_task(forwarder.locate(asked("NOBODY")))
        await newcomer.server.clock.advance(ANSWERS_TIMEOUT + 0.05)
        assert nobody.done()
        assert nobody.result() is None
        began = newcomer.server.clock.now
        assert not forwarder.is_elsewhere(asked("NOBODY"))
        assert await forwarder.locate(asked("NOBODY")) is None
        assert newcomer.server.clock.now == began
    assert caplog.records == []


@async_test
async def test_while_the_broker_is_away_nobody_is_waited_for() -> None:
    async with cluster("one") as nodes:
        newcomer = nodes[0]
        newcomer.link.peers.link_changed(False)
        assert not newcomer.io.engine.forwarder.is_elsewhere(asked("OTHER0"))
        newcomer.link.peers.link_changed(True)
        assert newcomer.io.engine.forwarder.is_elsewhere(asked("OTHER0"))


@async_test
async def test_a_server_that_stands_alone_waits_for_nobody() -> None:
    io: Any = Server()
    async with TestServer(io):
        assert not io.engine.forwarder.is_elsewhere(asked("OTHER0"))
