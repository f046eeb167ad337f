"""The official JavaScript client against our server: one test for each scenario of the scripts in `js/`.

A script runs once for each lane and transport; its scenarios' results are kept and asked for one by one. The names are
read from the scripts, so that a scenario that did not run is a failure of its own. Scripts wait most of their time, so
the lanes run theirs side by side, each lane one at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port
from tests.requirements import need, need_npm
from tests.servers import REFERENCE, ServerProcess, command, die_with_parent, lanes, serving, tracebacks

SCRIPTS = Path(__file__).parent / "js"
APP = "js_suite:io"
# The timeout is long enough for ten thousand answers that stand before a ping, on a machine with other work.
HEARTBEAT = {"SHOAL_PING_INTERVAL": "0.4", "SHOAL_PING_TIMEOUT": "6.0"}
QUICK_HEARTBEAT = {"SHOAL_PING_INTERVAL": "0.3", "SHOAL_PING_TIMEOUT": "1.2"}
PATIENCE = 150.0  # seconds that one script may take: it needs 2 to 10

# What runs where. Long-polling is the same code over every ASGI server; the WebSocket is not.
# "msgpack" is the fast lane with the other parser on both ends, "tls" the fast lane behind TLS.
RUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "messages": {
        "fastlane": ("polling", "websocket", "upgrade"),
        "uvicorn": ("upgrade",),
        "msgpack": ("websocket",),
    },
    "namespaces": {"fastlane": ("polling", "upgrade"), "uvicorn": ("websocket",), "msgpack": ("upgrade",)},
    "retries": {"fastlane": ("polling", "upgrade"), "uvicorn": ("websocket",)},
    "connection": {"fastlane": ("upgrade",), "uvicorn": ("upgrade",)},
    "tls": {"tls": ("polling", "websocket")},
    "restart": {"fastlane": ("upgrade",), "uvicorn": ("upgrade",)},
}


def scenarios(script: str, lane: str) -> list[str]:
    """The names of a script's scenarios for a lane, in its order."""
    text = (SCRIPTS / f"{script}.test.cjs").read_text(encoding="utf-8")
    kinds = "scenario|stricter" if lane == "msgpack" else "scenario|stricter|jsonOnly"
    return re.findall(rf'^(?:{kinds})\("([^"]+)"', text, re.MULTILINE)


@dataclass
class Lane:
    """A server, and what the scripts that ran against it found."""

    name: str
    server: ServerProcess
    parser: str = "json"
    found: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def results(self, script: str, transport: str) -> dict[str, Any]:
        if (script, transport) not in self.found:
            self.found[script, transport] = self._run(script, transport)
        return self.found[script, transport]

    def run(self, scripts: Iterable[tuple[str, str]]) -> None:
        """Run scripts, each over a transport, one after another."""
        for script, transport in scripts:
            self.results(script, transport)

    def _run(self, script: str, transport: str) -> dict[str, Any]:
        environment = {"SHOAL_TEST_URL": self.server.url, "SHOAL_TEST_TRANSPORT": transport}
        environment["SHOAL_TEST_PARSER"] = self.parser
        if script == "restart":
            port = free_port()
            environment["SHOAL_TEST_URL"] = f"http://127.0.0.1:{port}"
            environment["SHOAL_TEST_COMMAND"] = json.dumps(command(APP, self.name, port))
            environment |= QUICK_HEARTBEAT
        output = run_script(SCRIPTS / f"{script}.test.cjs", environment)
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        return {line["name"]: line for line in lines} | {"": output}


