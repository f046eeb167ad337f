"""uvicorn's HTTP, with the bounds that it lacks: how large the head of a request may be, how long it may take, and how
many requests may wait behind another.

httptools gathers an endless header in memory, in quadratic time, a connection that never says anything stays open for
ever, and one read of requests that nobody answers yet takes a hundred megabytes: one client could stop the server
before there is a session whose bounds would hold. What a request asks for is not known here.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..settings import EngineSettings
from .stats import EngineStats

__all__ = ["BoundedHttp"]

TOO_LARGE: Final = b"431 Request Header Fields Too Large"
TOO_MANY: Final = b"429 Too Many Requests"
TOO_SLOW: Final = b"408 Request Timeout"

# Requests of a connection that may wait behind another one. No browser sends any; tools that do send about ten.
MAX_PIPELINED: Final = 32


class TooManyRequests(Exception):
    """Stops the parser in the middle of a read."""


class BoundedHttp(HttpToolsProtocol):
    """One connection that speaks HTTP. A head that is too large or too slow ends it, and so do too many requests.

    Args:
        settings: Have the bounds.
        stats: Where such an end is counted.
        context: uvicorn's.
    """

    def __init__(self, settings: EngineSettings, stats: EngineStats, **context: Any) -> None:
        super().__init__(**context)
        self._settings = settings
        self._stats = stats
        self._overhead = 0
        """Bytes of the requests without an answer that are no body: heads, and trailers and the framing of chunks as
        far as they exceed a quarter of the body. The part that the first began in is not counted; that has the same
        bound."""
        self._running: Any = None
        """The cycle of the request that is being answered. uvicorn keeps only the last one that it read."""
        self._deadline: asyncio.TimerHandle | None = None
        self.reading = False
        """Whether the parser is inside of a request, or has handed the connection over."""

    def connection_made(self, transport: asyncio.Transport, due: float | None = None) -> None:  # type: ignore[override]
        """Begin. The first head is due at ``due`` on the loop's clock: a part of its time may have passed already."""
        super().connection_made(transport)
        self._expect_head(due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)
        self._forget_requests()

    def data_received(self, data: bytes) -> None:
        """Parse a read in parts that are no longer than a head may be. uvloop reads up to 256 KiB at once, which would
        be tens of thousands of headers before anything counts them."""
        most = self._settings.max_head
        self._parse(data[:most])
        for start in range(most, len(data), most):
            if self.transport.is_closing() or self not in self.connections:  # refused, or handed over
                break
            self._parse(data[start : start + most])

    def _parse(self, data: bytes) -> None:
        self._overhead += len(data)
        super().data_received(data)
        if not self.reading and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()  # an empty line, say: it began nothing, and uvicorn waits no more for what does
        if self._overhead >= self._settings.max_head:
            self._refuse(TOO_LARGE)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless a request before the handshake is not answered: it would hear of no end."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
        else:
            self.reading = True
            super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._overhead = 0
        self.reading = True
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_is_there()
        if len(self.pipeline) == MAX_PIPELINED:
            self._refuse(TOO_MANY)
            raise TooManyRequests
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and not self.pipeline:
            self._running = self.cycle

    def on_message_complete(self) -> None:
        self.reading = False
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body) + len(body) // 4
        super().on_body(body)

    def on_response_complete(self) -> None:
        self._running = self.pipeline[-1][0] if self.pipeline else None  # the one that is popped next
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser's refusal, unless there has been one."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _expect_head(self, due: float | None = None) -> None:
        if self._deadline is None:
            due = self.loop.time() + self._settings.head_timeout if due is None else due
            self._deadline = self.loop.call_at(due, self._head_is_late)

    def _head_is_late(self) -> None:
        self._deadline = None
        if self._running is None:
            self._refuse(TOO_SLOW)
        else:
            self._expect_head()  # behind a request that is being answered: it may be us who do not read

    def _head_is_there(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _forget_requests(self) -> None:
        """Let the request that is being answered know that nobody hears the answer, and drop those behind it."""
        self.pipeline.clear()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
            self._running = None

    def _refuse(self, status: bytes) -> None:
        """Close the connection: with a status, unless that would be in the midst of another response."""
        if not self.transport.is_closing():
            if status == TOO_MANY:
                self._stats.too_many_requests += 1
            else:
                self._stats.bad_heads += 1
            if self._running is None or not self._running.response_started:
                self.transport.write(b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
            self._forget_requests()
            self.transport.close()
