"""Long-polling over ASGI: a GET waits for what the server sends, a POST brings what the client sends.

The outbox is blocked unless a GET waits; so messages gather there, under its bound, and the next GET takes them all.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from typing import Any, Final

import orjson

from ..errors import EngineProtocolError
from ..protocol import engineio
from ..protocol.engineio import Packet, decode_payload, encode_payload
from ..protocol.session import State
from .connection import Connection
from .engine import BAD_REQUEST, UNKNOWN_SID, BaseEngine, Refusal
from .request import Request
from .responses import respond

__all__ = ["serve_polling"]

log = logging.getLogger("shoal.transport")

TEXT_HEADERS: Final = ((b"content-type", b"text/plain; charset=UTF-8"), (b"cache-control", b"no-store"))
# A waiting GET looks for the client's departure only after this long: nearly all are answered before, for less.
WATCH_AFTER: Final = 1.0
# Once a WebSocket has sent its probe, the GET that waits is let go with a noop, but only after this long: the packet
# that ends polling may be on its way already. Node looks every 100 ms (engine.io 6.6, ``Socket._maybeUpgrade``).
LET_GO_AFTER: Final = 0.05
COMPRESS_FROM: Final = 1024  # engine.io's threshold


async def serve_polling(engine: BaseEngine[Any], request: Request, headers: Any, receive: Any, send: Any) -> None:
    """Answer one polling request that is allowed by its query.

    Args:
        engine: Whose session it is for.
        request: The request.
        headers: Response headers that every answer gets.
        receive, send: ASGI's.
    """
    sid = request.query.get("sid")
    if sid is None:
        await _open(engine, request, headers, send)
        return
    connection = engine.sessions.get(sid)
    if connection is None and request.method == "GET" and sid in engine.farewells:
        await respond(send, 200, encode_payload(engine.farewells.pop(sid)), [*TEXT_HEADERS, *headers])
    elif connection is None or connection.expired(engine.wheel.now()):
        await refuse(engine, UNKNOWN_SID, request, headers, send)
    elif connection.state is State.WEBSOCKET or request.method not in {"GET", "POST"}:
        await refuse(engine, BAD_REQUEST, request, headers, send)
    elif request.method == "GET":
        await _poll(connection, request, headers, receive, send)
    else:
        await _post(connection, headers, receive, send)


async def refuse(engine: BaseEngine[Any], refusal: Refusal, request: Request, headers: Any, send: Any) -> None:
    """Answer with a refusal, as Node's server words it."""
    engine.refuse(refusal, request)
    body = orjson.dumps({"code": refusal.code, "message": refusal.message})
    await respond(send, refusal.status, body, [(b"content-type", b"application/json"), *headers])


class PollingLane:
    """What carries a session while it polls.

    Args:
        connection: The session.
    """

    __slots__ = ("_connection", "_farewell", "_go_on", "_watcher", "poll", "posting", "probed", "receive", "slot")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.slot = -1
        self.poll: asyncio.Future[list[Packet] | None] | None = None
        """The GET that waits: for packets, or for ``None`` when polling has ended."""
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
        if poll is None or poll.done():
            return False
        poll.set_result(packets)
        return True

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

    async def wait(self, receive: Any) -> list[Packet] | None:
        """Wait for packets, as the GET of the session. ``None`` where a WebSocket took over."""
        engine = self._connection.engine
        self.poll = poll = asyncio.get_running_loop().create_future()
        if self.probed:
            self._let_go_soon()
        self.receive = receive
        engine.wheel.place(self, engine.wheel.now() + WATCH_AFTER)
        self._connection.outbox.unblock()
        try:
            packets: list[Packet] | None = await poll
            return packets
        finally:
            self.receive = None
            if self._watcher is not None:
                self._watcher.cancel()
                self._watcher = None
            if self.poll is poll:
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
        self._connection.close("transport close")

    async def ready(self) -> None:
        """Wait until reading is not paused."""
        while self._go_on is not None:
            await self._go_on.wait()

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
            engine.wheel.place(self, engine.wheel.now() + engine.settings.close_timeout)

    def said_goodbye(self) -> None:
        """The client closes by itself."""
        self._farewell = True