def run_script(script: Path, environment: dict[str, str]) -> str:
    """Run a script with node's own reporter replaced by ours; what it wrote. Whatever it started ends with it."""
    argv = [need("node"), f"--test-reporter={SCRIPTS / 'reporter.cjs'}", str(script)]
    process = subprocess.Popen(
        argv,
        cwd=SCRIPTS,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        return process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def cases(lane: str) -> Any:
    """Parameters for every script, transport and scenario of a lane, in the order in which they run."""
    return pytest.mark.parametrize(
        ("script", "transport", "name"),
        [
            pytest.param(script, transport, name, id=f"{script}-{transport}: {name}")
            for script, transports in RUNS.items()
            for transport in transports.get(lane, ())
            for name in scenarios(script, lane)
        ],
    )


@contextlib.contextmanager
def running(lane: str, parser: str = "json", pem: Sequence[Path] = ()) -> Iterator[Lane]:
    """The server of a lane, for as long as its tests take."""
    need("node")
    need_npm("socket.io-client")
    env = HEARTBEAT | {"SHOAL_PARSER": parser}
    with serving(APP, lane, env=env, pem=pem) as server:
        yield Lane(lane, server, parser)
    log = server.final_log
    assert len(tracebacks(log)) == log.count("RuntimeError: on purpose"), log


def wanted(items: Iterable[pytest.Item], test: str) -> list[tuple[str, str]]:
    """The scripts and transports that a selection of tests needs of a lane, in their order."""
    found = [item.callspec.params for item in items if isinstance(item, pytest.Function) and item.originalname == test]
    return list(dict.fromkeys((params["script"], params["transport"]) for params in found))


@pytest.fixture(scope="module")
def side_by_side(request: pytest.FixtureRequest) -> Iterator[dict[str, Lane]]:
    """The two lanes with the most scripts, as far as they are wanted. All scripts have run."""
    items = [item for item in request.session.items if item.path == request.path]
    tests = {lanes("fastlane")[0]: "test_over_the_fast_lane", "uvicorn": "test_over_stock_uvicorn"}
    runs = {name: found for name, test in tests.items() if (found := wanted(items, test))}
    if REFERENCE:
        runs.pop("uvicorn", None)
    with contextlib.ExitStack() as stack:
        found = {name: stack.enter_context(running(name)) for name in runs}
        run_side_by_side([(found[name], scripts) for name, scripts in runs.items()])
        yield found


def run_side_by_side(work: Iterable[tuple[Lane, Iterable[tuple[str, str]]]]) -> None:
    """Let several lanes run their scripts at the same time, and wait for them."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda task: task[0].run(task[1]), work))


@pytest.fixture(scope="module")
def fastlane(side_by_side: dict[str, Lane]) -> Lane:
    return side_by_side[lanes("fastlane")[0]]


@pytest.fixture(scope="module")
def uvicorn(side_by_side: dict[str, Lane]) -> Lane:
    if REFERENCE:
        pytest.skip("not applicable: the reference has one lane")
    return side_by_side["uvicorn"]


@pytest.fixture(scope="module")
def msgpack() -> Iterator[Lane]:
    need_npm("socket.io-msgpack-parser")
    with running(lanes("fastlane")[0], "msgpack") as lane:
        yield lane


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    if REFERENCE:
        pytest.skip("not applicable: the reference has one lane")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    request = [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    request += ["-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(request, check=True, capture_output=True)
    with running("fastlane", pem=(certificate, key)) as lane:
        yield lane


@cases("fastlane")
def test_over_the_fast_lane(fastlane: Lane, script: str, transport: str, name: str) -> None:
    """The scenario passes under our own server."""
    passes(fastlane, script, transport, name)


@cases("uvicorn")
def test_over_stock_uvicorn(uvicorn: Lane, script: str, transport: str, name: str) -> None:
    """The scenario passes with Shoal as a plain ASGI application."""
    passes(uvicorn, script, transport, name)


@cases("msgpack")
def test_over_msgpack(msgpack: Lane, script: str, transport: str, name: str) -> None:
    """The scenario passes with the official msgpack parser."""
    passes(msgpack, script, transport, name)


@cases("tls")
def test_over_tls(tls: Lane, script: str, transport: str, name: str) -> None:
    """The scenario passes where our own server does TLS."""
    passes(tls, script, transport, name)


def passes(lane: Lane, script: str, transport: str, name: str) -> None:
    results = lane.results(script, transport)
    assert name in results, f"{script} over {transport} did not come to this scenario:\n{results['']}"
    result = results[name]
    if result["skipped"]:
        pytest.skip(f"not applicable: the reference {result['skipped']}")
    assert result["ok"], f"{result['detail']}\n--- the server's log ends with:\n{lane.server.log()[-4000:]}"
