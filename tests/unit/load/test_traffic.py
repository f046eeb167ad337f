"""What the load tester makes of packets: deliveries, duplicates, reorderings, strays, and what it publishes next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.load.client import Client, ClientLost
from shoal.load.marks import make_tag, write_mark
from shoal.load.order import Order
from shoal.load.plan import Plan
from shoal.load.traffic import Traffic, now_us

TAG = make_tag(42)


def plan(**changes: Any) -> Plan:
    common: dict[str, Any] = {
        "url": "http://127.0.0.1:1111",
        "path": "/socket.io/",
        "namespace": "/",
        "auth": None,
        "transport": "websocket",
        "mode": "broadcast",
        "clients": 4,
        "publishers": 2,
        "rooms": None,
        "event": "chat",
        "reply_event": "chat-message",
        "join_event": "join",
        "rate": None,
        "in_flight": 1,
        "payload": 64,
        "duration": 1.0,
        "warmup": 0.0,
        "ramp": 0.0,
        "verify": True,
    }
    return Plan(**{**common, **changes})


def with_client(number: int, test: Callable[[Client, Traffic, list[bytes]], None], **changes: Any) -> None:
    """Run a test with one accepted client of a trial; it gets the packets that the client sends."""

    async def run() -> None:
        chosen = plan(**changes)
        traffic = Traffic(chosen, TAG)
        client = Client(number, chosen.namespace, chosen.auth, traffic)
        sent: list[bytes] = []
        client.send = sent.append
        prefix = b"" if chosen.namespace == "/" else chosen.namespace.encode() + b","
        client.take([b'0{"sid":"a"}', b"40" + prefix + b'{"sid":"b"}'])
        sent.clear()
        test(client, traffic, sent)

    asyncio.run(run())


def message(publisher: int, sequence: int, *, before: bytes = b"1111: ", after: bytes = b"", time_us: int = 0) -> bytes:
    text = write_mark(TAG, publisher, sequence, time_us) + b"x" * 26
    return b'42["chat-message","' + before + text + b'"' + after + b"]"


def test_a_message_names_its_event_and_carries_a_text_of_the_length_asked_for() -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        traffic.publish(client, now_us())
        event, text = json.loads(sent[0][2:])
        assert (event, len(text)) == ("chat", 64)

    with_client(1, test)


def test_with_rooms_a_message_names_the_room_first() -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        traffic.publish(client, now_us())
        event, room, text = json.loads(sent[0][len("42/x,") :])
        assert (event, room, len(text)) == ("say", "bench-1", 100)
        assert traffic.expected == 2

    with_client(3, test, rooms=2, event="say", payload=100, namespace="/x")


def test_in_mode_echo_a_message_asks_for_an_ack_and_is_repeated_when_that_comes() -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        traffic.publish(client, now_us())
        head, _, body = sent[0].partition(b"[")
        assert head == b"42/x,1"
        client.take([b"43/x,1[" + body.partition(b",")[2]])
        assert sent[1].startswith(b"42/x,2[")
        assert (traffic.received, traffic.unique) == (1, 1)

    with_client(3, test, mode="echo", publishers=4, event="echo", namespace="/x")


def test_a_publisher_goes_on_when_its_own_message_has_come_back() -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        client.take([message(0, 1), message(1, 1)])
        assert len(sent) == 1
        client.take([message(1, 1)])  # a second copy must not widen the window
        assert len(sent) == 1
        traffic.stopped = True
        client.take([message(1, 2)])
        assert len(sent) == 1

    with_client(1, test)


@pytest.mark.parametrize(
    "packet",
    [message(0, 1, before=b""), message(0, 1, after=b',{"more":1}'), message(0, 1, before=b"\xe2\x82\xac ")],
    ids=["bare", "more arguments", "not ASCII"],
)
def test_the_text_may_stand_anywhere_in_the_answer(packet: bytes) -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        client.take([packet])
        assert (traffic.received, traffic.unique) == (1, 1)

    with_client(1, test)


@pytest.mark.parametrize(
    "packet",
    [b'42["presence",{}]', b'42["chat-message","hello"]', message(0, 1).replace(TAG, make_tag(43)), b"2", b"6"],
    ids=["another event", "somebody else's text", "another test's text", "ping", "noop"],
)
def test_what_is_not_of_this_test_is_not_counted(packet: bytes) -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        client.take([packet])
        assert (traffic.received, traffic.misdelivered) == (0, 0)

    with_client(1, test)


def test_a_message_of_another_room_is_misdelivered() -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        client.take([message(0, 1), message(1, 1)])
        assert (traffic.received, traffic.misdelivered) == (1, 1)

    with_client(3, test, rooms=2)


@given(st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), max_size=6), max_size=8))
def test_the_short_cut_counts_like_the_plain_order(reads: list[list[tuple[int, int]]]) -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        plain = Order()
        for read in reads:
            client.take([message(*each) for each in read])
            for each in read:
                plain.record(*each)
        ours = traffic._order[client.number]
        assert ours.last == plain.last
        assert (traffic.unique, traffic.duplicates, traffic.reordered) == (
            plain.unique,
            plain.duplicates,
            plain.reordered,
        )

    with_client(3, test)


def test_latencies_are_from_the_moment_a_message_was_due() -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        traffic.measuring = True
        client.take([message(0, 1, time_us=now_us() - 5_000)])
        (latency,) = traffic.fold()
        assert 5_000 <= latency < 1_000_000

    with_client(1, test, rate=10.0)


def test_a_ping_is_answered_and_a_disconnect_is_reported_once() -> None:
    def test(client: Client, traffic: Traffic, sent: list[bytes]) -> None:
        client.take([b"2"])
        assert sent == [b"3"]
        client.take([b"41"])
        client.fail("the connection was lost")
        assert (traffic.cut_off, traffic.cut_reason) == (1, "the server disconnected the client")
        traffic.publish(client, now_us())
        assert (traffic.sent, traffic.expected) == (0, 0)

    with_client(1, test)


def test_a_client_sends_what_it_authenticates_with_and_reports_why_it_was_refused() -> None:
    async def run() -> None:
        client = Client(0, "/admin", {"token": 1}, Traffic(plan(), TAG))
        sent: list[bytes] = []
        client.send = sent.append
        client.take([b'0{"sid":"a"}'])
        assert sent == [b'40/admin,{"token":1}']
        client.take([b'44/admin,{"message":"no"}'])
        with pytest.raises(ClientLost, match=r"refused the client: /admin,.*no"):
            await client.ready

    asyncio.run(run())
