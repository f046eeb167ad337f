"""Long-polling over ASGI: a GET waits for what the server sends, a POST brings what the client sends.

The outbox is blocked unless a GET waits; so messages gather there, under its bound, and the next GET takes them all.
What a request does to its session is decided by :class:`PollingLane` and the plain functions, which wait for nothing;
the coroutines around them read the request and send the answer.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import orjson

from ..engine.base import BAD_REQUEST, UNKNOWN_SID, BaseEngine, Refusal
from ..engine.connection import Connection
from ..errors import EngineProtocolError
from ..http.request import Request
from ..http.responses import Header, Response, respond
from ..protocol import engineio
from ..protocol.engineio import Packet, decode_payload, encode_payload
from ..protocol.session import State

__all__ = ["PollingLane", "answer_poll", "decode_post", "refuse", "serve_polling"]

log = logging.getLogger("shoal.engine")

Answer = Callable[[list[Packet] | None], bool]

TEXT_HEADERS: Final = ((b"content-type", b"text/plain; charset=UTF-8"), (b"cache-control", b"no-store"))
# A waiting GET looks for the client's departure only after this long: nearly all are answered before, for less.
WATCH_AFTER: Final = 1.0
# Once a WebSocket has sent its probe, the GET that waits is let go with a noop, but only after this long: the packet
# that ends polling may be on its way already. Node looks every 100 ms (engine.io 6.6, ``Socket._maybeUpgrade``).
LET_GO_AFTER: Final = 0.05
COMPRESS_FROM: Final = 1024  # engine.io's threshold
# "gzip" in a list of codings, unless its weight is zero (RFC 9110, section 12.5.3).
GZIP: Final = re.compile(r"(?:^|,)\s*gzip\s*(?:$|,|;\s*q=(?!0(?:\.0*)?\s*(?:$|,)))", re.IGNORECASE)
TAKEN: Final = Response(200, b"ok", ((b"content-type", b"text/html"),))
"""The answer to a POST."""
STALE: Final = Response(400, b"")


async def serve_polling(engine: BaseEngine[Any], request: Request, headers: Any, receive: Any, send: Any) -> None:
    """Answer one polling request that is allowed by its query.

    Args:
        engine: Whose session it is for.
        request: The request.
        headers: Response headers that every answer gets.
        receive, send: ASGI's.
    """
    response = await _answer(engine, request, receive)
    if response is not None:
        await respond(send, response.status, response.body, [*response.headers, *headers])


async def _answer(engine: BaseEngine[Any], request: Request, receive: Any) -> Response | None:
    """The answer to a request; ``None`` if its client left before it had sent all of it."""
    sid = request.query.get("sid")
    if sid is None:
        return await _open(engine, request)
    connection = engine.sessions.get(sid)
    if connection is None and request.method == "GET" and sid in engine.farewells:
        return Response(200, encode_payload(engine.farewells.pop(sid)), TEXT_HEADERS)
    if connection is None or connection.expired(engine.wheel.now()):
        return refuse(engine, UNKNOWN_SID, request)
    if connection.state is State.WEBSOCKET or request.method not in {"GET", "POST"}:
        return refuse(engine, BAD_REQUEST, request)
    return await (_poll(connection, request, receive) if request.method == "GET" else _post(connection, receive))


def refuse(engine: BaseEngine[Any], refusal: Refusal, request: Request) -> Response:
    """Count a refusal. Returns the answer that says so, as Node's server words it."""
    engine.refuse(refusal, request)
    body = orjson.dumps({"code": refusal.code, "message": refusal.message})
    return Response(refusal.status, body, ((b"content-type", b"application/json"),))


