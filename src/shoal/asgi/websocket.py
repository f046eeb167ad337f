"""WebSockets as an ASGI application sees them, on every ASGI server; :mod:`shoal.fastlane.upgrade` is the other way in.

From the ``websocket`` scope to a refusal or a session; then a lane carries it, until the WebSocket is closed.
"""

from __future__ import annotations

from typing import Any

from ..engine.admission import UNKNOWN_SID, Refusal
from ..engine.base import BaseEngine
from ..engine.hop import proof_headers, receive_hop
from ..engine.polling import refuse
from ..engine.websocket import begin, find_session
from ..http.request import Request
from ..http.responses import Response
from .forward import forward_websocket
from .uvicorn_lane import take_over
from .websocket_lane import AsgiLane

__all__ = ["serve_websocket"]


async def serve_websocket(engine: BaseEngine[Any], scope: Any, receive: Any, send: Any) -> None:
    """Carry one ``websocket`` scope from its handshake to its end."""
    request = receive_hop(engine.forwarder.key, Request.from_scope(scope))
    if (await receive())["type"] != "websocket.connect":
        return
    admission = engine.admission
    refusal = admission.check_websocket(request) or await admission.ask_application(request)
    found = find_session(engine, request) if refusal is None else refusal
    if found is UNKNOWN_SID and (peer := await engine.forwarder.locate(request)) is not None:
        answer = await forward_websocket(engine, peer, scope, request, receive, send)
        if answer is not None:
            await _refuse(answer, scope, send)
        return
    if isinstance(found, Refusal):
        response = refuse(engine, found, request)
        await _refuse(response._replace(headers=(*response.headers, *proof_headers(request))), scope, send)
        return
    extra = engine.extra_headers(request, first=found is None) if engine.listeners else []
    headers = [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in extra]
    headers += proof_headers(request)
    await send({"type": "websocket.accept", "subprotocol": request.subprotocol, "headers": headers})
    taken = take_over(engine.context, request, receive, send)
    if taken is not None:
        begin(engine, taken, request, found)
        await taken.run()
        return
    lane = AsgiLane(engine.context, send)
    lane.text_only = request.wants_base64
    begin(engine, lane, request, found)
    await lane.run(receive)


async def _refuse(response: Response, scope: Any, send: Any) -> None:
    """Refuse with a status where the server can, else with the 403 that ASGI has for it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body})
