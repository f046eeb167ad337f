"""Polling requests of which nothing is new but what they bring: the short cut of the short cut.

A client's requests on a connection differ in a POST's length and body, in the ``t`` that browsers' caches are kept off
with, and in nothing else. So the header block of the last GET and of the last POST that :class:`.FastPolling` has read
is compared as bytes, a POST's with any other length in it. A plain message goes to its session, and a plain answer out,
without an object for the request, the payload or the response.

Everything else is the plain twin's, :class:`.FastPolling`: ``tests/unit/fastlane/test_polling.py`` compares both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from ..engine.base import BaseEngine
from ..engine.connection import Connection, is_utf8
from ..engine.polling import COMPRESS_FROM, POST_OK, TEXT_HEADERS, PollingLane
from ..fanout.outbox import Outbox
from ..http.head import MAX_DIGITS
from ..http.request import Request
from ..http.responses import Header
from ..protocol.engineio import MESSAGE, SEPARATOR, Packet, encode_payload
from .descriptor import claim_descriptor
from .polling import FastPolling, HeaderBlock, response_head

__all__ = ["RepeatedPolling"]

MAX_REPEATED: Final = 2048  # bytes of a header block that is kept for comparing
MAX_COLLECTED: Final = 4096  # bytes of an answer; the writer has the same bound for what goes with others
LENGTH: Final = re.compile(rb"(?:^|\r\n)content-length:[\t ]*+([0-9]++)\r\n", re.IGNORECASE)
PLAIN: Final = ord(MESSAGE)
BETWEEN: Final = SEPARATOR.encode()
UTF8: Final = ("utf-8", "surrogatepass")


@lru_cache
def request_line(path: str) -> re.Pattern[bytes]:
    """Matches the line of a request that official clients send to a session at ``path``: its method and its id."""
    raw = path.encode()
    if re.fullmatch(rb'[!"$->@-~]+', raw) is None:
        return re.compile(rb"(?!)")  # such a path comes in another form than this
    line = rb"(GET|POST) %b\?EIO=4&transport=polling(?:&t=[0-9A-Za-z_.-]*+)?&sid=([0-9A-Za-z_.-]++) HTTP/1\.1\r\n"
    return re.compile(line % re.escape(raw))


class Heads:
    """What the good answers to requests have in common which get the same headers of CORS."""

    __slots__ = ("_cors", "of", "ok", "packets")

    def __init__(self, cors: tuple[Header, ...]) -> None:
        self._cors = cors
        self.of: list[Header] | None = None
        """uvicorn's own headers that are in there. It makes a new list each second."""
        self.ok: bytes = b""
        """The answer to a POST."""
        self.packets: bytes = b""
        """The answer to a GET, up to its length."""

    def renew(self, default_headers: list[Header]) -> None:
        self.of = default_headers
        length = b"%d\r\n\r\n%b" % (len(POST_OK.body), POST_OK.body)
        self.ok = response_head(200, [*default_headers, *POST_OK.headers, *self._cors]) + length
        self.packets = response_head(200, [*default_headers, *TEXT_HEADERS, *self._cors])


heads_of: Final = lru_cache(maxsize=64)(Heads)


