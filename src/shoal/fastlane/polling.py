"""Long-polling on uvicorn's own connection, without a task and an ASGI scope for each request.

Requests of a session that polls on this node take the short cut, when they are common, come whole, and nothing else is
under way on their connection. All others are uvicorn's, on the same connection, and go to :mod:`shoal.asgi.polling`,
the plain twin; ``tests/unit/fastlane/test_polling.py`` compares both for any requests in any order. What a request does
to its session is decided in :mod:`shoal.engine.polling` alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..engine.base import BaseEngine
from ..engine.connection import Connection
from ..engine.forwarder import signed_head
from ..engine.hop import PassedRequest, proof_headers, receive_hop
from ..engine.peer_connection import Answer, Failure, PeerConnection
from ..engine.polling import PollingLane, answer_poll, decode_post, refuse
from ..http.cors import cors_headers
from ..http.head import FIELD_LINES, MAX_STRICT_HEAD, REQUEST_LINE, body_length
from ..http.request import Request
from ..http.responses import Header, Response
from ..protocol.engineio import Packet
from .bounded_http import BoundedHttp

__all__ = ["FastPolling", "HeaderBlock", "response_head"]

# Header blocks that a connection caches: one of its GETs, and those of POSTs of a few lengths.
MAX_CACHED: Final = 4
MAX_CACHED_BLOCK: Final = 2048  # bytes of one of them
MAX_PIPELINED_BYTES: Final = 65536  # bytes that wait behind a request; uvicorn's bound for a body that nobody reads


class HeaderBlock(NamedTuple):
    """What there is to know of a header block, which clients send again and again."""

    length: int
    """Bytes of the body."""
    cors: list[Header]


def response_head(status: int, headers: Iterable[Header]) -> bytes:
    """A response up to the digits of its body's length."""
    return b"%b%bcontent-length: " % (STATUS_LINE[status], b"".join([b"%b: %b\r\n" % header for header in headers]))


