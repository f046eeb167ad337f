"""The server API of docs/compatibility.md, shown with the official JavaScript client.

What other tests show with that client is not shown again. Whether the page's links name tests and scenarios that there
are, tests/test_compatibility.py asks.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from tests.brokers import Broker
from tests.interop.test_javascript_client import SCRIPTS, Lane, passes, run_script, run_side_by_side, scenarios
from tests.requirements import need, need_npm
from tests.servers import REFERENCE, ServerProcess, serving, tracebacks

pytestmark = pytest.mark.skipif(bool(REFERENCE), reason="not applicable: the reference has an application of its own")

OPTIONS = {
    "SHOAL_PING_INTERVAL": "0.4",
    "SHOAL_PING_TIMEOUT": "2.0",
    "SHOAL_CLEANUP_EMPTY_NAMESPACES": "true",
    "SHOAL_NODE": "surface",
}
EVERYTHING = {
    "SHOAL_PATH": "/live",
    "SHOAL_COOKIE": "where",
    "SHOAL_CORS_ORIGINS": "https://a.example,https://b.example",
    "SHOAL_CORS_CREDENTIALS": "true",
    "SHOAL_CORS_HEADERS": "x-one",
    "SHOAL_CORS_MAX_AGE": "7",
    "SHOAL_HTTP_COMPRESSION": "true",
    "SHOAL_PER_MESSAGE_DEFLATE": "true",
    "SHOAL_UPGRADE_TIMEOUT": "0.3",
    "SHOAL_CONNECT_TIMEOUT": "0.8",
    "SHOAL_PING_INTERVAL": "0.25",
    "SHOAL_PING_TIMEOUT": "1.0",
    "SHOAL_MAX_PAYLOAD": "20000",
}
RECOVERY = OPTIONS | {"SHOAL_CONNECTION_STATE_RECOVERY": "true", "SHOAL_MAX_DISCONNECTION_DURATION": "1.0"}
WEBSOCKET_ONLY = {"SHOAL_TRANSPORTS": "websocket", "SHOAL_SERVE_CLIENT": "false"}
NO_UPGRADES = {"SHOAL_ALLOW_UPGRADES": "false", "SHOAL_CORS_ORIGINS": "", "SHOAL_PING_INTERVAL": "0.4"}


@dataclass
class Surroundings(Lane):
    """A server whose scripts are told more than its address: where the others are."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def _run(self, script: str, transport: str) -> dict[str, Any]:
        told = {"SHOAL_TEST_URL": self.server.url, "SHOAL_TEST_TRANSPORT": transport, "SHOAL_TEST_LANE": self.name}
        output = run_script(SCRIPTS / f"{script}.test.cjs", told | dict(self.environment))
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        return {line["name"]: line for line in lines} | {"": output}


@contextlib.contextmanager
def surface(lane: str, options: Mapping[str, str] = OPTIONS, app: str = "io") -> Iterator[ServerProcess]:
    """An application of tests/apps/surface.py on a server of its own, whose log must tell of no mistake of ours."""
    need("node")
    need_npm("socket.io-client")
    with serving(f"surface:{app}", lane, env=options) as server:
        yield server
    assert not tracebacks(server.final_log), server.final_log


@contextlib.contextmanager
def one(app: str, lane: str, options: Mapping[str, str] = OPTIONS) -> Iterator[Lane]:
    with surface(lane, options, app) as server:
        yield Lane(lane, server)


@contextlib.contextmanager
def four(lane: str) -> Iterator[Lane]:
    """A server with options, and three with others, whose addresses the scripts are told."""
    with (
        surface(lane, EVERYTHING) as server,
        surface(lane, WEBSOCKET_ONLY) as websocket_only,
        surface(lane, NO_UPGRADES) as no_upgrades,
        surface(lane, {}) as default,
    ):
        others = {"WEBSOCKET_ONLY": websocket_only, "NO_UPGRADES": no_upgrades, "DEFAULT": default}
        environment = {f"SHOAL_TEST_{name}": other.url for name, other in others.items()}
        yield Surroundings(lane, server, environment=environment)


