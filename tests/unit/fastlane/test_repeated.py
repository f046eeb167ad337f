"""Answers that are written at the end of the turn, with those on other connections: none is late, lost or out of order.

What they are is compared in `test_polling`; that they go to no other file, in `tests/chaos/test_descriptors.py`.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Any

import pytest
from tests.loopback import connect_narrow
from tests.unit.fastlane.polling import FIELDS, PATH, Harness, Steps, request

from shoal.fanout import writer
from shoal.fastlane.repeated import request_line
from shoal.testing import async_test

OK = b"\r\n\r\nok"


async def with_an_answer_collected() -> Harness:
    """A harness on whose connection 0 an answer waits for the end of the turn."""
    harness = Harness(fast=True)
    await harness.open()
    do = Steps(harness)
    await do.post(0, 0, FIELDS, b"4one")
    await harness.settle()
    await do.post(0, 0, FIELDS, b"4two")
    assert harness.wires[0].protocol.repeated == 1
    assert harness.wires[0].written.count(OK) == 1
    return harness


@async_test
async def test_it_is_written_at_the_end_of_the_turn() -> None:
    harness = await with_an_answer_collected()
    await asyncio.sleep(0)
    assert harness.wires[0].written.count(OK) == 2
    await harness.end()


@async_test
async def test_what_the_client_sends_next_is_answered_behind_it() -> None:
    harness = await with_an_answer_collected()
    await Steps(harness).get(0, 0, FIELDS)
    assert harness.wires[0].written.count(OK) == 2
    assert harness.wires[0].written.endswith(b"\r\n\r\n4one\x1e4two")
    await harness.end()


@async_test
async def test_so_is_what_breaks_the_protocol() -> None:
    harness = await with_an_answer_collected()
    await Steps(harness).bytes(0, b"\x00")
    assert harness.wires[0].written.count(OK) == 2
    assert harness.wires[0].written.endswith(b"Invalid HTTP request received.")
    await harness.end()


@async_test
async def test_an_answer_that_is_too_large_to_be_collected_is_written_behind_it() -> None:
    harness = await with_an_answer_collected()
    do = Steps(harness)
    await do.get(0, 0, FIELDS)
    harness.session(0).send("x" * 5_000)
    await do.post(0, 0, FIELDS, b"4three")
    await do.get(0, 0, FIELDS)
    assert harness.wires[0].protocol.repeated == 3
    bodies = [b"ok", b"ok", b"4one\x1e4two", b"ok", b"4" + b"x" * 5_000 + b"\x1e4three"]
    assert re.findall(rb"\r\n\r\n(.*?)(?=HTTP|$)", harness.wires[0].written) == bodies
    await harness.end()


@async_test
@pytest.mark.parametrize("end", ["shutdown", "eof_received"])
async def test_it_is_written_before_the_connection_ends(end: str) -> None:
    harness = await with_an_answer_collected()
    getattr(harness.wires[0].protocol, end)()
    assert harness.wires[0].written.count(OK) == 2
    await harness.end()


@async_test
async def test_it_goes_through_the_transport_while_that_holds_something() -> None:
    harness = await with_an_answer_collected()
    wire = harness.wires[0]
    outbox = wire.protocol._outbox
    outbox.attach(wire.write, framed=True, descriptor=1_000_000)
    wire.protocol.pause_writing()
    assert outbox.descriptor == -1
    await asyncio.sleep(0)
    assert wire.written.count(OK) == 2
    wire.protocol.resume_writing()
    assert outbox.descriptor == 1_000_000
    wire.protocol.connection_lost(None)
    assert outbox.descriptor == -1
    harness.wires[0] = harness.connect()
    await harness.end()


@async_test
async def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    harness = await with_an_answer_collected()
    wire = harness.wires[0]
    wire.protocol.connection_lost(None)
    await asyncio.sleep(0)
    assert wire.written.count(OK) == 1
    harness.wires[0] = harness.connect()
    await harness.end()


@async_test
async def test_a_transport_that_fails_ends_the_connection() -> None:
    harness = await with_an_answer_collected()
    wire = harness.wires[0]
    outbox = wire.protocol._outbox

    def fail(data: Any) -> None:
        raise OSError

    outbox.write = fail
    await asyncio.sleep(0)
    assert wire.aborted
    await harness.end()


@pytest.mark.parametrize("ring_from", [1, 1_000], ids=["by a ring", "one by one"])
@pytest.mark.parametrize("size", [10, 900])
def test_a_client_that_reads_late_gets_all_in_order(size: int, ring_from: int, monkeypatch: Any) -> None:
    """On a real socket that holds little: what it does not take goes through the transport, and reading goes on."""
    uvloop = pytest.importorskip("uvloop")
    monkeypatch.setattr(writer, "RING_FROM", ring_from)
    monkeypatch.setattr(writer, "active_count", lambda: 1)

    async def main() -> None:
        harness = Harness(fast=True)
        await harness.open()
        protocol, client = await connect_narrow(lambda: harness.wire(0).protocol)
        with client:
            await read_late(harness, protocol, client)
        while protocol in harness.state.connections:
            await asyncio.sleep(0)
        await harness.engine.close()
        harness.ticker.forget_loop()

    async def read_late(harness: Harness, protocol: Any, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        session = harness.session(0)
        get = request(b"GET " + PATH + b"&sid=" + harness.sids[0].encode() + b" HTTP/1.1", FIELDS)
        sent = 0
        while not protocol.flow.write_paused:
            assert sent < 5_000
            session.send(f"{sent}" + "x" * size)
            await loop.sock_sendall(client, get)
            sent += 1
            deadline = loop.time() + 5.0
            while harness.state.total_requests < sent + 1 and loop.time() < deadline:
                await asyncio.sleep(0)
            await harness.settle()  # it is counted before it is written
        assert protocol.repeated == sent - 1
        data, found = b"", []
        while len(found) < sent:
            data += await loop.sock_recv(client, 65_536)
            found = [int(number) for number in re.findall(rb"\r\n\r\n4(\d+)x+(?=HTTP|$)", data)]
        assert found == [*range(sent)]
        assert not protocol.flow.write_paused
        session.send("again")
        await loop.sock_sendall(client, get)
        assert (await loop.sock_recv(client, 65_536)).endswith(b"\r\n\r\n4again")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 20.0))


@pytest.mark.parametrize("path", ["/a?b/", "/é/", "/a b/", "/#/"])
def test_a_path_that_comes_in_another_form_has_no_common_line(path: str) -> None:
    line = f"GET {path}?EIO=4&transport=polling&sid=x HTTP/1.1\r\n".encode()
    assert request_line(path).match(line) is None
    assert request_line("/a.b/").match(b"GET /a.b/?EIO=4&transport=polling&sid=x HTTP/1.1\r\n") is not None
    assert request_line("/a.b/").match(b"GET /aab/?EIO=4&transport=polling&sid=x HTTP/1.1\r\n") is None
