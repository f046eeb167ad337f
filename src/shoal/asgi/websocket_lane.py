"""One WebSocket of any ASGI server: carries a session as ASGI's messages.

One coroutine reads; what is to be sent waits in a list for a second one, which writes and so feels the server's
back-pressure. Only the packets of a handshake are sent by the reader itself, before it reads on. That is one task more
than :mod:`shoal.fastlane.websocket` needs; what a session does on it is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from ..engine.connection import Connection
from ..engine.context import EngineContext
from ..engine.lane import MESSAGE_TOO_BIG, NORMAL_CLOSURE
from ..engine.websocket import WebSocketLane, ignore
from ..protocol.engineio import Packet

__all__ = ["AsgiLane"]

log: Final = logging.getLogger("shoal.engine")


class AsgiLane(WebSocketLane):
    """One WebSocket of an ASGI server.

    Args:
        context: Of the engine whose session it carries.
        send: ASGI's.
    """

    framed = False
    # What waits for the writer beyond this counts as back-pressure: asyncio's default for a transport.
    HIGH_WATER = 64 * 1024

    def __init__(self, context: EngineContext, send: Any) -> None:
        super().__init__(context)
        self._send = send
        self._waiting: list[Packet] = []
        self._size = 0
        self._first: list[str] = []
        """Goes out before anything else is done: the OPEN packet, the answer to a probe."""
        self._wakeup: asyncio.Future[None] | None = None
        """What the writer waits for while there is nothing to write."""
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._closing = False
        self._code = NORMAL_CLOSURE
        self._reader: asyncio.Task[None] | None = None

    async def run(self, receive: Any) -> None:
        """Read and write until the WebSocket is closed. Owns both tasks."""
        try:
            await self._send_first()
        except BaseException:
            self.lost()
            raise
        writer = asyncio.create_task(self._write_out())
        self._reader = asyncio.create_task(self._read_in(receive))
        try:
            await asyncio.wait({writer, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            if self._reader.done():
                self._closing = True
                self._wake()
            else:
                await self._close_handshake(receive)
        finally:
            for task in (writer, self._reader):
                task.cancel()
            for result in await asyncio.gather(writer, self._reader, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("a WebSocket failed", exc_info=result)
            self.lost()

    async def _close_handshake(self, receive: Any) -> None:
        """Send the close frame, and wait until the server reports the client's, or gives up.

        Nobody may wait in ``receive`` meanwhile: Granian (2.8) holds the close frame back until that returns.
        """
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self.context.settings.close_timeout):
                await self._send({"type": "websocket.close", "code": self._code})
                while (await receive())["type"] == "websocket.receive":
                    pass

    async def _read_in(self, receive: Any) -> None:
        limit = self.context.settings.max_payload
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            text, binary = message.get("text"), message.get("bytes")
            payload = text.encode("utf-8", "surrogatepass") if text is not None else binary or b""
            if len(payload) > limit:
                self._too_large()
            elif text is not None:
                self.receive(payload)
                if self._first:
                    await self._send_first()
            elif self.connection is not None and self.receive == self.connection.receive_text:
                self.connection.receive_binary(payload)
            if not self._resumed.is_set():
                await self._resumed.wait()

    async def _send_first(self) -> None:
        packets, self._first = self._first, []
        with contextlib.suppress(OSError):  # as below
            for packet in packets:
                await self._send({"type": "websocket.send", "text": packet})

    async def _write_out(self) -> None:
        send = self._send
        with contextlib.suppress(OSError):  # the client has gone; the reader notices it too
            while True:
                if not self._waiting and not self._closing:
                    self._wakeup = asyncio.get_running_loop().create_future()
                    await self._wakeup
                while self._waiting:
                    packets, self._waiting, self._size = self._waiting, [], 0
                    for packet in packets:
                        if isinstance(packet, str):
                            await send({"type": "websocket.send", "text": packet})
                        else:
                            await send({"type": "websocket.send", "bytes": packet})
                    if not self._waiting and self.connection is not None and not self.connection.outbox.writable:
                        self._unblock()
                if self._closing:
                    return

    def _wake(self) -> None:
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None and not wakeup.done():
            wakeup.set_result(None)

    def _unblock(self) -> None:
        if self.connection is not None and self.receive == self.connection.receive_text:
            self.connection.outbox.unblock()

    def write(self, data: list[Packet]) -> None:
        self._waiting.extend(self.as_sent(data))
        for packet in data:
            self._size += len(packet)
        self._wake()
        if self._size > self.HIGH_WATER and self.connection is not None:
            self.connection.outbox.block()

    def send_packet(self, packet: str) -> None:
        self._first.append(packet)

    @property
    def buffered(self) -> int:
        return self._size

    def pause_reading(self) -> None:
        self._resumed.clear()

    def resume_reading(self) -> None:
        self._resumed.set()

    def _too_large(self) -> None:
        """A message is larger than ``max_payload``."""
        self.context.stats.too_large += 1
        self.start_close(MESSAGE_TOO_BIG)

    def start_close(self, code: int = NORMAL_CLOSURE) -> None:
        self._code = code
        self.receive: Callable[[bytes], None] = ignore
        self._closing = True
        self._resumed.set()
        self._wake()
        self.context.wheel.after(self, self.context.settings.close_timeout)

    def on_due(self, now: float) -> None:
        """The upgrade took too long, or the client does not read what stands before the close frame."""
        if not self._closing:
            super().on_due(now)
        elif self._reader is not None:
            self._reader.cancel()

    def close(self, *, abort: bool = False, code: int = NORMAL_CLOSURE) -> None:
        self.connection: Connection | None = None
        if abort:
            self._waiting.clear()
        self.start_close(code)
        if abort and self._reader is not None:
            self._reader.cancel()
