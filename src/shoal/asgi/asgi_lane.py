"""One WebSocket of any ASGI server, as its messages: what :mod:`.websocket` moves a session with.

One coroutine reads; what is to be sent waits in a list for a second one, which writes and so feels the server's
back-pressure. Only the packets of a handshake are sent by the reader itself, before it reads on. That is one task more
than :mod:`.fastlane` needs; what a session does on it is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from ..engine.base import BaseEngine
from ..engine.websocket import NORMAL, TOO_LARGE, WebSocketLane, refuse
from ..protocol.engineio import Packet

__all__ = ["AsgiLane"]

log = logging.getLogger("shoal.engine")


class AsgiLane(WebSocketLane):
    """One WebSocket of an ASGI server.

    Args:
        engine: Whose sessions it carries.
        send: ASGI's.
    """

    framed = False
    # What waits for the writer beyond this counts as back-pressure: asyncio's default for a transport.
    HIGH_WATER = 64 * 1024

    def __init__(self, engine: BaseEngine[Any], send: Any) -> None:
        super().__init__(engine)
        self._send = send
        self._waiting: list[Packet] = []
        self._size = 0
        self._at_once: list[str] = []
        """Goes out before anything else is done: the OPEN packet, the answer to a probe."""
        self._sleeper: asyncio.Future[None] | None = None
        """What the writer waits for while there is nothing to write."""
        self._go_on = asyncio.Event()
        self._go_on.set()
        self._hung_up = False
        self._code = NORMAL
        self._reader: asyncio.Task[None] | None = None

    async def run(self, receive: Any) -> None:
        """Read and write until the WebSocket is closed. Owns both tasks."""
        try:
            await self._send_at_once()
        except BaseException:
            self.lost()
            raise
        writer = asyncio.create_task(self._write_out())
        self._reader = asyncio.create_task(self._read_in(receive))
        try:
            await asyncio.wait({writer, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            if self._reader.done():
                self._hung_up = True
                self._wake()
            else:
                await self._say_goodbye(receive)
        finally:
            for task in (writer, self._reader):
                task.cancel()
            for result in await asyncio.gather(writer, self._reader, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("a WebSocket failed", exc_info=result)
            self.lost()

    async def _say_goodbye(self, receive: Any) -> None:
        """Send the close frame, and wait until the server tells that the client answered it, or gave up.

        Nobody may wait in ``receive`` meanwhile: Granian (2.8) holds the close frame back until that returns.
        """
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self.engine.settings.close_timeout):
                await self._send({"type": "websocket.close", "code": self._code})
                while (await receive())["type"] == "websocket.receive":
                    pass

    async def _read_in(self, receive: Any) -> None:
        limit = self.engine.settings.max_payload
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            text, binary = message.get("text"), message.get("bytes")
            payload = text.encode("utf-8", "surrogatepass") if text is not None else binary or b""
            if len(payload) > limit:
                self._cut_off()
            elif text is not None:
                self.receive(payload)
                if self._at_once:
                    await self._send_at_once()
            elif self.connection is not None and self.receive == self.connection.receive_text:
                self.connection.receive_binary(payload)
            if not self._go_on.is_set():
                await self._go_on.wait()

    async def _send_at_once(self) -> None:
        packets, self._at_once = self._at_once, []
        with contextlib.suppress(OSError):  # as below
            for packet in packets:
                await self._send({"type": "websocket.send", "text": packet})

    async def _write_out(self) -> None:
        send = self._send
        with contextlib.suppress(OSError):  # the client has gone; the reader hears of it too
            while True:
                if not self._waiting and not self._hung_up:
                    self._sleeper = asyncio.get_running_loop().create_future()
                    await self._sleeper
                while self._waiting:
                    packets, self._waiting, self._size = self._waiting, [], 0
                    for packet in packets:
                        if isinstance(packet, str):
                            await send({"type": "websocket.send", "text": packet})
                        else:
                            await send({"type": "websocket.send", "bytes": packet})
                    if not self._waiting and self.connection is not None and not self.connection.outbox.writable:
                        self._unblock()
                if self._hung_up:
                    return

    def _wake(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None and not sleeper.done():
            sleeper.set_result(None)

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
        self._at_once.append(packet)

    @property
    def buffered(self) -> int:
        return self._size

    def pause_reading(self) -> None:
        self._go_on.clear()

    def resume_reading(self) -> None:
        self._go_on.set()

    def _cut_off(self) -> None:
        """A message is larger than ``max_payload``."""
        self.engine.stats.too_large += 1
        self.hang_up(TOO_LARGE)

    def hang_up(self, code: int = NORMAL) -> None:
        self._code = code
        self.receive = refuse
        self._hung_up = True
        self._go_on.set()
        self._wake()
        self.engine.wheel.after(self, self.engine.settings.close_timeout)

    def on_due(self, now: float) -> None:
        """The upgrade took too long, or the client does not read what stands before the close frame."""
        if not self._hung_up:
            super().on_due(now)
        elif self._reader is not None:
            self._reader.cancel()

    def close(self, *, abort: bool = False) -> None:
        self.connection = None
        if abort:
            self._waiting.clear()
        self.hang_up()
        if abort and self._reader is not None:
            self._reader.cancel()
