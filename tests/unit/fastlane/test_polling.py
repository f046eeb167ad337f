"""The short cut for polling requests does what the way through uvicorn's HTTP does, for any requests in any order."""

from __future__ import annotations

import asyncio
import re
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.fastlane.polling import FIELDS, LONG, PATH, Harness, Steps, any_step, compare
from tests.unit.fuzz import examples

from shoal.engine.polling import PollingLane
from shoal.testing import Clock, async_test, run


@settings(max_examples=examples(250), deadline=None)
@given(st.lists(any_step, max_size=12), st.booleans())
@example([("get", 0, 0, FIELDS), ("get", 1, 0, FIELDS)], True)
@example([("post", 0, 0, FIELDS, b"4pause\x1e4after"), ("get", 0, 0, FIELDS), ("send", 0), ("resume", 0)], True)
@example([("post", 0, 0, FIELDS, b"4pause\x1e4a\x1e4b"), ("drop", 0), ("resume", 0), ("get", 1, 0, FIELDS)], True)
@example([("get", 0, 0, FIELDS), ("drop", 0), ("get", 1, 0, FIELDS)], True)
@example([("send", 0), ("line", 0, b"GET /engine.io/?EIO=4#&transport=polling&sid=SID HTTP/1.1")], True)
@example([("again", 0, 0, b"x", [None, b"4a"]), ("send", 0), ("again", 0, 0, b"x", [None]), ("send", 0)], True)
@example([("again", 0, 0, b"x", [b"4a", b"4pause", b"4b"]), ("resume", 0), ("again", 1, 0, b"x", [None] * 3)], True)
@example([("again", 0, 0, b"x", [None]), ("send", 0), ("again", 0, 0, b"x", [None]), ("drop", 0)], True)
@example([("again", 0, 0, b"x", [b"4hello"]), ("pieces", 0, 0, 180, b"4hello")], True)
@example([("again", 0, 0, b"x", [b"4a", b"4close"]), ("again", 1, 0, b"x", [None, None])], True)
@example(
    [("get", 0, 0, FIELDS), ("wait", 26.0), ("post", 1, 0, FIELDS, b"3"), ("get", 0, 0, FIELDS), ("wait", 26.0)], True
)
def test_any_steps_do_what_they_do_by_way_of_uvicorn(steps: list[tuple[Any, ...]], collects: bool) -> None:
    """The same answers, the same events for the application, the same counts, after each step."""
    run(compare(steps, collects=collects))


@pytest.mark.parametrize(
    "options",
    [
        {"cors_origins": "http://page", "cors_credentials": True},
        {"cors_origins": None},
        {"http_compression": True},
        {"max_payload": 1000, "max_packets_per_poll": 2},
        {"transports": ("polling",)},
    ],
    ids=str,
)
def test_so_it_is_with_options_that_concern_polling(options: dict[str, Any]) -> None:
    gzip = [*FIELDS, b"Accept-Encoding: gzip"]
    steps: list[tuple[Any, ...]] = [
        ("post", 0, 0, FIELDS, b"4" + LONG.encode()),
        ("get", 0, 0, gzip),
        ("post", 0, 1, FIELDS, b"4a\x1e4b\x1e4c"),
        ("get", 1, 1, FIELDS),
        ("get", 1, 0, [b"Origin: http://other"]),
        ("send", 0),
    ]
    run(compare(steps, **options))


def test_a_second_poll_on_another_connection_is_seen_by_both_short_cuts() -> None:
    polls = [step for wire in (0, 1) for step in (("again", wire, 0, b"x", [None]), ("send", 0))]
    assert run(compare([*polls, ("again", 0, 0, b"x", [None]), ("again", 1, 0, b"x", [None])]))[1] == 1


@pytest.mark.parametrize(
    "length", [b"05", b"+5", b"-5", b" 5", b"5 ", b"5_0", b"0x5", b"", b"4", b"6", b"5,5", b"9" * 13]
)
@pytest.mark.parametrize("body", [b"4five", b"4" + b"x" * 49])
def test_a_length_means_what_it_means_to_uvicorn(length: bytes, body: bytes) -> None:
    """Else the rest of a body would be a request."""
    run(compare([("length", 0, 0, length, body)]))


@pytest.mark.parametrize("field", [b"Connection: close", b"Expect: 100-continue", b"Content-Length: 0", b"X: y"])
def test_a_field_in_front_of_those_that_are_known_is_read(field: bytes) -> None:
    steps: list[tuple[Any, ...]] = [("again", 0, 0, b"x", [b"4a", None]), ("get", 0, 0, [field, *FIELDS]), ("send", 0)]
    assert run(compare(steps))[1] == 0
    assert run(compare([("again", 0, 0, b"x", [b"4a"]), ("post", 0, 0, [field, *FIELDS], b"4b")]))[1] == 0


def test_large_answers_are_compressed_on_either_way() -> None:
    steps: list[tuple[Any, ...]] = []
    for _ in range(3):
        steps += [("post", 0, 0, FIELDS, b"4" + LONG.encode()), ("get", 1, 0, [*FIELDS, b"Accept-Encoding: gzip"])]
    for target in (PATH + b"&sid=SID", PATH + b"&t=1&sid=SID"):
        steps += [("line", 1, b"GET " + target + b" HTTP/1.1"), ("post", 0, 0, FIELDS, b"4" + LONG.encode())]
    assert run(compare(steps, http_compression=True))[1] > 4


