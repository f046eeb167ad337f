"""Requests of sessions that another node has, on any ASGI server: passed on, and the answer passed back.

A polling request is read to its end, and so is its answer. A WebSocket is carried message by message, since an ASGI
server keeps its frames to itself. The twin is :mod:`shoal.fastlane.forward`, which passes bytes;
``tests/integration/test_forward.py`` runs the same cases over both.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections import deque
from typing import Any, Final

from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN
from websockets.protocol import Protocol as Frames

from ..engine.base import BaseEngine
from ..engine.forwarder import signed_head
from ..engine.lane import NORMAL_CLOSURE
from ..engine.peer_connection import Answer, Failure, Peer
from ..engine.peer_tunnel import PeerTunnel
from ..engine.polling import refuse
from ..http.head import parse_status
from ..http.request import Request
from ..http.responses import Response, respond
from .body import read_body

__all__ = ["forward_polling", "forward_websocket"]

# Of a request: what holds for one connection alone (RFC 9110 section 7.6.1), and what is said anew.
DROPPED: Final = frozenset(
    b"connection content-length expect keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
HANDSHAKE: Final = frozenset({b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-key"})
# ASGI has headers of an accepted handshake, but for these.
NOT_ACCEPTED: Final = HANDSHAKE | {b"connection", b"upgrade", b"sec-websocket-protocol", b"date", b"server"}
SWITCHING_PROTOCOLS: Final = 101
LIMIT: Final = 64 * 1024
"""Bytes for the client beyond which the other node is not read from."""


async def forward_polling(engine: BaseEngine[Any], scope: Any, request: Request, receive: Any, send: Any) -> bool:
    """Answer a polling request if another node has its session. Returns whether it was.

    Args:
        engine: This node's.
        scope, receive, send: ASGI's.
        request: The scope's.
    """
    sid = request.query.get("sid")
    if sid is None or sid in engine.sessions or (peer := await engine.forwarder.locate(request)) is None:
        return False
    answer = await _ask(engine, peer, scope, request, receive)
    if answer is not None:
        await respond(send, answer.status, answer.body, answer.headers)
    return True


async def _ask(
    engine: BaseEngine[Any], peer: Peer, scope: Any, request: Request, receive: Any
) -> Answer | Response | None:
    """The other node's answer, or why there is none; ``None`` if the client left."""
    refusal = engine.forwarder.admit(peer)
    if refusal is not None:
        return refuse(engine, refusal, request)
    body = b""
    if request.method == "POST":
        read = await _read(engine, peer, request, receive)
        if not isinstance(read, bytes):
            return read
        body = read
    fields = _lines([*_fields(request, DROPPED), *([(b"content-length", b"%d" % len(body))] if body else [])])
    head, proof = signed_head(peer, request, _path(scope), fields)
    answered: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()
    connection = peer.request(head + body, proof, answered.set_result)
    watcher = engine.context.tasks.spawn(_until_gone(receive))
    try:
        await asyncio.wait({answered, watcher}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watcher.cancel()
        if not answered.done():
            connection.abandon()
    if not answered.done():
        return None
    answer = answered.result()
    if isinstance(answer, Failure):
        return refuse(engine, engine.forwarder.failed(answer), request)
    return answer


async def _read(engine: BaseEngine[Any], peer: Peer, request: Request, receive: Any) -> bytes | Response | None:
    """The body of a POST, counted among what is under way as it comes; or why it is not taken; ``None`` as above."""
    held = 0

    async def counted() -> Any:
        nonlocal held
        message = await receive()
        size = len(message.get("body", b""))
        held += size
        peer.bytes += size
        if peer.bytes > peer.limits.bytes:
            raise BufferError
        return message

    try:
        async with asyncio.timeout(peer.limits.answer):
            body = await read_body(counted, engine.settings.max_payload)
    except ConnectionResetError:
        return None
    except TimeoutError:
        return Response(408, b"", ((b"connection", b"close"),))
    except BufferError:
        body = b""
    finally:
        peer.bytes -= held
    if body is None:
        engine.stats.too_large += 1
        return Response(413, b"", ((b"connection", b"close"),))
    if peer.busy or peer.bytes + held > peer.limits.bytes:  # others were quicker
        response = refuse(engine, engine.forwarder.failed(Failure.BUSY), request)
        return response._replace(headers=(*response.headers, (b"connection", b"close")))
    return body


async def _until_gone(receive: Any) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _fields(request: Request, dropped: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    raw = request.raw_headers
    assert not isinstance(raw, bytes)
    return [field for field in raw if field[0] not in dropped and not set(b"\r\n\0") & set(field[0] + field[1])]


def _lines(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def _path(scope: Any) -> str:
    """The path as the client sent it. Servers put the place where they say they are mounted in front of it; what other
    applications say (Starlette keeps the server's as ``app_root_path``) is a part of it.
    """
    path: str = scope["path"]
    root: str = scope.get("app_root_path", scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(root) if path.startswith(root + "/") else path


# ---- WebSockets


async def forward_websocket(
    engine: BaseEngine[Any], peer: Peer, scope: Any, request: Request, receive: Any, send: Any
) -> Response | None:
    """Carry a WebSocket of a session that another node has. Returns the answer if it is refused.

    Args:
        engine: This node's.
        peer: The other node.
        scope, receive, send: ASGI's; the handshake is not answered yet.
        request: The scope's.
    """
    refusal = engine.forwarder.admit(peer)
    if refusal is not None:
        return refuse(engine, refusal, request)
    key = base64.b64encode(secrets.token_bytes(16))
    fields = [
        *_fields(request, DROPPED | HANDSHAKE),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-key", key),
    ]
    head, proof = signed_head(peer, request, _path(scope), _lines(fields))
    end = _ClientEnd(engine.settings.max_outbox)
    tunnel = end.tunnel = PeerTunnel(peer, head, proof, end)
    tunnel.connect()
    try:
        answer = await end.answer
        if isinstance(answer, Failure):
            return refuse(engine, engine.forwarder.failed(answer), request)
        status, headers, body = answer
        if status != SWITCHING_PROTOCOLS:
            return Response(status, body, tuple([field for field in headers if field[0] == b"content-type"]))
        subprotocol = dict(headers).get(b"sec-websocket-protocol")
        accept: dict[str, Any] = {"type": "websocket.accept"}
        accept["subprotocol"] = subprotocol.decode("latin-1") if subprotocol is not None else None
        accept["headers"] = [field for field in headers if field[0] not in NOT_ACCEPTED]
        await send(accept)
        await end.carry(receive, send, peer.limits.connect)
    finally:
        tunnel.close()
    return None


class _ClientEnd:
    """The client's end of a WebSocket that goes through this node, as ASGI's messages.

    Args:
        limit: Bytes of the largest message that the other node may send.
    """

    def __init__(self, limit: int) -> None:
        self.answer: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()
        """What the other node says to the handshake; a body as far as it came with the head."""
        self.tunnel: PeerTunnel | None = None
        """Its connection."""
        self._frames = Frames(CLIENT, state=OPEN, max_size=limit)
        self._waiting: deque[Frame] = deque()
        """What the client has to be sent."""
        self._size = 0
        self._wakeup = asyncio.Event()
        self._writable = asyncio.Event()
        """Whether the other node takes more."""
        self._writable.set()
        self._ended = asyncio.Event()

    # ---- of a TunnelEnd

    def opened(self, head: bytes, accepted: bool) -> None:
        end = head.index(b"\r\n\r\n") + 4
        found = parse_status(head[:end])
        assert found is not None
        answer = Answer(*found, head[end:])
        if accepted:
            self.received(answer.body)
        if not self.answer.done():
            self.answer.set_result(answer)

    def received(self, data: bytes) -> None:
        self._frames.receive_data(data)
        self._answer_frames()
        for frame in self._frames.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.CLOSE}:
                self._waiting.append(frame)
                self._size += len(frame.data)
        if self._size > LIMIT and self.tunnel is not None:
            self.tunnel.pause_reading()
        self._wakeup.set()

    def _answer_frames(self) -> None:
        """Send what the other node's frames ask for: a pong, or a close frame."""
        for data in self._frames.data_to_send():
            if data and self.tunnel is not None:
                self.tunnel.write(data)

    def ended(self, failure: Failure | None) -> None:
        self._ended.set()
        if not self.answer.done():
            self.answer.set_result(failure or Failure.GONE)
        self._writable.set()
        self._wakeup.set()

    def pause_reading(self) -> None:
        self._writable.clear()

    def resume_reading(self) -> None:
        self._writable.set()

    # ---- the client

    async def carry(self, receive: Any, send: Any, patience: float) -> None:
        """Carry messages both ways, until either side ends.

        Args:
            receive, send: ASGI's.
            patience: Seconds in which the client has to take what is left for it when the other node has ended.
        """
        ways = [self._read_in(receive), self._write_out(send), self._outlast(patience)]
        tasks = {asyncio.ensure_future(way) for way in ways}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, OSError):
                    raise result

    async def _outlast(self, patience: float) -> None:
        """Return when the client takes nothing that is left for it."""
        await self._ended.wait()
        await asyncio.sleep(patience)

    async def _read_in(self, receive: Any) -> None:
        """From the client to the other node."""
        frames = self._frames
        while True:
            message = await receive()
            if message["type"] == "websocket.receive" and frames.state is not OPEN:
                continue  # the other node has closed it: that is on its way to the client
            if frames.state is not OPEN:
                return
            if message["type"] != "websocket.receive":
                frames.send_close(_sendable(message.get("code")), "")
            elif (text := message.get("text")) is not None:
                frames.send_text(text.encode("utf-8", "surrogatepass"))
            else:
                frames.send_binary(message.get("bytes") or b"")
            self._answer_frames()
            if message["type"] != "websocket.receive":
                return
            await self._writable.wait()

    async def _write_out(self, send: Any) -> None:
        """From the other node to the client."""
        parts: list[bytes] = []
        opcode = Opcode.TEXT
        while True:
            while self._waiting:
                frame = self._waiting.popleft()
                self._size -= len(frame.data)
                if frame.opcode is Opcode.CLOSE:
                    code = int.from_bytes(frame.data[:2], "big") if frame.data else NORMAL_CLOSURE
                    await send({"type": "websocket.close", "code": code})
                    return
                opcode = opcode if frame.opcode is Opcode.CONT else frame.opcode
                parts.append(bytes(frame.data))
                if frame.fin:
                    data = b"".join(parts)
                    parts.clear()
                    if opcode is Opcode.TEXT:
                        await send({"type": "websocket.send", "text": data.decode("utf-8", "replace")})
                    else:
                        await send({"type": "websocket.send", "bytes": data})
            if self._ended.is_set():
                with contextlib.suppress(OSError):
                    await send({"type": "websocket.close", "code": 1011})  # as a lost connection: the owner is gone
                return
            if self.tunnel is not None:
                self.tunnel.resume_reading()
            self._wakeup.clear()
            if not self._waiting and not self._ended.is_set():
                await self._wakeup.wait()


def _sendable(code: Any) -> int:
    """A close code that may be sent (RFC 6455 section 7.4.2): what reports a lost connection may not."""
    return (
        code
        if isinstance(code, int) and (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code < 5000)
        else 1001
    )
