"""Polling on the fast lane, by both short cuts or one, and by way of uvicorn: what goes in and what comes of it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, replace
from typing import Any

import uvicorn
from hypothesis import strategies as st
from tests.unit.fastlane.test_first_bytes import Wire
from uvicorn.server import ServerState

from shoal import Engine
from shoal.fanout.ticker import Ticker
from shoal.fastlane.bounded_http import BoundedHttp
from shoal.fastlane.polling import FastPolling
from shoal.fastlane.repeated import RepeatedPolling
from shoal.testing import Clock

PATH = b"/engine.io/?EIO=4&transport=polling"
FIELDS = [b"Host: 127.0.0.1:1111", b"User-Agent: x", b"Accept: */*", b"Origin: http://page"]


class Fast(FastPolling):
    """Counts the requests that took the short cut."""

    short = repeated = 0

    def _try_short_cut(self, data: bytes) -> bool:
        taken = super()._try_short_cut(data)
        self.short += taken
        return taken


class Repeated(RepeatedPolling, Fast):
    """Counts those that took the other one, too."""

    def _is_repeated(self, data: bytes) -> bool:
        taken = super()._is_repeated(data)
        self.repeated += taken
        return taken


class Harness:
    """An engine behind uvicorn's HTTP, with the short cuts or without them, and connections to it."""

    def __init__(self, *, fast: bool, repeated: bool = True, collects: bool = True, **options: Any) -> None:
        self.fast = fast
        self.way = Repeated if repeated else Fast
        self.engine = Engine(**options)
        self.ticker = Ticker(io_uring=False)
        if collects:  # as the engine of a Server does
            self.engine.context = replace(self.engine.context, collect=self.ticker.collect)
        self.events: list[Any] = []
        self.engine.on("message")(self.message)
        self.engine.on("disconnect")(lambda session, reason: self.events.append(reason))
        self.engine.on("connection_error")(self.refused)
        self.config = uvicorn.Config(self.engine, ws="none", log_config=None, access_log=False, server_header=False)
        self.config.load()
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.wires: list[Wire] = []
        self.sids: list[str] = []
        self.requests = self.sent = 0

    def message(self, session: Any, data: Any) -> None:
        self.events.append(data)
        if data == "pause":
            session.pause_reading()
        elif data == "close":
            session.close()
        else:
            session.send(data)

    def refused(self, refusal: Any, request: Any) -> None:
        self.events.append([refusal, request.method, request.path, request.query, request.headers])
        self.events.append([request.peer, request.secure])

    def wire(self, number: int) -> Wire:
        """A connection; one that was closed is replaced by a new one."""
        while len(self.wires) <= number:
            self.wires.append(self.connect())
        if self.wires[number].closing:
            self.lose(number)
        return self.wires[number]

    def connect(self) -> Wire:
        wire = Wire()
        context: Any = {"config": self.config, "server_state": self.state, "app_state": {}}
        if self.fast:
            wire.protocol = self.way(self.engine, **context)
        else:
            wire.protocol = BoundedHttp(self.engine.settings, self.engine.stats, **context)
        wire.protocol.connection_made(wire)
        return wire

    def lose(self, number: int) -> None:
        old = self.wires[number]
        old.closing = True
        old.protocol.connection_lost(None)
        self.wires[number] = self.connect()
        self.wires[number].written = old.written + b"|"

    def waits(self, number: int) -> bool:
        """Whether a request on this connection has no answer yet."""
        protocol = self.wire(number).protocol
        cycle = protocol.cycle
        return (self.fast and protocol._lane is not None) or (cycle is not None and not cycle.response_complete)

    def differs(self, name: str, arguments: list[Any]) -> bool:
        """Whether a step may do something else here than there: one that sends requests behind such as wait.

        uvicorn answers a broken request before the good ones that it was sent behind, and when the client leaves it
        notifies only the last one. Of two connections on which a request waits behind another, either may be first.
        """
        if name not in {"get", "post", "again", "length", "pieces", "line", "bytes", "drop"}:
            return False
        number = arguments[0]
        if name == "drop":
            return self.has_more(number)
        return self.waits(number) or any(self.has_more(n) for n in range(len(self.wires)) if n != number)

    def has_more(self, number: int) -> bool:
        """Whether a request on this connection waits behind another."""
        wire = self.wire(number)
        protocol = wire.protocol
        return not wire.reading or bool(protocol.pipeline) or (self.fast and bool(protocol._pipelined))

    def receive(self, number: int, data: bytes) -> None:
        """Bytes on a connection, unless a request waits behind another there."""
        wire = self.wire(number)
        if wire.reading and not self.has_more(number):
            wire.protocol.data_received(data)

    async def open(self) -> None:
        wire = self.connect()
        wire.protocol.data_received(b"GET " + PATH + b" HTTP/1.1\r\n\r\n")
        await self.settle()
        found = re.search(rb'"sid":"([^"]*)"', wire.written)
        assert found is not None, wire.written
        self.sids.append(found[1].decode())
        wire.closing = True
        wire.protocol.connection_lost(None)

    def session(self, number: int) -> Any:
        return self.engine.sessions.get(self.sids[number])

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    def seen(self) -> dict[str, Any]:
        """Everything that a client or an application can see. Ids differ from one engine to the next."""
        written = [wire.written for wire in self.wires]
        for number, sid in enumerate(self.sids):
            written = [text.replace(sid.encode(), b"<%d>" % number) for text in written]
        events = repr(self.events)
        for number, sid in enumerate(self.sids):
            events = events.replace(sid, f"<{number}>")
        return {
            "written": written,
            "closing": [wire.closing for wire in self.wires],
            "events": events,
            "stats": asdict(self.engine.stats),
            "refused": dict(self.engine.refused),
            "outboxes": asdict(self.engine.outbox_stats),
            "open": [sid in self.engine.sessions for sid in self.sids],
            "waits": [
                session and list(session.outbox.held or ()) for session in map(self.session, range(len(self.sids)))
            ],
            "answered": self.state.total_requests,
        }

    async def end(self) -> None:
        """Nothing may be left."""
        for wire in self.wires:
            if not wire.closing:
                wire.protocol.shutdown()
        await self.engine.close()
        await self.settle()
        self.ticker.forget_loop()
        assert all(wire.closing for wire in self.wires)
        for wire in self.wires:
            wire.protocol.connection_lost(None)
        await self.settle()
        assert not self.state.connections
        await Clock.running().advance(60.0)
        assert not len(self.engine.context.wheel)