@async_test
async def test_a_date_is_todays() -> None:
    harness = Harness(fast=True)
    await harness.open()
    do = Steps(harness)
    for day in (b"today", b"today", b"tomorrow"):
        harness.state.default_headers = [(b"date", day)]
        await do.post(0, 0, FIELDS, b"4hello")
        await do.get(1, 0, FIELDS)
        await harness.settle()
    assert [wire.protocol.repeated for wire in harness.wires] == [2, 2]
    for wire in harness.wires:
        assert re.findall(rb"date: (\w+)", wire.written) == [b"today", b"today", b"tomorrow"]
    await harness.end()


@async_test
async def test_who_asks_for_headers_later_is_asked() -> None:
    harness = Harness(fast=True)
    await harness.open()
    do = Steps(harness)
    await do.post(0, 0, FIELDS, b"4hello")
    harness.engine.on("headers")(lambda headers, request: headers.update(x="y"))
    await do.post(0, 0, FIELDS, b"4hello")
    await harness.settle()
    assert harness.wires[0].protocol.repeated == 0
    assert b"x: y" in harness.wires[0].written
    await harness.end()


@async_test
@pytest.mark.parametrize("fast", [True, False])
async def test_a_session_is_refused_from_the_moment_on_that_its_pong_is_overdue(fast: bool) -> None:
    """The wheel comes by somewhat later."""
    harness = Harness(fast=fast)
    await harness.open()
    session, clock, do = harness.session(0), Clock.running(), Steps(harness)
    for wire in (0, 1):  # what is kept of a connection lasts five seconds
        while asyncio.get_running_loop().time() < session.due:
            await do.post(0, 0, FIELDS, b"6")
            await clock.advance(min(2.0, session.due - asyncio.get_running_loop().time() + 1e-6))
        assert session.open
        assert session.pinged is bool(wire)
        while not session.pinged:
            await clock.advance(0.1)
    await do.post(0, 0, FIELDS, b"4late")
    await harness.settle()
    assert "4late" not in repr(harness.events)
    assert harness.wires[0].written.endswith(b'"message":"Session ID unknown"}')
    assert harness.engine.stats.ping_timeouts == 1
    await harness.end()


@async_test
async def test_while_a_client_does_not_read_requests_take_no_short_cut() -> None:
    harness = Harness(fast=True)
    await harness.open()
    do = Steps(harness)
    for paused in (False, True):
        await do.post(0, 0, FIELDS, b"4hello")
        await harness.settle()
        if not paused:
            harness.wires[0].protocol.pause_writing()
    assert harness.wires[0].protocol.repeated == 0
    assert harness.wires[0].written.count(b"\r\n\r\nok") == 1
    harness.wires[0].protocol.resume_writing()
    await harness.settle()
    assert harness.wires[0].written.count(b"\r\n\r\nok") == 2
    await harness.end()


@async_test
async def test_after_a_websocket_has_probed_in_vain_a_poll_is_kept() -> None:
    harness = Harness(fast=True)
    await harness.open()
    do = Steps(harness)
    await do.get(0, 0, FIELDS)
    await do.send(0)
    harness.session(0).lane.probed = True
    await do.get(0, 0, FIELDS)
    await Clock.running().advance(1.0)
    assert harness.wires[0].protocol.repeated == 1
    assert not harness.wires[0].written.endswith(b"6")
    await harness.end()


def test_requests_that_come_before_the_answer_to_the_last_are_answered_in_order() -> None:
    gets: list[tuple[Any, ...]] = [("get", 0, 0, FIELDS)] * 2
    assert run(compare([*gets, *[("send", 0)] * 3], even_if_different=True))[0] == 2
    post = ("post", 0, 0, FIELDS, b"4pause\x1e4after")
    assert run(compare([post, *gets, ("resume", 0), ("send", 0)], even_if_different=True))[0] > 1


def test_what_clients_send_takes_the_short_cut() -> None:
    """Else the tests above would hold nothing equal."""
    browser = [*FIELDS, b"Accept-Encoding: gzip, deflate, br", b"Connection: keep-alive", b"Cookie: a=b; c=d"]
    steps = [("get", 0, 0, browser), ("post", 1, 0, [*browser, b"Content-type: text/plain;charset=UTF-8"], b"4hello")]
    assert run(compare(steps)) == (2, 0)
    assert run(compare([("get", 0, 0, browser, b"&t=x"), ("send", 0), ("get", 0, 0, browser, b"&t=y")])) == (2, 0)


def test_what_clients_send_again_takes_the_shorter_one() -> None:
    posts: list[bytes | None] = [b"4hello", b"4hi", "4h\xe9".encode(), b"4" + b"x" * 1200, b"4"]
    assert run(compare([("again", 0, 0, b"x", posts), ("again", 1, 0, b"x", [None] * 5)])) == (7, 5)
    get, send = ("again", 0, 0, b"x", [None]), ("send", 0)
    assert run(compare([get, send, get, send, send, get, get, send])) == (4, 3)