class FastPolling(BoundedHttp):
    """One HTTP connection to an engine.

    Args:
        engine: Whose sessions poll here.
        arguments: uvicorn's: ``config``, ``server_state``, ``app_state``.
    """

    __slots__ = (
        "_answered",
        "_blocks",
        "_close_after",
        "_cors",
        "_engine",
        "_lane",
        "_path",
        "_pipelined",
        "_poll",
        "_request",
        "_rests",
        "_simple",
        "slot",
    )

    def __init__(self, engine: BaseEngine[Any], **arguments: Any) -> None:
        super().__init__(engine.settings, engine.stats, **arguments)
        self._engine = engine
        self._path = engine.settings.path.encode()
        self._simple = not (self.access_log or self.root_path or self.limit_concurrency)
        self._blocks: dict[tuple[str, bytes], HeaderBlock] = {}
        self._lane: PollingLane | PeerConnection | None = None
        """What a request waits for that took the short cut and has no answer yet."""
        self._request: Request | None = None
        self._cors: list[Header] = []
        self._poll: Any = None
        """What answers the GET that waits here."""
        self._pipelined = b""
        """What came while a request waited for its answer."""
        self._close_after = False
        self._rests = False
        """Whether the last request took a short cut and has its answer: nothing is under way, here and in uvicorn's
        HTTP, no timer of that one's runs, and the client takes its answers."""
        self._answered = 0.0
        """When that was, on the loop's clock."""
        self.slot: int = -1

    # ---- which way

    def data_received(self, data: bytes) -> None:
        if self._lane is not None or self._pipelined:
            self._pipelined += data
            if len(self._pipelined) > MAX_PIPELINED_BYTES:  # not before: without reading no end is noticed
                self.flow.pause_reading()
        elif not (self._is_idle() and self._try_short_cut(data)):
            self._rests = False
            self._engine.context.wheel.remove(self)
            super().data_received(data)

    def pause_writing(self) -> None:
        self._rests = False
        super().pause_writing()

    def _is_idle(self) -> bool:
        """Whether nothing is under way in uvicorn's HTTP: the next byte begins the request that is answered next."""
        return (
            self._simple
            and not self.reading
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        )

    def _try_short_cut(self, data: bytes) -> bool:
        """Serve a request by the short cut. Returns whether it may take it; if not, nothing has happened."""
        found = self._read(data)
        if found is None:
            return False
        request, end = found
        block = self._block(request)
        if block is None or len(data) != end + block.length:
            return False
        connection = self._session(request)
        if connection is None:
            return self._try_forward(request, block, data[end:])
        lane = connection.lane
        if not isinstance(lane, PollingLane):
            return False
        if request.method == "POST":
            if lane.posting or lane.paused or block.length > self._settings.max_payload:
                return False
            self._begin(lane, request, block)
            self._post(connection, lane, data[end:])
        else:
            if lane.poll is not None:
                return False
            self._begin(lane, request, block)
            self._get(lane)
        return True

    def _read(self, data: bytes) -> tuple[Request, int] | None:
        """The request to the engine's path that ``data`` begins with, and where its head ends."""
        line = REQUEST_LINE.match(data)
        if line is None:
            return None
        method, target = line.groups()
        path, _, query = target.partition(b"?")
        start = line.end()
        end = data.find(b"\r\n\r\n", start, start + MAX_STRICT_HEAD) + 4
        if path != self._path or end < start:
            return None
        request = Request(method.decode(), self._engine.settings.path, query, data[start:end], "", False)
        return receive_hop(self._engine.forwarder.key, request), end

    def _block(self, request: Request) -> HeaderBlock | None:
        """Its header block, parsed; ``None`` if the request must not take the short cut."""
        raw = request.raw_headers
        assert isinstance(raw, bytes)
        key = request.method, raw
        block = self._blocks.get(key)
        if block is not None:
            return block
        length = body_length(request) if FIELD_LINES.fullmatch(raw) is not None else None
        if length is None:
            return None
        block = HeaderBlock(length, cors_headers(self._settings, request))
        if len(raw) <= MAX_CACHED_BLOCK:
            if len(self._blocks) == MAX_CACHED:
                self._blocks.clear()
            self._blocks[key] = block
        return block

    def _session(self, request: Request) -> Connection | None:
        """The session of a request that may go on, as :meth:`EngineApp` and :func:`serve_polling` look it up."""
        engine, query = self._engine, request.query
        if "headers" in engine.listeners or query.get("transport") != "polling" or "sid" not in query:
            return None
        if "polling" not in self._settings.transports:
            return None
        connection = engine.table.by_id.get(query["sid"])
        return None if connection is None or connection.expired(engine.context.wheel.now()) else connection

    # ---- the short cut

    def _begin(self, lane: PollingLane, request: Request, block: HeaderBlock) -> None:
        self._take_over(request)
        self._lane, self._cors = lane, block.cors
        if isinstance(request, PassedRequest):
            self._cors = [*block.cors, *proof_headers(request)]
        else:
            self._learn(request, block)

    def _learn(self, request: Request, block: HeaderBlock) -> None:
        """The short cut was taken by a request that came from its client: others like it may follow."""

    def _take_over(self, request: Request) -> None:
        """A request is answered by the short cut."""
        self._unset_keepalive_if_required()
        self._stop_head_timer()
        self._request = request
        if not isinstance(request, PassedRequest):
            if self.client is not None:
                request.peer = self.client[0]
            request.secure = self.scheme == "https"

    def _get(self, lane: PollingLane) -> None:
        packets = lane.collect()
        self._poll = self._answer_get
        if packets:
            self._answer_get(packets)
        else:
            lane.wait(self._poll)

    def _answer_get(self, packets: list[Packet] | None) -> bool:
        if self._poll is None or self._request is None or self.transport.is_closing():
            return False
        self._poll = None
        self._answer(answer_poll(self._engine, self._request, packets))
        return True

    def _post(self, connection: Connection, lane: PollingLane, body: bytes) -> None:
        packets = decode_post(connection, body)
        lane.posting = True
        response = lane.deliver(packets)
        if response is None:
            self._engine.context.tasks.spawn(self._post_rest(lane, packets))
        else:
            lane.posting = False
            self._answer(response)

    async def _post_rest(self, lane: PollingLane, packets: deque[Packet]) -> None:
        """Go on with a POST, in the middle of which reading was paused."""
        try:
            self._answer(await lane.deliver_all(packets))
        finally:
            lane.posting = False
            if self._lane is lane:  # the engine ends
                self.transport.close()

    def _try_forward(self, request: Request, block: HeaderBlock, body: bytes) -> bool:
        """Pass a request to the node that has its session, if another one has. Returns whether it may take that way."""
        engine, query = self._engine, request.query
        if query.get("transport") != "polling" or query.get("sid") in engine.table.by_id:
            return False
        peer = engine.forwarder.owner(request)
        if peer is None or peer.busy or len(body) > self._settings.max_payload:
            return False
        self._take_over(request)
        engine.forwarder.admit(peer)
        raw = request.raw_headers
        assert isinstance(raw, bytes)
        head, proof = signed_head(peer, request, self._settings.path, raw[:-2])
        self._cors = block.cors
        self._lane = peer.request(head + body, proof, self._answer_forwarded)
        return True

    def _answer_forwarded(self, answer: Answer | Failure) -> None:
        request = self._request
        if request is None:
            return
        if isinstance(answer, Failure):
            self._answer(refuse(self._engine, self._engine.forwarder.failed(answer), request))
        else:
            self._send(answer.status, answer.headers, answer.body)

    def _answer(self, response: Response) -> None:
        headers = [*self.server_state.default_headers, *response.headers, *self._cors]
        self._send(response.status, headers, response.body)

    def _send(self, status: int, headers: list[Header], body: bytes) -> None:
        self._lane = self._request = None
        if not self.transport.is_closing():
            self._reply(b"%b%d\r\n\r\n%b" % (response_head(status, headers), len(body), body))

    def _reply(self, response: bytes) -> None:
        self._rests = not self.flow.write_paused
        self.server_state.total_requests += 1
        self._answered = self.loop.time()
        if self.slot < 0:
            self._engine.context.wheel.place(self, self._answered + self.timeout_keep_alive)
        self.transport.write(response)
        if self._close_after or self._pipelined:
            self._rests = False
            if self._close_after:
                self.transport.close()
            else:
                self.loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        data, self._pipelined = self._pipelined, b""
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.data_received(data)

    # ---- end

    def on_due(self, now: float) -> None:
        """Nothing came for as long as uvicorn keeps an idle connection."""
        if self._lane is None and not self._pipelined:
            due = self._answered + self.timeout_keep_alive
            if now < due:
                self._engine.context.wheel.place(self, due)
            else:
                self.timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """uvicorn is going down: a request that waits still gets its answer."""
        if self._lane is None:
            super().shutdown()
        else:
            self._close_after = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._engine.context.wheel.remove(self)
        lane, poll = self._lane, self._poll
        self._lane = self._poll = None
        super().connection_lost(exc)
        if isinstance(lane, PeerConnection):
            lane.abandon()
        elif lane is not None and poll is not None and lane.poll is poll:
            lane.client_gone()