def request(line: bytes, fields: list[bytes], body: bytes | None = None) -> bytes:
    length = [] if body is None else [b"Content-Length: %d" % len(body)]
    return b"\r\n".join([line, *fields, *length, b"", body or b""])


class Steps:
    """What a step does to a harness, by its name."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness

    async def get(self, wire: int, sid: int, fields: list[bytes], query: bytes = b"") -> None:
        target = PATH + b"&sid=" + self.harness.sids[sid].encode() + query
        self.harness.receive(wire, request(b"GET " + target + b" HTTP/1.1", fields))

    async def post(self, wire: int, sid: int, fields: list[bytes], body: bytes) -> None:
        target = PATH + b"&sid=" + self.harness.sids[sid].encode()
        self.harness.receive(wire, request(b"POST " + target + b" HTTP/1.1", fields, body))

    async def again(self, wire: int, sid: int, mark: bytes, bodies: list[bytes | None]) -> None:
        """Requests as browsers send them, one behind the other: POSTs, and a GET for ``None``."""
        for number, body in enumerate(bodies):
            target = b"/engine.io/?EIO=4&transport=polling&t=%b%d&sid=%b" % (
                mark,
                number,
                self.harness.sids[sid].encode(),
            )
            if body is None:
                data = request(b"GET " + target + b" HTTP/1.1", FIELDS)
            else:
                length = b"content-length: %d" % len(body)
                data = request(b"POST " + target + b" HTTP/1.1", [FIELDS[0], length, *FIELDS[1:]]) + body
            if self.harness.differs("get", [wire]):
                break
            self.harness.receive(wire, data)
            await self.harness.settle()

    async def length(self, wire: int, sid: int, length: bytes, body: bytes) -> None:
        """A POST that says this about its length, behind one that is as long as it says. Then the client leaves."""
        target = PATH + b"&sid=" + self.harness.sids[sid].encode()
        for text, data in ((b"5", b"4five"), (length, body)):
            field = b"Content-Length:" + text
            self.harness.receive(wire, request(b"POST " + target + b" HTTP/1.1", [*FIELDS, field]) + data)
            await self.harness.settle()
        self.harness.lose(wire)  # it may wait for the rest of a body

    async def pieces(self, wire: int, sid: int, cut: int, body: bytes) -> None:
        """A POST in two pieces, with a GET right behind it."""
        target = PATH + b"&sid=" + self.harness.sids[sid].encode()
        data = request(b"POST " + target + b" HTTP/1.1", FIELDS, body)
        data += request(b"GET " + target + b" HTTP/1.1", FIELDS)
        self.harness.receive(wire, data[:cut])
        await self.harness.settle()
        if not self.harness.wires[wire].closing:
            self.harness.receive(wire, data[cut:])

    async def line(self, wire: int, line: bytes) -> None:
        """An odd request, session 0's id in place of SID."""
        sid = self.harness.sids[0].encode()
        self.harness.receive(wire, request(line.replace(b"SID", sid), FIELDS))

    async def bytes(self, wire: int, data: bytes) -> None:
        self.harness.receive(wire, data)

    async def send(self, sid: int) -> None:
        session = self.harness.session(sid)
        if session is not None:
            self.harness.sent += 1
            session.send(f"sent {self.harness.sent}")

    async def resume(self, sid: int) -> None:
        session = self.harness.session(sid)
        if session is not None:
            session.resume_reading()

    async def close(self, sid: int, abort: bool) -> None:
        session = self.harness.session(sid)
        if session is not None:
            session.close("closed", abort=abort)

    async def drop(self, wire: int) -> None:
        """Over ASGI a client that leaves a GET is noticed within a second; so nothing happens in that time."""
        self.harness.wire(wire)
        self.harness.lose(wire)
        await Clock.running().advance(9.0)

    async def wait(self, seconds: float) -> None:
        """No sum of these comes near the five seconds of keep-alive, which the short cut's wheel ends somewhat late."""
        await Clock.running().advance(seconds)