@pytest.mark.parametrize(
    "bodies",
    [[b"3"], [b"4a\x1e4b"], [b""], [b"4" * 1001], [b"4\xff"], [b"bAAEC"], [b"4" + b"x" * 1200]],
    ids=repr,
)
def test_what_is_new_about_a_request_is_left_to_the_plain_way(bodies: list[bytes | None]) -> None:
    assert run(compare([("again", 0, 0, b"x", [b"4first", *bodies])], max_payload=1000))[1] == 0


@async_test
async def test_a_client_that_leaves_its_poll_is_noticed_at_once() -> None:
    harness = Harness(fast=True)
    await harness.open()
    await Steps(harness).get(0, 0, FIELDS)
    harness.lose(0)
    assert harness.events == ["transport close"]
    assert not harness.engine.sessions
    await harness.end()


@async_test
async def test_a_client_that_sends_more_behind_its_poll_and_leaves_is_noticed_too() -> None:
    """The end of a connection that is not read from is not noticed: a little may gather."""
    harness = Harness(fast=True)
    await harness.open()
    await Steps(harness).get(0, 0, FIELDS)
    harness.wires[0].protocol.data_received(b"\r\n")
    assert harness.wires[0].reading
    harness.wires[0].protocol.data_received(b"x" * 70_000)
    assert not harness.wires[0].reading
    harness.lose(0)
    assert harness.events == ["transport close"]
    await harness.end()


@async_test
async def test_a_session_that_a_listener_closes_while_a_websocket_takes_over_stays_closed() -> None:
    """The listener gets the GET that the WebSocket came before."""
    harness = Harness(fast=True)
    await harness.open()
    await Steps(harness).get(0, 0, FIELDS)
    session = harness.session(0)
    harness.engine.on("connection_error")(lambda refusal, request: session.close())
    session.attach(PollingLane(session, {}), harness.events.append, framed=False)
    session.send("after the end")
    assert ["192.0.2.7", False] in harness.events  # who asks, and whether over TLS
    assert not session.open
    assert not session.outbox.writable
    assert ["4after the end"] not in harness.events
    await harness.end()


@async_test
@pytest.mark.parametrize("fast", [True, False])
async def test_an_empty_line_keeps_no_connection_open(fast: bool) -> None:
    harness = Harness(fast=fast, head_timeout=3.0)
    await harness.open()
    do = Steps(harness)
    await do.post(0, 0, FIELDS, b"4hello")
    await harness.settle()
    await do.bytes(0, b"\r\n")
    await Clock.running().advance(2.5)
    assert not harness.wires[0].closing
    await Clock.running().advance(1.0)
    assert harness.wires[0].closing
    await harness.end()


@async_test
async def test_what_a_plain_handler_sets_is_not_for_the_next_client() -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")
    harness = Harness(fast=True)
    seen = []

    @harness.engine.on("message")
    def message(session: Any, data: Any) -> None:
        seen.append(user.get())
        user.set(data)

    await harness.open()
    await Steps(harness).post(0, 0, FIELDS, b"4alice")
    await Steps(harness).post(1, 0, FIELDS, b"4bob")
    assert seen == ["nobody", "nobody"]
    assert user.get() == "nobody"
    await harness.end()


@async_test
async def test_a_connection_that_sends_nothing_is_closed_as_by_uvicorn() -> None:
    """Five seconds after the last answer, but not while a GET waits for its own."""
    harness = Harness(fast=True)
    await harness.open()
    do = Steps(harness)
    await do.post(0, 0, FIELDS, b"4hello")
    await Clock.running().advance(3.0)
    await do.post(0, 0, FIELDS, b"4hello")
    await do.get(1, 0, FIELDS)
    await do.get(1, 0, FIELDS)
    await Clock.running().advance(4.5)
    assert not harness.wires[0].closing
    await Clock.running().advance(1.5)
    assert [wire.closing for wire in harness.wires[:2]] == [True, False]
    await harness.end()


@async_test
async def test_what_waits_is_answered_when_the_server_ends() -> None:
    harness = Harness(fast=True)
    await harness.open()
    await Steps(harness).get(0, 0, FIELDS)
    harness.wires[0].protocol.shutdown()
    assert not harness.wires[0].closing
    harness.session(0).close("server shutting down")
    assert harness.wires[0].written.endswith(b"\r\n\r\n1")
    assert harness.wires[0].closing
    await harness.end()


@async_test
async def test_a_client_that_does_not_read_its_answers_is_not_answered_without_end() -> None:
    """While its connection takes no more, requests are uvicorn's, which waits."""
    harness = Harness(fast=True)
    await harness.open()
    wire = harness.wire(0)
    wire.protocol.pause_writing()
    for _ in range(3):
        await Steps(harness).send(0)
        await Steps(harness).get(0, 0, FIELDS)
        await harness.settle()
    assert b"sent" not in wire.written
    wire.protocol.resume_writing()
    await harness.settle()
    assert b"sent 1" in wire.written
    await harness.end()
