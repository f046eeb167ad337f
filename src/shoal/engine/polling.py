"""Long-polling without its I/O: a GET waits for what the server sends, a POST brings what the client sends.

The outbox is blocked unless a GET waits; so messages gather there, under its bound, and the next GET takes them all.
What a request does to its session is decided here, by :class:`PollingLane` and functions that wait for nothing;
:mod:`shoal.asgi.polling` and :mod:`shoal.fastlane.polling` read the requests and send the answers.
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

from ..errors import EngineProtocolError
from ..http.request import Request
from ..http.responses import Header, Response
from ..protocol import engineio
from ..protocol.engineio import Packet, decode_payload, encode_payload
from ..protocol.session import State
from .admission import BAD_REQUEST, Refusal
from .base import BaseEngine
from .connection import Connection
from .lane import NORMAL_CLOSURE

__all__ = ["POST_REFUSED", "PollingLane", "answer_poll", "decode_post", "payload_response", "refuse"]

log: Final = logging.getLogger("shoal.engine")

Answer = Callable[[list[Packet] | None], bool]

TEXT_HEADERS: Final = ((b"content-type", b"text/plain; charset=UTF-8"), (b"cache-control", b"no-store"))
# Once a WebSocket has sent its probe, the GET that waits is answered with a noop, but only after this long: the packet
# that ends polling may be on its way already. Node looks every 100 ms (engine.io 6.6, ``Socket._maybeUpgrade``).
RELEASE_DELAY: Final = 0.05
COMPRESS_FROM: Final = 1024  # engine.io's threshold
# "gzip" in a list of codings, unless its weight is zero (RFC 9110, section 12.5.3).
GZIP: Final = re.compile(r"(?:^|,)\s*gzip\s*(?:$|,|;\s*q=(?!0(?:\.0*)?\s*(?:$|,)))", re.IGNORECASE)
POST_OK: Final = Response(200, b"ok", ((b"content-type", b"text/html"),))
POST_REFUSED: Final = Response(400, b"")


def refuse(engine: BaseEngine[Any], refusal: Refusal, request: Request) -> Response:
    """Count a refusal. Returns the answer that says so, as Node's server words it."""
    engine.admission.refuse(refusal, request)
    body = orjson.dumps({"code": refusal.code, "message": refusal.message})
    return Response(refusal.status, body, ((b"content-type", b"application/json"),))


def payload_response(packets: list[Packet], more: tuple[Header, ...] = ()) -> Response:
    """The answer that holds packets."""
    return Response(200, encode_payload(packets), (*TEXT_HEADERS, *more))


def answer_poll(engine: BaseEngine[Any], request: Request, packets: list[Packet] | None) -> Response:
    """The answer to a GET that got these packets, or ``None`` because a WebSocket took over."""
    if packets is None:
        return refuse(engine, BAD_REQUEST, request)
    response = payload_response(packets)
    body = response.body
    if not engine.settings.http_compression or len(body) < COMPRESS_FROM:
        return response
    more: list[Header] = [(b"vary", b"accept-encoding")]
    if GZIP.search(request.headers.get("accept-encoding", "")):
        body = gzip.compress(body, compresslevel=1, mtime=0)  # equal bodies are equal bytes, whatever the clock says
        more.append((b"content-encoding", b"gzip"))
    return Response(200, body, (*TEXT_HEADERS, *more))


def decode_post(connection: Connection, body: bytes) -> deque[Packet]:
    """The packets of a body. One that is no payload costs the session."""
    stats, limit = connection.context.stats, connection.context.settings.max_packets_per_poll
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