wires, sids = st.integers(0, 2), st.integers(0, 1)
fields = st.just(FIELDS) | st.lists(
    st.sampled_from(
        [
            *FIELDS,
            b"Connection: keep-alive",
            b"connection: Keep-Alive",
            b"Connection: close",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Upgrade: h2c",
            b"Expect: 100-continue",
            b"Transfer-Encoding: chunked",
            b"Content-Length: 3",
            b"Content-Length: 0",
            b"Accept-Encoding: gzip",
            b"Origin: http://other",
            b"Bad Header: x",
            b" folded",
            b"Bare\nFeed: x",
            "Umlaut: é".encode(),
        ]
    ),
    min_size=1,
    max_size=4,
)
bodies = st.sampled_from(
    [b"4hello", b"4hello", b"4a\x1e4b\x1ebAAEC", b"3", b"1", b"6", b"", b"x", b"\xff", b"b!", b"4pause", b"4close"]
) | st.sampled_from([b"4pause\x1e4after", b"4pause\x1e4close\x1e4c", b"4" + b"x" * 1500, b"4" * 70 + b"\x1e4" * 70])
repeated_bodies = st.lists(
    st.none()
    | bodies
    | st.sampled_from([b"4", "4é\N{GRINNING FACE}".encode(), b"4\xff", b"4hello there", b"2", b"42"]),
    min_size=1,
    max_size=4,
)
any_step = st.one_of(
    st.tuples(
        st.just("length"),
        wires,
        sids,
        st.sampled_from([b"5", b"05", b"+5", b"-5", b" 5", b"5 ", b"5_0", b"0x5", b"", b"4", b"6", b"5,5", b"9" * 13]),
        st.sampled_from([b"4five", b"", b"4" + b"x" * 49]),
    ),
    st.tuples(st.just("again"), wires, sids, st.sampled_from([b"x", b"P_-.", b"%20", b"&"]), repeated_bodies),
    st.tuples(st.just("again"), wires, sids, st.just(b"x"), repeated_bodies),
    st.tuples(st.just("get"), wires, sids, fields),
    st.tuples(st.just("get"), wires, sids, st.just(FIELDS)),
    st.tuples(
        st.just("get"), wires, sids, st.just(FIELDS), st.sampled_from([b"&t=x", b"&sid=x", b"&b64=1", b"&a=%20"])
    ),
    st.tuples(st.just("post"), wires, sids, fields, bodies),
    st.tuples(st.just("post"), wires, sids, st.just(FIELDS), bodies),
    st.tuples(st.just("pieces"), wires, sids, st.integers(1, 400), bodies),
    st.tuples(
        st.just("line"),
        wires,
        st.sampled_from(
            [
                b"GET /engine.io/?transport=polling&sid=SID HTTP/1.0",
                b"GET /engine.io/?EIO=4&transport=websocket&sid=SID HTTP/1.1",
                b"GET /engine.io/?EIO=3&transport=polling HTTP/1.1",
                b"GET /engine.io/?EIO=4&transport=polling&sid=unknown HTTP/1.1",
                b"GET /engine%2eio/?EIO=4&transport=polling&sid=SID HTTP/1.1",
                b"GET http://x/engine.io/?EIO=4&transport=polling&sid=SID HTTP/1.1",
                b"GET /other/ HTTP/1.1",
                b"GET /engine.io/?EIO=4&transport=polling&sid=SID#f HTTP/1.1",
                b"GET /engine.io/?EIO=4#&transport=polling&sid=SID HTTP/1.1",
                b"HEAD /engine.io/?EIO=4&transport=polling&sid=SID HTTP/1.1",
                b"OPTIONS /engine.io/?EIO=4&transport=polling&sid=SID HTTP/1.1",
                b"POST /engine.io/?EIO=4&transport=polling&sid=SID HTTP/1.1",
                b"GET  /engine.io/?EIO=4&transport=polling&sid=SID HTTP/1.1",
            ]
        ),
    ),
    st.tuples(st.just("bytes"), wires, st.sampled_from([b"\r\n", b"\r\n\r\n", b"G", b"\x00", b"POST / HTTP/1.1\r\n"])),
    st.tuples(st.just("send"), sids),
    st.tuples(st.just("send"), sids),
    st.tuples(st.just("resume"), sids),
    st.tuples(st.just("close"), sids, st.booleans()),
    st.tuples(st.just("drop"), wires),
    st.tuples(st.just("wait"), st.sampled_from([3.0, 9.0, 27.0])),
)