class PollingLane:
    """What carries a session while it polls.

    Args:
        connection: The session.
    """

    __slots__ = ("_connection", "_farewell", "_go_on", "_watcher", "poll", "posting", "probed", "receive", "slot")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.slot = -1
        self.poll: Answer | None = None
        """Answers the GET that waits: with packets, or ``None`` when polling has ended. False if that is too late."""
        self.probed = False
        """Whether a WebSocket has sent its probe."""
        self.posting = False
        """Whether a POST is being taken."""
        self.receive: Any = None
        self._watcher: asyncio.Task[None] | None = None
        self._farewell = False
        self._go_on: asyncio.Event | None = None

    def write(self, packets: list[Packet]) -> None:
        """Answer the waiting GET. The outbox calls it only while there is one."""
        if not self._release(packets):
            self._connection.outbox.block()
            self._connection.outbox.write(packets)

    def _release(self, packets: list[Packet] | None) -> bool:
        poll, self.poll = self.poll, None
        self._connection.engine.wheel.remove(self)
        if self._connection.open:
            self._connection.outbox.block()
        return poll is not None and poll(packets)

    def nudge(self) -> None:
        """Release the waiting GET with a noop, soon; those that follow during the upgrade are not kept long either."""
        self.probed = True
        self._let_go_soon()

    def _let_go_soon(self) -> None:
        if self.poll is not None:
            asyncio.get_running_loop().call_later(LET_GO_AFTER, self._let_go, self.poll)

    def _let_go(self, poll: object) -> None:
        if self.poll is poll:
            self._release([engineio.NOOP])

    def discard(self) -> None:
        """A WebSocket took over: a GET that still waits is one that comes after it."""
        self.resume_reading()  # a POST that waits goes on, and finds that it is too late
        self._release(None)

    def collect(self) -> list[Packet]:
        """What has gathered for a GET that comes now."""
        self._connection.outbox.flush()
        # Before its probe has come the client does not upgrade yet: it would poll in circles.
        self.probed = self.probed and self._connection.state is State.PROBING
        return self._connection.outbox.take()

    def wait(self, answer: Answer) -> None:
        """Keep the GET of the session until there is something to answer it with."""
        self.poll = answer
        if self.probed:
            self._let_go_soon()
        self._connection.outbox.unblock()

    def left(self) -> None:
        """The client of the GET that waits is gone."""
        self._connection.close("transport close")

    async def packets(self, receive: Any) -> list[Packet] | None:
        """As :meth:`wait`, for ASGI, which tells that a client is gone only to those who ask."""
        engine = self._connection.engine
        future: asyncio.Future[list[Packet] | None] = asyncio.get_running_loop().create_future()

        def answer(packets: list[Packet] | None) -> bool:
            if future.done():
                return False
            future.set_result(packets)
            return True

        self.receive = receive
        engine.wheel.after(self, WATCH_AFTER)
        self.wait(answer)
        try:
            return await future
        finally:
            self.receive = None
            if self._watcher is not None:
                self._watcher.cancel()
                self._watcher = None
            if self.poll is answer:
                self._release([])

    def on_due(self, now: float) -> None:
        """The GET waits for long: see whether the client is still there. Or nobody came for the farewell."""
        if not self._connection.open:
            self._connection.engine.farewells.pop(self._connection.sid, None)
        elif self.poll is not None and self._watcher is None:
            self._watcher = self._connection.engine.spawn(self._watch())

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self._watcher = None
        self.left()

    @property
    def paused(self) -> bool:
        """Whether nothing may be read from the client now."""
        return self._go_on is not None

    async def ready(self) -> None:
        """Wait until reading is not paused."""
        while self._go_on is not None:
            await self._go_on.wait()

    def deliver(self, packets: deque[Packet]) -> Response | None:
        """Take the packets of a POST. Returns the answer; ``None`` if reading is paused now and some are left."""
        connection = self._connection
        while packets:
            if self._go_on is not None:
                return None
            if connection.lane is not self:  # closed, or upgraded meanwhile: the client must not take it for taken
                return STALE if connection.open else TAKEN
            packet = packets.popleft()
            if isinstance(packet, bytes):
                connection.receive_binary(packet)
            else:
                if packet == engineio.CLOSE:
                    self.said_goodbye()
                connection.receive_text(packet.encode())
        return TAKEN

    async def deliver_all(self, packets: deque[Packet]) -> Response:
        """As :meth:`deliver`, and go on each time that reading goes on."""
        response = self.deliver(packets)
        while response is None:
            await self.ready()
            response = self.deliver(packets)
        return response

    def pause_reading(self) -> None:
        if self._go_on is None:
            self._go_on = asyncio.Event()

    def resume_reading(self) -> None:
        if self._go_on is not None:
            self._go_on.set()
            self._go_on = None

    @property
    def buffered(self) -> int:
        return 0

    def close(self, *, abort: bool = False) -> None:
        """Tell the client with a close packet: in the GET that waits, else in the next one, if it comes soon."""
        self.resume_reading()
        if self.poll is not None:
            # A client that closed by itself gets a noop: its poll only needs to end (engine.io's protocol tests).
            self._release([engineio.NOOP if self._farewell else engineio.CLOSE])
        elif not abort and not self._farewell:
            engine = self._connection.engine
            engine.farewells[self._connection.sid] = [*self._connection.outbox.take(), engineio.CLOSE]
            engine.wheel.after(self, engine.settings.close_timeout)

    def said_goodbye(self) -> None:
        """The client closes by itself."""
        self._farewell = True