async def _open(engine: BaseEngine[Any], request: Request, headers: Any, send: Any) -> None:
    refusal = await engine.ask_application(request) if engine.allow_request is not None else None
    if refusal is not None:
        await refuse(engine, refusal, request, headers, send)
        return
    connection, packet = engine.open(State.POLLING, request)
    lane = PollingLane(connection)
    connection.ride(lane, lane.write, framed=False, writable=False)
    extra = engine.extra_headers(request, first=True, sid=connection.sid)
    more = [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in extra]
    engine.attach(connection)
    await respond(send, 200, packet.encode(), [*TEXT_HEADERS, *headers, *more])


async def _poll(connection: Connection, request: Request, headers: Any, receive: Any, send: Any) -> None:
    lane = connection.lane
    assert isinstance(lane, PollingLane)
    if lane.poll is not None:
        # Two at once: the first gets the close packet, the second an error (engine.io, "poll overlap").
        connection.engine.stats.second_polls += 1
        connection.close("transport error")
        await refuse(connection.engine, BAD_REQUEST, request, headers, send)
        return
    connection.outbox.flush()
    packets: list[Packet] | None = connection.outbox.take()
    # Before its probe has come the client does not upgrade yet: it would poll in circles.
    lane.probed = lane.probed and connection.state is State.PROBING
    if not packets:
        packets = await lane.wait(receive)
    if packets is None:
        await refuse(connection.engine, BAD_REQUEST, request, headers, send)
        return
    body = encode_payload(packets)
    more = [*TEXT_HEADERS, *headers]
    if connection.engine.settings.http_compression and len(body) >= COMPRESS_FROM:
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            more.append((b"content-encoding", b"gzip"))
        more.append((b"vary", b"accept-encoding"))
    await respond(send, 200, body, more)


async def _post(connection: Connection, headers: Any, receive: Any, send: Any) -> None:
    lane = connection.lane
    if not isinstance(lane, PollingLane) or lane.posting:
        # Two at once have no order (engine.io: "data request overlap from client").
        connection.close("transport error")
        await respond(send, 400, b"", headers)
        return
    lane.posting = True
    try:
        await _take_post(connection, lane, headers, receive, send)
    finally:
        lane.posting = False


async def _take_post(connection: Connection, lane: PollingLane, headers: Any, receive: Any, send: Any) -> None:
    await lane.ready()
    try:
        # One POST at a time: behind one that takes longer no pong would come in time.
        async with asyncio.timeout(connection.ping_interval + connection.ping_timeout):
            body = await _read(receive, connection.engine.settings.max_payload)
    except ConnectionResetError:
        connection.close("transport error", abort=True)
        return
    except TimeoutError:
        if connection.open:
            connection.engine.stats.ping_timeouts += 1
            connection.close("ping timeout", abort=True)
        await respond(send, 408, b"", [*headers, (b"connection", b"close")])
        return
    if body is None:
        connection.engine.stats.too_large += 1
        # Unread bytes of the body would be taken for the next request.
        await respond(send, 413, b"", [*headers, (b"connection", b"close")])
        return
    for packet in _packets(connection, body):
        await lane.ready()
        if connection.lane is not lane:  # closed, or upgraded meanwhile: the client must not take it for taken
            if connection.open:
                await respond(send, 400, b"", headers)
                return
            break
        if isinstance(packet, bytes):
            connection.receive_binary(packet)
        else:
            if packet == engineio.CLOSE:
                lane.said_goodbye()
            connection.receive_text(packet.encode())
    await respond(send, 200, b"ok", [(b"content-type", b"text/html"), *headers])


def _packets(connection: Connection, body: bytes) -> list[Packet]:
    """The packets of a body. One that is no payload costs the session."""
    stats, limit = connection.engine.stats, connection.engine.settings.max_packets_per_poll
    try:
        return decode_payload(body, limit)
    except EngineProtocolError as error:
        log.debug("session closed: %s", error)
        if body.count(b"\x1e") >= limit:
            stats.too_many_packets += 1
        else:
            stats.broken += 1
        connection.close("parse error", abort=True)
        return []


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
