"""WebSockets as an ASGI application sees them, on every ASGI server; :mod:`shoal.fastlane.upgrade` is the other way in.

From the ``websocket`` scope to a refusal or a session; then a lane carries it, until the WebSocket is closed.
"""

from __future__ import annotations

from typing import Any

import orjson

from ..engine.admission import Refusal
from ..engine.base import BaseEngine
from ..engine.websocket import begin, find_session
from ..http.request import Request
from .uvicorn_lane import choose_lane

__all__ = ["serve_websocket"]


async def serve_websocket(engine: BaseEngine[Any], scope: Any, receive: Any, send: Any) -> None:
    """Carry one ``websocket`` scope from its handshake to its end."""
    request = Request.from_scope(scope)
    if (await receive())["type"] != "websocket.connect":
        return
    admission = engine.admission
    refusal = admission.check_websocket(request) or await admission.ask_application(request)
    found = find_session(engine, request) if refusal is None else refusal
    if isinstance(found, Refusal):
        await _refuse(admission.refuse(found, request), scope, send)
        return
    extra = engine.extra_headers(request, first=found is None) if engine.listeners else []
    headers = [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in extra]
    await send({"type": "websocket.accept", "subprotocol": request.subprotocol, "headers": headers})
    lane = choose_lane(engine.context, request, send)
    begin(engine, lane, request, found)
    await lane.run(receive)


async def _refuse(refusal: Refusal, scope: Any, send: Any) -> None:
    """Refuse with a status where the server can, else with the 403 that ASGI has for it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    body = orjson.dumps({"code": refusal.code, "message": refusal.message})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
