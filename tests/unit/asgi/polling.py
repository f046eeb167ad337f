"""A long-polling client in memory, for the tests of the transports: each call is one request."""

from __future__ import annotations

import asyncio
from typing import Any

from shoal import Engine
from shoal.protocol.engineio import Packet, decode_payload, encode_payload
from shoal.testing import Response, TestServer
from shoal.testing.memory import Address, WebSocket

Pending = asyncio.Task[Response]


class Poller:
    """One session on polling.

    Args:
        server: Where.
    """

    def __init__(self, server: TestServer) -> None:
        self._server = server
        self.sid = ""
        self.handshake: Response = Response()

    async def open(self, **options: Any) -> Poller:
        """The handshake."""
        self.handshake = await self.request("GET", **options)
        assert self.handshake.status == 200, self.handshake.text
        [packet] = self.packets(self.handshake)
        assert isinstance(packet, str)
        self.sid = Response(body=packet[1:].encode()).json["sid"]
        return self

    async def request(self, method: str, body: bytes = b"", **options: Any) -> Response:
        """A request of this session, as it is."""
        query = {"EIO": "4", "transport": "polling"} | ({"sid": self.sid} if self.sid else {})
        query |= options.pop("query", {})
        return await self._server.request(method, self._server.path, body=body, query=query, **options)

    def poll(self, **options: Any) -> Pending:
        """A GET that may wait."""
        return asyncio.ensure_future(self.request("GET", **options))

    async def get(self) -> list[Packet]:
        """A GET that is answered in time: its packets."""
        response = await self.request("GET")
        assert response.status == 200, response
        return self.packets(response)

    async def post(self, *packets: Packet) -> Response:
        """A POST of packets."""
        return await self.request("POST", encode_payload(packets))

    @staticmethod
    def packets(response: Response) -> list[Packet]:
        return decode_payload(response.body, 100_000)

    async def upgrade(self) -> Upgrade:
        """A WebSocket for the same session."""
        upgrade = Upgrade()
        query = {"EIO": "4", "transport": "websocket", "sid": self.sid}
        await upgrade.socket.connect(self._server.app, Address(path=self._server.path, query=query))
        return upgrade


class Upgrade:
    """A WebSocket without a handshake of its own: what came on it, and how it was closed."""

    def __init__(self) -> None:
        self.received: list[Packet] = []
        self.codes: list[int] = []
        self.socket = WebSocket(self.received.append, self.codes.append)
        self.send = self.socket.send


class Echo(Engine):
    """Echoes, and remembers why sessions ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.reasons: list[str] = []
        self.got: list[str | bytes] = []
        self.on("message")(self.echo)
        self.on("disconnect")(lambda session, reason: self.reasons.append(reason))

    def echo(self, session: Any, data: str | bytes) -> None:
        self.got.append(data)
        session.send(data)