class RepeatedPolling(FastPolling):
    """One HTTP connection to an engine, as :class:`.FastPolling`.

    Args:
        engine: Whose sessions poll here.
        arguments: uvicorn's: ``config``, ``server_state``, ``app_state``.
    """

    __slots__ = (
        "_collect",
        "_compress_from",
        "_get_block",
        "_get_heads",
        "_head",
        "_line",
        "_listened",
        "_outbox",
        "_post_block",
        "_post_heads",
        "_sessions",
    )

    def __init__(self, engine: BaseEngine[Any], **arguments: Any) -> None:
        super().__init__(engine, **arguments)
        self._line = request_line(engine.settings.path)
        self._sessions = engine.sessions
        self._listened = engine.listeners.by_event
        self._compress_from = COMPRESS_FROM if engine.settings.http_compression else 0
        self._get_block = b""
        """The header block of a GET, once there has been one that may be compared with."""
        self._post_block = b"", b""
        """That of a POST, before and behind the digits of its length."""
        self._get_heads: Heads
        self._post_heads: Heads
        self._head = b""
        """The request that waits, if it came by this way."""
        self._collect = engine.context.collect
        self._outbox: Outbox | None = None
        """Small answers, until the end of the turn; they are written together with those on other connections."""

    def data_received(self, data: bytes) -> None:
        if not (self._rests and self._is_repeated(data)):
            self._hand_over()
            super().data_received(data)

    def _hand_over(self) -> None:
        """What was collected in this turn comes before anything else on this connection."""
        if self._outbox is not None:
            self._outbox.flush()

    def _is_repeated(self, data: bytes) -> bool:
        """Serve a request if there is nothing new about it. Returns whether it was served; if not, nothing happened."""
        line = self._line.match(data)
        if line is None:
            return False
        connection = self._sessions.get(line[2].decode())
        if connection is None or "headers" in self._listened:
            return False
        if connection.pinged and self.loop.time() >= connection.due:
            return False
        lane = connection.lane
        if type(lane) is not PollingLane:
            return False
        if line[1] == b"GET":
            return self._repeat_get(connection, lane, data, line.end())
        return self._repeat_post(connection, lane, data, line.end())

    # ---- POST

    def _repeat_post(self, connection: Connection, lane: PollingLane, data: bytes, start: int) -> bool:
        before, behind = self._post_block
        if not before or lane.posting or connection.paused or not data.startswith(before, start):
            return False
        start += len(before)
        end = data.find(behind, start, start + MAX_DIGITS + len(behind))
        digits = data[start:end]
        body = data[end + len(behind) :]
        if end < 0 or not digits.isdigit() or int(digits) != len(body) or len(body) > self._settings.max_payload:
            return False
        if not body or body[0] != PLAIN or BETWEEN in body or not (body.isascii() or is_utf8(body)):
            return False
        connection.receiver.receive_text(body)
        heads = self._post_heads
        if heads.of is not self.server_state.default_headers:
            heads.renew(self.server_state.default_headers)
        self._reply_soon(heads.ok)
        return True

    # ---- GET

    def _repeat_get(self, connection: Connection, lane: PollingLane, data: bytes, start: int) -> bool:
        block = self._get_block
        if not block or lane.poll is not None or not data.endswith(block, start) or len(data) != start + len(block):
            return False
        self._head = data
        self._lane = lane
        self._rests = False
        self._poll = poll = self._answer_repeated
        outbox = connection.outbox
        if (outbox.pending or outbox.held or lane.probed) and (packets := lane.collect()):
            poll(packets)
        else:
            lane.wait(poll)
        return True

    def _answer_repeated(self, packets: list[Packet] | None) -> bool:
        if self._poll is None or self.transport.is_closing():
            return False
        if packets is None:
            return self._answer_plainly(packets)
        packet = packets[0] if len(packets) == 1 else None
        body = packet.encode(*UTF8) if type(packet) is str else encode_payload(packets)
        if self._compress_from and len(body) >= self._compress_from:
            return self._answer_plainly(packets)
        heads = self._get_heads
        if heads.of is not self.server_state.default_headers:
            heads.renew(self.server_state.default_headers)
        self._poll = self._lane = None
        self._head = b""
        self._reply_soon(b"%b%d\r\n\r\n%b" % (heads.packets, len(body), body))
        return True

    def _answer_plainly(self, packets: list[Packet] | None) -> bool:
        """Answer a GET as the plain twin would: it asks for the request."""
        found = self._read(self._head)
        assert found is not None
        assert isinstance(self._lane, PollingLane)
        block = self._block(found[0])
        assert block is not None
        self._head = b""
        self._begin(self._lane, found[0], block)
        return self._answer_get(packets)

    # ---- the way out

    def _reply_soon(self, response: bytes) -> None:
        outbox, collect = self._outbox, self._collect
        if collect is None or outbox is None or len(response) > MAX_COLLECTED or self._close_after or self._pipelined:
            self._reply(response)
            return
        self._rests = True
        self.server_state.total_requests += 1
        self._answered = self.loop.time()
        if self.slot < 0:
            self._engine.context.wheel.place(self, self._answered + self.timeout_keep_alive)
        collect(outbox, response)

    def _reply(self, response: bytes) -> None:
        self._hand_over()
        super()._reply(response)

    def _open_outbox(self) -> None:
        outbox = self._outbox = Outbox(self._engine.context.outbox_rules, self)
        descriptor = claim_descriptor(self.transport)
        outbox.attach(self.transport.write, framed=True, descriptor=descriptor)
        if self.transport.get_write_buffer_size():
            outbox.descriptor = -1

    def overflow(self) -> None:
        """The transport does not take what it is given."""
        self.transport.abort()

    def pause_writing(self) -> None:
        if self._outbox is not None:
            self._outbox.descriptor = -1  # the transport itself takes what is still to come
        super().pause_writing()

    def resume_writing(self) -> None:
        if self._outbox is not None:
            self._outbox.unblock()
        super().resume_writing()

    def eof_received(self) -> None:
        self._hand_over()
        super().eof_received()

    def shutdown(self) -> None:
        self._hand_over()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._outbox is not None:
            self._outbox.close()  # first of all: behind this call the descriptor is closed
        super().connection_lost(exc)

    # ---- what the plain twin has read

    def _learn(self, request: Request, block: HeaderBlock) -> None:
        raw = request.raw_headers
        assert isinstance(raw, bytes)
        if len(raw) > MAX_REPEATED:
            return
        if self._outbox is None and self._collect is not None:
            self._open_outbox()
        heads = heads_of(tuple(block.cors))
        if request.method == "GET":
            self._get_block, self._get_heads = raw, heads
        elif (length := LENGTH.search(raw)) is not None:
            self._post_block, self._post_heads = (raw[: length.start(1)], raw[length.end(1) :]), heads
