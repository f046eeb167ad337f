"""The protocol suite and the official JavaScript client where no request but the first reaches its session's server.

Each goes to one of two others by turns, one with the fast lane and one over plain ASGI, which pass it on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from tests.brokers import Broker
from tests.interop.astray import Astray
from tests.interop.test_javascript_client import APP, HEARTBEAT, Lane, passes, scenarios
from tests.interop.test_socketio_protocol import (
    TestClosing,
    TestConnect,
    TestHandshake,
    TestHeartbeat,
    TestUpgrade,
)
from tests.interop.wire import Endpoint
from tests.ports import free_port
from tests.requirements import need, need_npm
from tests.servers import ServerProcess, command, tracebacks

__all__ = ["TestClosing", "TestConnect", "TestHandshake", "TestHeartbeat", "TestUpgrade"]

SCRIPTS = [("messages", "polling"), ("messages", "upgrade")]


@contextlib.contextmanager
def astray(app: str, environment: dict[str, str]) -> Iterator[tuple[Astray, ServerProcess]]:
    """A cluster of three, and the balancer in front of it."""
    with Broker() as broker, contextlib.ExitStack() as stack:
        servers: list[ServerProcess] = []
        prefix = f"astray{time.monotonic_ns()}"
        for number, lane in enumerate(["fastlane", "fastlane", "uvicorn"]):
            port = free_port()
            env = {
                "SUITE_NODE": f"n{number}",
                "SUITE_BROKER": broker.url,
                "SHOAL_CHANNEL_PREFIX": prefix,
                **environment,
            }
            server = ServerProcess(command(app, lane, port), port, env)
            stack.callback(server.close)
            servers.append(server)
        for server in servers:
            server.wait_until_up(path="/readyz")
        balancer = Astray(servers[0].port, [server.port for server in servers[1:]])
        stack.enter_context(balancer.running())
        yield balancer, servers[0]
        for server in servers:
            server.stop()
            log = server.log()
            assert len(tracebacks(log)) == log.count("RuntimeError: on purpose"), log
        assert balancer.astray > 0


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with astray("socket_suite:io", {}) as (balancer, _):
        yield Endpoint(balancer.port, "/socket.io/")


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    need("node")
    need_npm("socket.io-client")
    with astray(APP, HEARTBEAT) as (balancer, home):
        home.url = f"http://127.0.0.1:{balancer.port}"
        yield Lane("astray", home)


@pytest.mark.parametrize(
    ("script", "transport", "name"),
    [
        pytest.param(script, transport, name, id=f"{script}-{transport}: {name}")
        for script, transport in SCRIPTS
        for name in scenarios(script, "fastlane")
    ],
)
def test_the_javascript_client(lane: Lane, script: str, transport: str, name: str) -> None:
    """The scenario passes."""
    passes(lane, script, transport, name)
