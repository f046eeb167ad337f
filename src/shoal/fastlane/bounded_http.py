"""uvicorn's HTTP, with the bounds that it lacks: how large the head of a request may be, how long it may take, and how
many requests may wait behind another.

httptools gathers an endless header in memory, in quadratic time, a connection that never sends anything stays open for
ever, and one read of requests that nobody answers yet takes a hundred megabytes: one client could stop the server
before there is a session whose bounds would hold. What a request asks for is not known here.

The plain twin is uvicorn's ``HttpToolsProtocol``, which answers whatever is within the bounds; beyond them
``tests/unit/fastlane/test_bounded_http.py`` says what happens.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..engine.stats import EngineStats
from ..settings import EngineSettings

__all__ = ["BoundedHttp"]

TOO_LARGE: Final = b"431 Request Header Fields Too Large"
TOO_MANY: Final = b"429 Too Many Requests"
TOO_SLOW: Final = b"408 Request Timeout"

# Requests of a connection that may wait behind another one, and their headers. No browser sends any; tools that do send
# about ten, of a few headers each.
MAX_PIPELINED: Final = 32
MAX_HEADERS: Final = 1024


class TooManyRequests(Exception):
    """Stops the parser in the middle of a read."""


class BoundedHttp(HttpToolsProtocol):
    """One HTTP connection. A head that is too large or too slow ends it, and so do too many requests.

    Args:
        settings: Have the bounds.
        stats: Where such an end is counted.
        arguments: uvicorn's: ``config``, ``server_state``, ``app_state``.
    """

    # Beside uvicorn's dict: objects of a class share the names in theirs up to thirty of them, of which it takes 27.
    __slots__ = ("_current", "_head_timer", "_overhead", "_settings", "_stats", "reading")

    def __init__(self, settings: EngineSettings, stats: EngineStats, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._settings = settings
        self._stats = stats
        self._overhead = 0
        """Bytes of this request that are no body: its head, and trailers and the framing of chunks as far as they
        exceed a quarter of the body just before. The part that it began in is not counted; that has the same bound."""
        self._current: Any = None
        """The cycle of the request that is being answered. uvicorn keeps only the last one that it read."""
        self._head_timer: asyncio.TimerHandle | None = None
        self.reading: bool = False
        """Whether the parser is inside of a request, or has handed the connection over."""

    def connection_made(self, transport: asyncio.Transport, due: float | None = None) -> None:  # type: ignore[override]
        """Begin. The first head is due at ``due`` on the loop's clock: a part of its time may have passed already."""
        super().connection_made(transport)
        self._start_head_timer(due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)
        self._drop_requests()

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
        if self not in self.connections:
            return  # handed over
        if self.cycle is None or self.cycle.response_complete:
            # An empty line, say, or the body of a request that has its answer: uvicorn's timer has stopped.
            self._start_head_timer()
        self._overhead = max(0, self._overhead)
        if self._overhead >= self._settings.max_head:
            self._refuse(TOO_LARGE)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless a request before the handshake is not answered: nothing would end it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
        else:
            self.reading = True
            super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        self._overhead = 0
        self.reading = True
        self._start_head_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_head_timer()
        before = self.cycle
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is before or cycle.response_complete:
            return  # a handshake, or answered on the spot
        if not self.pipeline:
            self._current = cycle
            return
        # Within these bounds reading goes on, which uvicorn has paused: else nobody would see that the client leaves.
        self.flow.resume_reading()
        headers = sum([len(list(waiting.scope["headers"])) for waiting, _ in self.pipeline])
        if len(self.pipeline) > MAX_PIPELINED or headers > MAX_HEADERS:
            self._refuse(TOO_MANY)
            raise TooManyRequests

    def on_message_complete(self) -> None:
        self.reading = False
        self._stop_head_timer()  # what came behind an early answer is: the next head has its own time
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body) + len(body) // 4
        super().on_body(body)

    def on_response_complete(self) -> None:
        self._current = self.pipeline[-1][0] if self.pipeline else None  # the one that is popped next
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser's refusal, unless there has been one, or it would be in the midst of another response."""
        if self._is_in_response():
            self.transport.close()
        elif not self.transport.is_closing():
            super().send_400_response(msg)

    def _start_head_timer(self, due: float | None = None) -> None:
        if self._head_timer is None:
            due = self.loop.time() + self._settings.head_timeout if due is None else due
            self._head_timer = self.loop.call_at(due, self._refuse, TOO_SLOW)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _drop_requests(self) -> None:
        """Mark the request that is being answered as disconnected, and drop those behind it."""
        self.pipeline.clear()
        if self._current is not None:
            self._current.disconnected = True
            self._current.message_event.set()
            self._current = None

    def _is_in_response(self) -> bool:
        return self._current is not None and self._current.response_started

    def _refuse(self, status: bytes) -> None:
        """Close the connection: with a status, unless that would be in the midst of another response."""
        if not self.transport.is_closing():
            if status == TOO_MANY:
                self._stats.too_many_requests += 1
            else:
                self._stats.bad_heads += 1
            if not self._is_in_response():
                self.transport.write(b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
            self._drop_requests()
            self.transport.close()