class PollingLane:
    """What carries a session while it polls.

    Args:
        connection: The session.
        final_packets: Where the last packets of a session are kept that is closed while no GET waits.
    """

    __slots__ = ("_client_closed", "_connection", "_final_packets", "_resumed", "poll", "posting", "probed", "slot")

    def __init__(self, connection: Connection, final_packets: dict[str, list[Packet]]) -> None:
        self._connection = connection
        self._final_packets = final_packets
        self.slot: int = -1
        self.poll: Answer | None = None
        """Answers the GET that waits: with packets, or ``None`` when polling has ended. False if that is too late."""
        self.probed: bool = False
        """Whether a WebSocket has sent its probe."""
        self.posting: bool = False
        """Whether a POST is being taken."""
        self._client_closed = False
        """Whether the client has sent a close packet."""
        self._resumed: asyncio.Event | None = None
        """While reading is paused: set when it goes on."""

    # ---- out: GET

    def write(self, packets: list[Packet]) -> None:
        """Answer the waiting GET. The outbox calls it only while there is one."""
        if not self._answer(packets):
            self._connection.outbox.block()
            self._connection.outbox.write(packets)

    def _answer(self, packets: list[Packet] | None) -> bool:
        poll, self.poll = self.poll, None
        if self._connection.open:
            self._connection.outbox.block()
        return poll is not None and poll(packets)

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
            self._release_soon()
        self._connection.outbox.unblock()

    def cancel(self, answer: Answer) -> None:
        """The GET that waits with ``answer`` is gone, though its client may not be: another may follow."""
        if self.poll is answer:
            self._answer([])

    def client_gone(self) -> None:
        """The client of the GET that waits is gone."""
        self._connection.close("transport close")

    @property
    def buffered(self) -> int:
        return 0

    # ---- in: POST

    @property
    def paused(self) -> bool:
        """Whether nothing may be read from the client now."""
        return self._resumed is not None

    async def ready(self) -> None:
        """Wait until reading is not paused."""
        while self._resumed is not None:
            await self._resumed.wait()

    def deliver(self, packets: deque[Packet]) -> Response | None:
        """Take the packets of a POST. Returns the answer; ``None`` if reading is paused now and some are left."""
        connection = self._connection
        while packets:
            if self._resumed is not None:
                return None
            if connection.lane is not self:  # closed, or upgraded meanwhile: the client must not take it for taken
                return POST_REFUSED if connection.open else POST_OK
            packet = packets.popleft()
            if isinstance(packet, bytes):
                connection.receive_binary(packet)
            else:
                if packet == engineio.CLOSE:
                    self._client_closed = True
                connection.receive_text(packet.encode())
        return POST_OK

    async def deliver_all(self, packets: deque[Packet]) -> Response:
        """As :meth:`deliver`, and go on each time that reading goes on."""
        response = self.deliver(packets)
        while response is None:
            await self.ready()
            response = self.deliver(packets)
        return response

    def pause_reading(self) -> None:
        if self._resumed is None:
            self._resumed = asyncio.Event()

    def resume_reading(self) -> None:
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    # ---- upgrade

    def release_poll(self) -> None:
        """Answer the waiting GET with a noop, soon; those that follow during the upgrade are not kept long either."""
        self.probed = True
        self._release_soon()

    def _release_soon(self) -> None:
        if self.poll is not None:
            asyncio.get_running_loop().call_later(RELEASE_DELAY, self._release, self.poll)

    def _release(self, poll: object) -> None:
        if self.poll is poll:
            self._answer([engineio.NOOP])

    def detach(self) -> None:
        """A WebSocket took over: a GET that still waits is one that comes after it."""
        self.resume_reading()  # a POST that waits goes on, and finds that it is too late
        self._answer(None)

    # ---- end

    def close(self, *, abort: bool = False, code: int = NORMAL_CLOSURE) -> None:
        """Send the client a close packet: with the GET that waits, else in the next one, if it comes soon."""
        self.resume_reading()
        if self.poll is not None:
            # A client that closed by itself gets a noop: its poll only needs to end (engine.io's protocol tests).
            self._answer([engineio.NOOP if self._client_closed else engineio.CLOSE])
        elif not abort and not self._client_closed:
            connection = self._connection
            self._final_packets[connection.sid] = [*connection.outbox.take(), engineio.CLOSE]
            connection.context.wheel.after(self, connection.context.settings.close_timeout)

    def on_due(self, now: float) -> None:
        """Nobody came for the final packets."""
        self._final_packets.pop(self._connection.sid, None)