async def compare(
    steps: list[tuple[Any, ...]], *, even_if_different: bool = False, collects: bool = True, **options: Any
) -> tuple[int, int]:
    """Give all ways the same steps, and compare after each.

    Returns how many requests took a short cut, where there is one and where there are two, and must be the same.
    """
    seen: list[list[Any]] = []
    short, repeated = [], 0
    for fast, both in ((True, True), (True, False), (False, False)):
        harness = Harness(fast=fast, repeated=both, collects=collects, **options)
        do = Steps(harness)
        for _ in range(2):
            await harness.open()
        seen.append([])
        for name, *arguments in steps:
            if not even_if_different and harness.differs(name, arguments):
                seen[-1].append("left out")
                continue
            await getattr(do, name)(*arguments)
            await harness.settle()
            seen[-1].append(harness.seen())
        if fast:
            repeated += sum(wire.protocol.repeated for wire in harness.wires)
            short.append(sum(wire.protocol.short + wire.protocol.repeated for wire in harness.wires))
        await harness.end()
    for step, repeated_one, fast_one, plain_one in zip(steps, *seen, strict=True):
        assert repeated_one == plain_one, f"after {step}"
        assert fast_one == plain_one, f"after {step}"
    assert short[0] == short[1]
    return short[0], repeated


LONG = "x" * 1500
