"""A client's connection in memory: Engine.IO over a WebSocket, as a client library has it.

It answers the server's pings unless ``answers_pings`` is off, and hands every message on. Packets that it does not send
by itself can be sent as they are, as a broken client would. Namespaces and events are not known here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from ..errors import NotConnected
from ..protocol import engineio
from .memory import Address, WebSocket

__all__ = ["TestConnection"]


class TestConnection:
    """One connection of a client. Made by :meth:`.server.TestServer.open`.

    Attributes:
        handshake: What the server's first packet held: ``sid``, ``pingInterval`` and more.
        answers_pings: Whether it answers pings. If not, the server closes the connection after its ping timeout.
        close_code: Of the WebSocket; ``None`` while it is open.
    """

    __test__ = False  # pytest shall not collect it

    def __init__(self) -> None:
        self._socket = WebSocket(self._receive, self._ended)
        self._packets: deque[str | bytes] = deque()
        self._arrived = asyncio.Event()
        self.handshake: dict[str, Any] = {}
        self.answers_pings: bool = True
        self.close_code: int | None = None
        self.on_message: Callable[[str | bytes], None] = self._keep
        """Takes text without Engine.IO's ``4``, and binary. Without one, :meth:`receive` gives whole packets."""
        self.on_close: Callable[[str], None] = _ignore
        """Takes the reason, as the JavaScript client calls it."""

    @property
    def open(self) -> bool:
        """Whether it can be written to."""
        return self._socket.open

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the server's answer to the handshake, by lower-case name."""
        return self._socket.headers

    async def connect(self, app: Any, address: Address) -> None:
        """Open it, and wait for the server's first packet.

        Raises:
            ConnectionRefused: The server refused the handshake.
        """
        await self._socket.connect(app, address)
        await self._wait_for(lambda: bool(self.handshake), 5.0, "the server's first packet")

    # ---- in

    def _receive(self, message: str | bytes) -> None:
        kind = message[:1] if isinstance(message, str) else ""
        if isinstance(message, str) and kind == engineio.OPEN:
            self.handshake = orjson.loads(message[1:])
        elif message == engineio.PING and self.answers_pings:
            self.send(engineio.PONG)
        elif kind == engineio.CLOSE:
            self.close()
        elif kind in ("", engineio.MESSAGE):
            self.on_message(message[1:] if isinstance(message, str) and self.on_message != self._keep else message)
        else:
            self._keep(message)
        self._arrived.set()

    def _keep(self, message: str | bytes) -> None:
        self._packets.append(message)

    def _ended(self, code: int) -> None:
        self.close_code = code
        self._arrived.set()
        self.on_close("transport close")

    async def receive(self, timeout: float = 5.0) -> str | bytes:
        """The next packet that nobody else takes: text with its type digit, or binary.

        Args:
            timeout: Seconds to wait.

        Raises:
            TimeoutError: None came in time.
            NotConnected: None will come: the connection is closed.
        """
        await self._wait_for(lambda: bool(self._packets), timeout, "a packet")
        return self._packets.popleft()

    async def closed(self, timeout: float = 60.0) -> int:
        """Wait until the server has closed the connection. Returns the code of its close frame.

        Raises:
            TimeoutError: It did not in time.
        """
        async with asyncio.timeout(timeout):
            while self.close_code is None:
                self._arrived.clear()
                await self._arrived.wait()
        return self.close_code

    async def _wait_for(self, ready: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not ready():
                    if not self.open:
                        raise NotConnected(f"{what} will not come: the connection is closed")
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise TimeoutError(f"{what} did not come within {timeout:g} s") from None

    # ---- out

    def send(self, packet: str | bytes) -> None:
        """Send one packet: text with its type digit, or binary. Never waits."""
        self._socket.send(packet)

    def pause(self) -> None:
        """Stop reading: what the server sends fills its outbox."""
        self._socket.pause()

    def resume(self) -> None:
        """Read again."""
        self._socket.resume()

    def close(self) -> None:
        """Close it in order, as ``socket.io.engine.close()`` does."""
        self.send(engineio.CLOSE)
        self.drop("forced close")

    def drop(self, reason: str = "transport close") -> None:
        """Cut it, as a network does."""
        if self.open:
            self._socket.drop()
            self.close_code = 1006
            self._arrived.set()
            self.on_close(reason)

    async def end(self) -> None:
        """Wait until the server is done with it."""
        self.drop()
        await self._socket.end()


def _ignore(reason: str) -> None:
    """Nobody asked."""
