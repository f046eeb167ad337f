"""Long-polling over ASGI: the coroutines that read a request, wait with it and send its answer.

What a request does to its session is decided in :mod:`shoal.engine.polling`. :mod:`shoal.fastlane.polling` does the
same without a task and an ASGI scope for each request; ``tests/unit/fastlane/test_polling.py`` holds both equal.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ..engine.admission import BAD_REQUEST, UNKNOWN_SID
from ..engine.base import BaseEngine
from ..engine.connection import Connection
from ..engine.polling import POST_REFUSED, PollingLane, answer_poll, decode_post, payload_response, refuse
from ..http.request import Request
from ..http.responses import Response, respond
from ..protocol.engineio import Packet
from ..protocol.session import State
from .body import read_body

__all__ = ["serve_polling"]

# A waiting GET looks for the client's departure only after this long: nearly all are answered before, for less.
WATCH_AFTER: Final = 1.0


async def serve_polling(engine: BaseEngine[Any], request: Request, headers: Any, receive: Any, send: Any) -> None:
    """Answer one polling request that is allowed by its query.

    Args:
        engine: Whose session it is for.
        request: The request.
        headers: Response headers that every answer gets.
        receive, send: ASGI's.
    """
    response = await _answer(engine, request, receive)
    if response is not None:
        await respond(send, response.status, response.body, [*response.headers, *headers])


async def _answer(engine: BaseEngine[Any], request: Request, receive: Any) -> Response | None:
    """The answer to a request; ``None`` if its client left before it had sent all of it."""
    sid = request.query.get("sid")
    if sid is None:
        return await _open(engine, request)
    connection = engine.sessions.get(sid)
    if connection is None and request.method == "GET" and sid in engine.table.final_packets:
        return payload_response(engine.table.final_packets.pop(sid))
    if connection is None or connection.expired(engine.context.wheel.now()):
        return refuse(engine, UNKNOWN_SID, request)
    if connection.state is State.WEBSOCKET or request.method not in {"GET", "POST"}:
        return refuse(engine, BAD_REQUEST, request)
    if request.method == "GET":
        return await _poll(engine, connection, request, receive)
    return await _post(connection, receive)


async def _open(engine: BaseEngine[Any], request: Request) -> Response:
    refusal = await engine.admission.ask_application(request) if engine.allow_request is not None else None
    if refusal is not None:
        return refuse(engine, refusal, request)
    connection, packet = engine.table.open(State.POLLING, request)
    lane = PollingLane(connection, engine.table.final_packets)
    connection.attach(lane, lane.write, framed=False, writable=False)
    extra = engine.extra_headers(request, first=True, sid=connection.sid)
    more = [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in extra]
    engine.on_session(connection)
    return payload_response([packet], tuple(more))


async def _poll(engine: BaseEngine[Any], connection: Connection, request: Request, receive: Any) -> Response:
    lane = connection.lane
    assert isinstance(lane, PollingLane)
    if lane.poll is not None:
        # Two at once: the first gets the close packet, the second an error (engine.io, "poll overlap").
        engine.stats.second_polls += 1
        connection.close("transport error")
        return refuse(engine, BAD_REQUEST, request)
    packets = lane.collect() or await WaitingGet(connection, lane, receive).packets()
    return answer_poll(engine, request, packets)


class WaitingGet:
    """A GET that waits for packets. ASGI reports that its client is gone only to those who await ``receive``.

    Args:
        connection: The session.
        lane: What carries it.
        receive: ASGI's.
    """

    __slots__ = ("_connection", "_future", "_lane", "_receive", "_watcher", "slot")

    def __init__(self, connection: Connection, lane: PollingLane, receive: Any) -> None:
        self._connection = connection
        self._lane = lane
        self._receive = receive
        self._future: asyncio.Future[list[Packet] | None] = asyncio.get_running_loop().create_future()
        self._watcher: asyncio.Task[None] | None = None
        self.slot: int = -1

    async def packets(self) -> list[Packet] | None:
        """Wait for packets; ``None`` when polling has ended."""
        wheel, answer = self._connection.context.wheel, self._answer
        wheel.after(self, WATCH_AFTER)
        self._lane.wait(answer)
        try:
            return await self._future
        finally:
            wheel.remove(self)
            if self._watcher is not None:
                self._watcher.cancel()
            self._lane.cancel(answer)

    def _answer(self, packets: list[Packet] | None) -> bool:
        if self._future.done():
            return False
        self._future.set_result(packets)
        return True

    def on_due(self, now: float) -> None:
        """It waits for long: see whether the client is still there."""
        if not self._future.done():
            self._watcher = self._connection.context.tasks.spawn(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._watcher = None
        self._lane.client_gone()


async def _post(connection: Connection, receive: Any) -> Response | None:
    """Take a POST. Returns the answer; ``None`` if its client left."""
    lane = connection.lane
    if not isinstance(lane, PollingLane) or lane.posting:
        # Two at once have no order (engine.io: "data request overlap from client").
        connection.close("transport error")
        return POST_REFUSED
    lane.posting = True
    try:
        return await _take_post(connection, lane, receive)
    finally:
        lane.posting = False


async def _take_post(connection: Connection, lane: PollingLane, receive: Any) -> Response | None:
    await lane.ready()
    try:
        # One POST at a time: behind one that takes longer no pong would come in time.
        async with asyncio.timeout(connection.ping_interval + connection.ping_timeout):
            body = await read_body(receive, connection.context.settings.max_payload)
    except ConnectionResetError:
        connection.close("transport error", abort=True)
        return None
    except TimeoutError:
        if connection.open:
            connection.context.stats.ping_timeouts += 1
            connection.close("ping timeout", abort=True)
        return Response(408, b"", ((b"connection", b"close"),))
    if body is None:
        connection.context.stats.too_large += 1
        # Unread bytes of the body would be taken for the next request.
        return Response(413, b"", ((b"connection", b"close"),))
    return await lane.deliver_all(decode_post(connection, body))