async def _open(engine: BaseEngine[Any], request: Request) -> Response:
    refusal = await engine.ask_application(request) if engine.allow_request is not None else None
    if refusal is not None:
        return refuse(engine, refusal, request)
    connection, packet = engine.open(State.POLLING, request)
    lane = PollingLane(connection)
    connection.ride(lane, lane.write, framed=False, writable=False)
    extra = engine.extra_headers(request, first=True, sid=connection.sid)
    more = [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in extra]
    engine.attach(connection)
    return Response(200, packet.encode(), (*TEXT_HEADERS, *more))


async def _poll(connection: Connection, request: Request, receive: Any) -> Response:
    lane = connection.lane
    assert isinstance(lane, PollingLane)
    if lane.poll is not None:
        # Two at once: the first gets the close packet, the second an error (engine.io, "poll overlap").
        connection.engine.stats.second_polls += 1
        connection.close("transport error")
        return refuse(connection.engine, BAD_REQUEST, request)
    return answer_poll(connection.engine, request, lane.collect() or await lane.packets(receive))


def answer_poll(engine: BaseEngine[Any], request: Request, packets: list[Packet] | None) -> Response:
    """The answer to a GET that got these packets, or ``None`` because a WebSocket took over."""
    if packets is None:
        return refuse(engine, BAD_REQUEST, request)
    body = encode_payload(packets)
    if not engine.settings.http_compression or len(body) < COMPRESS_FROM:
        return Response(200, body, TEXT_HEADERS)
    more: list[Header] = [(b"vary", b"accept-encoding")]
    if GZIP.search(request.headers.get("accept-encoding", "")):
        body = gzip.compress(body, compresslevel=1, mtime=0)  # equal bodies are equal bytes, whatever the clock says
        more.append((b"content-encoding", b"gzip"))
    return Response(200, body, (*TEXT_HEADERS, *more))


async def _post(connection: Connection, receive: Any) -> Response | None:
    """Take a POST. Returns the answer; ``None`` if its client left."""
    lane = connection.lane
    if not isinstance(lane, PollingLane) or lane.posting:
        # Two at once have no order (engine.io: "data request overlap from client").
        connection.close("transport error")
        return STALE
    lane.posting = True
    try:
        return await _take_post(connection, lane, receive)
    finally:
        lane.posting = False


async def _take_post(connection: Connection, lane: PollingLane, receive: Any) -> Response | None:
    await lane.ready()
    try:
        # One POST at a time: behind one that takes longer no pong would come in time.
        async with asyncio.timeout(connection.ping_interval + connection.ping_timeout):
            body = await _read(receive, connection.engine.settings.max_payload)
    except ConnectionResetError:
        connection.close("transport error", abort=True)
        return None
    except TimeoutError:
        if connection.open:
            connection.engine.stats.ping_timeouts += 1
            connection.close("ping timeout", abort=True)
        return Response(408, b"", ((b"connection", b"close"),))
    if body is None:
        connection.engine.stats.too_large += 1
        # Unread bytes of the body would be taken for the next request.
        return Response(413, b"", ((b"connection", b"close"),))
    return await lane.deliver_all(decode_post(connection, body))


def decode_post(connection: Connection, body: bytes) -> deque[Packet]:
    """The packets of a body. One that is no payload costs the session."""
    stats, limit = connection.engine.stats, connection.engine.settings.max_packets_per_poll
    try:
        return deque(decode_payload(body, limit))
    except EngineProtocolError as error:
        log.debug("session closed: %s", error)
        if body.count(b"\x1e") >= limit:
            stats.too_many_packets += 1
        else:
            stats.broken += 1
        connection.close("parse error", abort=True)
        return deque()


async def _read(receive: Any, limit: int) -> bytes | None:
    """The request's body, or ``None`` as soon as it is larger than ``limit``.

    Raises:
        ConnectionResetError: The client left before all of it was there.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body"):
            return bytes(body)
