"""For the tests of applications, and our own: a server and its clients in memory, on a clock that the test moves.

Nothing here needs a network, a port or a plugin of a test runner, and nothing else in Shoal imports it.
"""

from __future__ import annotations

from .client import Received, TestClient
from .clock import Clock, ClockLoop, async_test, run
from .connection import TestConnection
from .memory import Response
from .server import TestServer

__all__ = [
    "Clock",
    "ClockLoop",
    "Received",
    "Response",
    "TestClient",
    "TestConnection",
    "TestServer",
    "async_test",
    "run",
]
