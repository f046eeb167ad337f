"""Official JavaScript clients with their default options, through each balancer of `shoal up` to four servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.interop.clients import connected
from tests.interop.test_cluster_balancers import BALANCERS, WEBSOCKET, Cluster, running
from tests.interop.test_javascript_client import SCRIPTS, run_script, scenarios
from tests.interop.wire import POLLING, Endpoint, case, client, eventually
from tests.requirements import need, need_npm


@dataclass
class Crowd:
    """A cluster, over which the script has run."""

    cluster: Cluster
    results: dict[str, Any]
    output: str


@pytest.fixture(scope="module", params=BALANCERS)
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    need("node")
    need_npm("socket.io-client")
    with running(request.param, tmp_path_factory.mktemp(request.param)) as cluster:
        output = run_script(SCRIPTS / "balanced.test.cjs", {"SHOAL_TEST_URL": cluster.url})
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        yield Crowd(cluster, {line["name"]: line for line in lines}, output)


@pytest.mark.parametrize("name", scenarios("balanced", "fastlane"))
def test_a_crowd(crowd: Crowd, name: str) -> None:
    """The scenario passes."""
    assert crowd.results.get(name, {}).get("ok"), crowd.output


@case
async def test_no_request_reached_a_wrong_server(crowd: Crowd) -> None:
    """After all of that no server has refused anything, or passed it to another one, as it would a foreign session."""
    assert len(crowd.results) == 4
    for node in crowd.cluster.nodes:
        async with connected(f"http://127.0.0.1:{node}", WEBSOCKET) as direct:
            assert await direct.call("refused") == {}
            assert await direct.call("forwarded") == [0, 0]


@case
async def test_polling_clients_outlive_the_broker(crowd: Crowd) -> None:
    """While no server is ready for new clients, those that poll go on with their own server."""
    cluster = crowd.cluster
    async with client(Endpoint(cluster.up.port, "/socket.io/")) as someone:
        sid = await someone.open()
        await someone.push(sid, "40")
        _, welcome = await someone.packets(sid, 2)
        assert sid.startswith(f"{json.loads(welcome[2:])[1]}.")
        cluster.broker.kill()
        try:
            await eventually(lambda: cluster.readiness() == [503] * 4)
            if "haproxy" in cluster.up.log:  # nginx asks no server how it is
                while (await someone.get(POLLING)).status_code == 200:
                    pass
            for number in range(20):
                assert (await someone.push(sid, f'42["tell-all",{number}]')).text == "ok"
                (said,) = await someone.packets(sid, 1)
                assert json.loads(said[2:])[2] == number
        finally:
            cluster.broker.start()
            await eventually(lambda: cluster.readiness() == [200] * 4, 20.0)
