"""A WebSocket whose ASGI server fails in the middle."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.asgi.polling import Echo

from shoal.testing import async_test


@pytest.mark.parametrize(
    ("failing", "error", "logged"),
    [("receive", RuntimeError, True), ("send", RuntimeError, True), ("send", OSError, False)],
)
@async_test
async def test_a_failure_of_the_server_ends_the_session(
    failing: str, error: type[Exception], logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, but for the OSError which says that the client has gone."""
    engine = Echo()
    incoming = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "4a"}]

    async def receive() -> Any:
        if incoming:
            return incoming.pop(0)
        if failing == "receive":
            raise error
        return {"type": "websocket.disconnect"}

    async def send(message: Any) -> None:
        if failing == "send" and message.get("text") == "4a":
            raise error

    query = b"EIO=4&transport=websocket"
    await engine({"type": "websocket", "path": "/engine.io/", "query_string": query, "headers": []}, receive, send)
    assert engine.reasons == ["transport close"]
    assert ("a WebSocket failed" in caplog.text) == logged
    await engine.close()