def side_by_side(name: str, script: str, start: Callable[[str], contextlib.AbstractContextManager[Lane]]) -> Any:
    """A fixture of both lanes by name, over which the script has run."""

    @pytest.fixture(name=name, scope="module")
    def both() -> Iterator[dict[str, Lane]]:
        with contextlib.ExitStack() as stack:
            lanes = {lane: stack.enter_context(start(lane)) for lane in LANES}
            run_side_by_side([(lane, [(script, "upgrade")]) for lane in lanes.values()])
            yield lanes

    return both


LANES = ("fastlane", "uvicorn")
each_lane = pytest.mark.parametrize("lane", LANES)
_one_node = side_by_side("one_node", "surface", partial(one, "in_front"))
_guarded = side_by_side("behind_middleware", "surface-middleware", partial(one, "guarded"))
_engine = side_by_side("engine_alone", "surface-engine", partial(one, "engine_alone"))
_recovery = side_by_side("with_recovery", "surface-recovery", partial(one, "io", options=RECOVERY))
_options = side_by_side("with_options", "surface-options", four)


@pytest.fixture(scope="module")
def msgpack() -> Iterator[Lane]:
    need_npm("socket.io-msgpack-parser")
    options = OPTIONS | {"SHOAL_PARSER": "msgpack"}
    with surface("fastlane", options) as server:
        yield Lane("fastlane", server, "msgpack")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lane]:
    """The first of two servers on one broker; its scripts are told where the second one is."""
    with Broker() as broker:
        options = OPTIONS | {"SHOAL_BROKER": broker.url}
        with (
            surface("fastlane", options | {"SHOAL_NODE": "one"}) as first,
            surface("fastlane", options | {"SHOAL_NODE": "two"}) as second,
        ):
            yield Surroundings("fastlane", first, environment={"SHOAL_TEST_OTHER": second.url})


@each_lane
@pytest.mark.parametrize("name", scenarios("surface", "fastlane"))
def test_on_one_node(one_node: dict[str, Lane], lane: str, name: str) -> None:
    """The scenario passes over the fast lane and as a plain ASGI application."""
    passes(one_node[lane], "surface", "upgrade", name)


@each_lane
@pytest.mark.parametrize("name", scenarios("surface-options", "fastlane"))
def test_with_options(with_options: dict[str, Lane], lane: str, name: str) -> None:
    """The scenario passes with options that differ from the defaults, over both lanes."""
    passes(with_options[lane], "surface-options", "upgrade", name)


@each_lane
@pytest.mark.parametrize("name", scenarios("surface-recovery", "fastlane"))
def test_with_recovery(with_recovery: dict[str, Lane], lane: str, name: str) -> None:
    """The scenario passes with connection state recovery, over both lanes."""
    passes(with_recovery[lane], "surface-recovery", "upgrade", name)


@each_lane
@pytest.mark.parametrize("name", scenarios("surface-middleware", "fastlane"))
def test_behind_middleware(behind_middleware: dict[str, Lane], lane: str, name: str) -> None:
    """The scenario passes with ASGI middleware around the server, under our own server and another one."""
    passes(behind_middleware[lane], "surface-middleware", "upgrade", name)


@each_lane
@pytest.mark.parametrize("name", scenarios("surface-engine", "fastlane"))
def test_engine_alone(engine_alone: dict[str, Lane], lane: str, name: str) -> None:
    """The scenario passes with the official Engine.IO client, over both lanes."""
    passes(engine_alone[lane], "surface-engine", "upgrade", name)


@pytest.mark.parametrize("name", scenarios("surface-cluster", "fastlane"))
def test_on_two_nodes(cluster: Lane, name: str) -> None:
    """The scenario passes with clients on two servers."""
    passes(cluster, "surface-cluster", "websocket", name)


@pytest.mark.parametrize("name", scenarios("surface-msgpack", "msgpack"))
def test_over_msgpack(msgpack: Lane, name: str) -> None:
    """The scenario passes with the official msgpack parser."""
    passes(msgpack, "surface-msgpack", "websocket", name)
