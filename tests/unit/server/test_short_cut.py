"""The short cut for events in `/` does what the plain path does, for arbitrary messages in arbitrary order."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.internals import clients
from tests.unit.fuzz import RESERVED, examples, json_values

from shoal import Server
from shoal.protocol.socketio import ACK, EVENT, encode
from shoal.testing import TestConnection, TestServer, run

ids = st.sampled_from(
    [b"", b"0", b"7", b"00", b"123456789012345", b"1234567890123456", b"12345678901234567", b"-1", b"x"]
)
bodies = st.one_of(
    st.lists(json_values(max_leaves=5), max_size=3).map(lambda args: json.dumps(args).encode()),
    st.builds(
        lambda name, args: json.dumps([name, *args]).encode(),
        st.sampled_from(["a", "", "1", *sorted(RESERVED)]) | st.text(max_size=5),
        st.lists(json_values(max_leaves=4), max_size=2),
    ),
    st.sampled_from([b"[1]", b"[1.5,2]", b"[true]", b"[null]", b"[[]]", b"[]", b"{}", b"[", b"]", b"", b"{", b'["a"x']),
    st.sampled_from(
        [b'["a"', b'["a"]x', b' ["a"]', b'["\\ud800"]', b'["a\xff"]', b'["a",{"_placeholder":true,"num":0}]']
    ),
    st.sampled_from([63, 64, 70]).map(lambda depth: b'["a",' + b"[" * depth + b"]" * depth + b"]"),
)
texts = st.one_of(
    st.builds(lambda number, body: b"42" + number + body, ids, bodies),
    st.builds(lambda number, body: b"42" + number + body, ids, bodies),
    st.builds(lambda count, body: b"45" + count + body, st.sampled_from([b"0-", b"1-", b"1-3", b"-", b"11-"]), bodies),
    st.builds(lambda kind, body: b"4" + kind + body, st.sampled_from([b"2/,", b"2/a,", b"3", b"31", b"6"]), bodies),
    st.sampled_from([b"4", b"42", b"41", b"43", b"47", b"4x"]),
    st.binary(max_size=6).map(b"42".__add__),
)
binary_events = st.builds(
    lambda number, body: b"451-" + number + body[:-1] + b',{"_placeholder":true,"num":0}]', ids, bodies
)
messages = st.lists(
    st.tuples(st.just("text"), texts)
    | st.tuples(st.just("text"), binary_events)
    | st.tuples(st.just("binary"), st.binary(max_size=4)),
    max_size=4,
)


class Side:
    """A server, and what it did with what one client sent."""

    def __init__(self) -> None:
        self.handled: list[Any] = []
        self.io = Server()

        @self.io.on("*")
        def anything(socket: Any, event: str, *args: Any) -> Any:
            self.handled.append((event, args))
            return args

        @self.io.on("a")
        def a(socket: Any, *args: Any) -> Any:
            self.handled.append(("a", args))
            return "done"

    async def take(self, messages: list[tuple[str, bytes]], short: bool) -> tuple[Any, ...]:
        async with TestServer(self.io) as server:
            connection: TestConnection = await server.open()
            connection.send("40")
            await connection.receive()
            [session] = self.io.engine.sessions.values()
            [client] = clients(self.io)
            if not short:
                client._root = None  # where the short cut looks; the plain path finds the socket by its namespace
            for kind, payload in messages:
                if kind == "text":
                    session.receiver.receive_text(payload)
                else:
                    session.receiver.receive_binary(payload)
            await server.settle()
            sent = []
            while connection.open:
                try:
                    sent.append(await connection.receive(timeout=0.1))
                except TimeoutError:
                    break
            return self.handled, sent, connection.open, self.io.stats


@settings(max_examples=examples(60))
@given(messages)
@example([("text", b'42["a",1]'), ("text", b'427["a",[]]'), ("text", b'42["*"]')])
@example([("text", b'451-["b",{"_placeholder":true,"num":0}]'), ("text", b'42["a"]')])
@example([("text", b'451-7["b",{"_placeholder":true,"num":0}]'), ("binary", b"x"), ("text", b'42["a"]')])
@example([("text", b'451-["a",[],{"_placeholder":true,"num":0}]'), ("text", b"41"), ("binary", b"x")])
@example([("text", b'42["a"]'), ("text", b"41"), ("text", b'42["a"]')])
def test_the_short_cut_equals_the_plain_path(messages: list[tuple[str, bytes]]) -> None:
    """The same handlers with the same arguments, the same answers, the same end, the same counts."""

    async def main() -> None:
        assert await Side().take(messages, short=True) == await Side().take(messages, short=False)

    run(main())


@settings(max_examples=examples(40))
@given(json_values(), st.none() | st.integers(0, 10**15 - 1))
def test_events_arrive_as_they_were_sent(value: Any, ack_id: int | None) -> None:
    """By the short cut, with and without an acknowledgement; the answer bears the id."""

    async def main() -> None:
        side = Side()
        text, _ = encode(EVENT, "/", ["b", value], ack_id)
        handled, sent, is_open, _ = await side.take([("text", text)], short=True)
        assert handled == [("b", (value,))]
        assert is_open
        expected = [] if ack_id is None else [encode(ACK, "/", [value], ack_id)[0].decode()]
        assert sent == expected

    run(main())
