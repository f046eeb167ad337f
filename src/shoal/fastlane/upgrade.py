"""The handshake of a WebSocket on uvicorn's own connection: from a request, which uvicorn or :mod:`.first_bytes` has
parsed, to a lane.

A common handshake takes a short cut; an uncommon or broken one is answered by `websockets`, the short cut's plain twin:
``tests/unit/fastlane/test_upgrade.py`` compares both. The twin of the whole step is :mod:`shoal.asgi.websocket`. Paths
that are not the engine's go to uvicorn's own WebSocket class, for the application behind the engine.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import unquote

import orjson
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request as HandshakeRequest
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ..engine.admission import UNKNOWN_SID, Refusal
from ..engine.base import BaseEngine
from ..engine.forwarder import signed_head
from ..engine.hop import PassedRequest, proof_headers, receive_hop
from ..engine.peer_connection import Failure
from ..engine.peer_tunnel import PeerTunnel
from ..engine.websocket import begin, find_session
from ..http.request import Request
from .forward import ForwardedWebSocket
from .websocket import FastLane

__all__ = ["UpgradeProtocol"]

ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
KEY: Final = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64


class UpgradeProtocol(asyncio.Protocol):
    """What uvicorn makes for a connection that asks for a WebSocket. A lane follows once the handshake is done.

    Args:
        engine: Takes the requests for its path.
        stock: uvicorn's own WebSocket class, for all other paths.
    """

    __slots__ = ("_arguments", "_connections", "_engine", "_next", "_request", "_stock", "_transport")

    def __init__(self, engine: BaseEngine[Any], stock: Any, **arguments: Any) -> None:
        self._engine = engine
        self._stock = stock
        self._arguments = arguments
        self._transport: asyncio.Transport | None = None
        self._next: asyncio.Protocol | None = None
        self._request: Request | None = None
        self._connections: set[Any] = arguments["server_state"].connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Not before: where a TLS handshake fails, neither this nor ``connection_lost`` is called.
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take the request, as uvicorn has parsed and rebuilt it; hand on everything after it."""
        transport = self._transport
        assert transport is not None
        if self._next is not None:
            transport.set_protocol(self._next)
            self._next.data_received(data)
            return
        if self._request is not None:
            transport.abort()  # the client sends before it was answered
            return
        line, _, block = data.partition(b"\r\n")
        method, target, _ = line.split(b" ", 2)
        raw_path, _, query = target.partition(b"?")
        path = self._arguments["config"].root_path + unquote(raw_path.decode("latin-1"))
        if path != self._engine.settings.path:
            self._delegate(data)
            return
        # uvicorn does so behind this call: what is written in it may pause us, which it does only once.
        transport.set_protocol(self)
        self.answer(Request(method.decode("ascii"), path, query, block, *self._peer()))

    def _peer(self) -> tuple[str, bool]:
        """The peer's address, and whether the connection is encrypted."""
        transport = self._transport
        assert transport is not None
        peer = transport.get_extra_info("peername")
        return (peer[0] if isinstance(peer, tuple) else ""), transport.get_extra_info("sslcontext") is not None

    def answer(self, request: Request) -> None:
        """Answer a request for the engine's path."""
        self._request = request = receive_hop(self._engine.forwarder.key, request)
        if self._engine.allow_request is not None:
            self._engine.context.tasks.spawn(self._ask_application(request))
        else:
            self._decide(request, None)

    async def _ask_application(self, request: Request) -> None:
        refusal = await self._engine.admission.ask_application(request)
        if self._transport is not None and not self._transport.is_closing():
            self._decide(request, refusal)

    def _delegate(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        self._connections.discard(self)
        self._next = self._stock(**self._arguments)
        self._next.connection_made(transport)
        self._next.data_received(data)

    def _decide(self, request: Request, refusal: Refusal | None) -> None:
        engine = self._engine
        refusal = refusal or engine.admission.check_websocket(request)
        found = find_session(engine, request) if refusal is None else refusal
        if found is UNKNOWN_SID and engine.forwarder.is_elsewhere(request):
            engine.context.tasks.spawn(self._forward(request))
            return
        if isinstance(found, Refusal):
            self._refuse(found)
            return
        transport = self._transport
        assert transport is not None
        key = request.headers.get("sec-websocket-key", "")
        extra = engine.extra_headers(request, first=found is None) if engine.listeners else []
        if isinstance(request, PassedRequest):
            extra = [*extra, *[(name.decode(), value.decode()) for name, value in proof_headers(request)]]
        answer, protocol = b"", None
        common = request.headers.get("sec-websocket-version") == "13" and KEY.fullmatch(key) is not None
        if common and not engine.settings.per_message_deflate and request.method == "GET":
            if request.subprotocol:
                extra = [("Sec-WebSocket-Protocol", request.subprotocol), *extra]
            answer = _switching_protocols(key, extra)
        else:
            protocol = self._negotiate(request, extra)
            if protocol.state is not OPEN:
                transport.close()
                return
        self._connections.discard(self)
        lane = FastLane(engine.context, transport, self._connections, protocol)
        self._next = lane
        request.forget()
        lane.accept(request, answer, upgrade=found is not None)
        begin(engine, lane, request, found)

    def _negotiate(self, request: Request, extra: list[tuple[str, str]]) -> ServerProtocol:
        """Let `websockets` answer the handshake."""
        settings, transport = self._engine.settings, self._transport
        assert transport is not None
        deflate = [ServerPerMessageDeflateFactory()] if settings.per_message_deflate else None
        offered = [cast(Subprotocol, request.subprotocol)] if request.subprotocol else None
        protocol = ServerProtocol(extensions=deflate, subprotocols=offered, max_size=settings.max_payload)
        head = f"{request.method} / HTTP/1.1\r\n".encode("latin-1")  # whatever the path: it has been looked at
        protocol.receive_data(head + cast(bytes, request.raw_headers))
        for event in protocol.events_received():
            assert isinstance(event, HandshakeRequest)
            response = protocol.accept(event)
            for name, value in extra:
                response.headers[name] = value
            protocol.send_response(response)
        transport.write(b"".join(protocol.data_to_send()))  # an empty piece, which asks for the end, adds nothing
        return protocol

    async def _forward(self, request: Request) -> None:
        """Another node has the session: let its WebSocket go through this one."""
        engine = self._engine
        peer = await engine.forwarder.locate(request)
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        refusal = UNKNOWN_SID if peer is None else engine.forwarder.admit(peer)
        if peer is None or refusal is not None:
            self._refuse(refusal or UNKNOWN_SID)
            return
        path = request.path.removeprefix(self._arguments["config"].root_path)
        head, proof = signed_head(peer, request, path, cast(bytes, request.raw_headers)[:-2])

        def refuse(failure: Failure) -> None:
            self._refuse(engine.forwarder.failed(failure))

        self._connections.discard(self)
        end = ForwardedWebSocket(transport, self._connections, refuse, engine.context.wheel, peer.limits.connect)
        self._next = end
        end.tunnel = PeerTunnel(peer, head, proof, end)
        end.tunnel.connect()

    def _refuse(self, refusal: Refusal) -> None:
        transport, request = self._transport, self._request
        assert transport is not None
        assert request is not None
        self._engine.admission.refuse(refusal, request)
        body = orjson.dumps({"code": refusal.code, "message": refusal.message})
        head = (
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        proof = b"".join([b"%b: %b\r\n" % field for field in proof_headers(request)])
        transport.write(head.encode() + proof + b"\r\n" + body)
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._next is not None:
            self._next.connection_lost(exc)
        self._transport = self._next = None

    def eof_received(self) -> bool | None:
        return self._next.eof_received() if self._next is not None else None

    def pause_writing(self) -> None:
        if self._next is not None:
            self._next.pause_writing()

    def resume_writing(self) -> None:
        if self._next is not None:
            self._next.resume_writing()

    def shutdown(self) -> None:
        """uvicorn is going down."""
        if self._transport is not None:
            self._transport.close()


def _switching_protocols(key: str, extra: list[tuple[str, str]]) -> bytes:
    accept = base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_GUID, usedforsecurity=False).digest())
    lines = "".join([f"{name}: {value}\r\n" for name, value in extra]).encode("latin-1", "replace")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        b"%b\r\n%b\r\n" % (accept, lines)
    )
