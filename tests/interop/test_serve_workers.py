"""Official JavaScript clients with their default options, and two workers of `shoal serve` on one port.

The kernel deals out connections, so their requests come to either worker, and nobody has told it more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.brokers import NO_BROKER
from tests.interop.clients import connected
from tests.interop.test_javascript_client import SCRIPTS, run_script, scenarios
from tests.interop.wire import case
from tests.requirements import missing, need, need_npm
from tests.serve_process import Serve

from shoal.local.broker import find_broker

WORKERS = 2  # with 24 clients: that all are one worker's is less likely than 1 in 8 million


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    need("node")
    need_npm("socket.io-client")
    find_broker() or missing(NO_BROKER)
    folder = tmp_path_factory.mktemp("workers")
    with Serve(folder, "tests.apps.cluster:io", "--workers", str(WORKERS), "--node", "w") as server:
        yield server.wait_until_up(WORKERS)
        server.process.terminate()
        assert server.wait() == 0
        assert not re.search("Traceback|never retrieved|never awaited", server.text), server.text


@pytest.fixture(scope="module")
def results(server: Serve) -> dict[str, Any]:
    environment = {"SHOAL_TEST_URL": f"http://{server.url}", "SHOAL_TEST_SERVERS": str(WORKERS)}
    output = run_script(SCRIPTS / "balanced.test.cjs", environment)
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {line["name"]: line for line in lines} | {"output": output}


@pytest.mark.parametrize("name", scenarios("balanced", "fastlane"))
def test_a_crowd(results: dict[str, Any], name: str) -> None:
    """The scenario passes: nobody is disconnected, and each hears all, in order."""
    assert results.get(name, {}).get("ok"), results["output"]


@case
async def test_requests_were_passed_to_the_worker_that_has_the_session(server: Serve, results: dict[str, Any]) -> None:
    """On either worker, without one in vain, and no session was unknown."""
    left = {f"w-{number}" for number in range(1, WORKERS + 1)}
    while left:
        async with connected(f"http://{server.url}", ["websocket"]) as client:
            node = await client.call("node")
            if node in left:
                left.discard(node)
                passed, failed = await client.call("forwarded")
                assert passed > 0
                assert failed == 0
                assert await client.call("refused") == {}
