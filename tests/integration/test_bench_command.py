"""`shoal bench` against real servers: a good one is reported as good, and each fault of a bad one is counted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.bench_faults import Fault, faulty_server
from tests.ports import free_port
from tests.servers import ServerProcess

from shoal.load import trial
from shoal.load.plan import Plan
from shoal.load.result import Result

APP = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "servers" / "shoal_app.py"


@pytest.fixture(scope="module")
def shoal() -> Iterator[ServerProcess]:
    port = free_port()
    server = ServerProcess([sys.executable, str(APP), str(port)], port, {"SHOAL_NODE": "bench"})
    try:
        server.wait_until_up()
        yield server
        server.stop()
    finally:
        server.close()


@pytest.fixture(scope="module")
def another() -> Iterator[ServerProcess]:
    """The same application on python-socketio: a server that is not ours."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(APP.parent), "psio_app:app", "--port", str(port)]
    server = ServerProcess(command, port)
    try:
        server.wait_until_up()
        yield server
    finally:
        server.close()


def bench(*arguments: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoal", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clients", "30"],
        ["--clients", "30", "--publishers", "5", "--in-flight", "3"],
        ["--clients", "30", "--rate", "100", "--ramp", "0.3", "--payload", "500"],
        ["--clients", "30", "--rooms", "10"],
        ["--clients", "10", "--mode", "echo"],
        ["--clients", "10", "--mode", "echo", "--transport", "polling"],
        ["--clients", "5", "--transport", "polling", "--payload", "100000"],
    ],
    ids=" ".join,
)
def test_a_good_server_loses_nothing_doubles_nothing_and_keeps_the_order(
    shoal: ServerProcess, arguments: list[str]
) -> None:
    done = bench(shoal.url, *arguments, "--duration", "0.5", "--warmup", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    faults = {name: result[name] for name in ("lost", "duplicates", "reordered", "misdelivered", "cut_off")}
    assert faults == dict.fromkeys(faults, 0)
    assert result["sent"] > 3
    assert result["received"] == result["expected"] > 0
    assert result["received_per_s"] > 0
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["max"]
    assert result["connect_ms"]["samples"] == result["plan"]["clients"]
    assert 0 < result["tester_cpu"] < 2


@pytest.mark.parametrize(
    "arguments",
    [["--publishers", "2"], ["--rooms", "5"], ["--mode", "echo"], ["--mode", "echo", "--transport", "polling"]],
    ids=" ".join,
)
def test_any_other_server_can_be_tested_too(another: ServerProcess, arguments: list[str]) -> None:
    done = bench(another.url, "--clients", "10", *arguments, "--duration", "0.5", "--warmup", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["lost"], result["duplicates"], result["reordered"], result["misdelivered"]) == (0, 0, 0, 0)
    assert result["received"] == result["expected"] > 10


def test_an_open_loop_keeps_its_rate(shoal: ServerProcess) -> None:
    done = bench(shoal.url, "--clients", "5", "--rate", "200", "--duration", "1", "--json")
    result = json.loads(done.stdout)
    assert result["sent_per_s"] == pytest.approx(200, rel=0.15)
    assert result["send_lag_ms"]["samples"] > 100


def test_without_json_the_result_is_a_table(shoal: ServerProcess) -> None:
    done = bench(shoal.url, "--clients", "5", "--duration", "0.3", "--warmup", "0")
    assert (done.returncode, done.stderr) == (0, "")
    for row in ("received", "latency", "lost", "duplicates", "out of order", "own share of a core"):
        assert row in done.stdout


def test_it_serves_its_own_namespaces_only(shoal: ServerProcess) -> None:
    done = bench(shoal.url, "--namespace", "/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "could not connect: the server refused the client" in done.stderr
    assert done.stderr.count("\n") == 1


def test_where_nobody_listens_one_line_says_so() -> None:
    done = bench(f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("shoal: client 1 of 100 could not connect: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("transport", "status"), [("websocket", "403"), ("polling", "404")])
def test_a_path_without_socket_io_is_told_with_its_status(shoal: ServerProcess, transport: str, status: str) -> None:
    done = bench(shoal.url, "--path", "/else/", "--transport", transport)
    assert done.returncode == 1
    assert status in done.stderr
    assert done.stderr.count("\n") == 1


def attempt(fault: Fault, **changes: Any) -> tuple[Result, int]:
    """Try a server with this fault; gives the result and how often the fault occurred."""

    async def run() -> tuple[Result, int]:
        async with faulty_server(fault) as (port, faults):
            result = await trial.run_trial(plan(f"http://127.0.0.1:{port}", **changes), lambda progress: None)
            return result, faults()

    return asyncio.run(run())


def plan(url: str, **changes: Any) -> Plan:
    common: dict[str, Any] = {"url": url, "path": "/socket.io/", "namespace": "/", "auth": None, "verify": True}
    common |= {"transport": "websocket", "mode": "broadcast", "clients": 4, "publishers": 1, "rooms": None}
    common |= {"event": "chat", "reply_event": "chat-message", "join_event": "join", "rate": 300.0, "in_flight": 1}
    return Plan(**{**common, "payload": 64, "duration": 0.4, "warmup": 0.0, "ramp": 0.0, **changes})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(trial, "DRAIN_SECONDS", 0.3)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("fault", "field"), [("drop", "lost"), ("double", "duplicates"), ("swap", "reordered")])
def test_each_fault_is_counted_exactly_and_as_no_other(fault: Fault, field: str) -> None:
    result, faults = attempt(fault)
    assert faults > 5
    found = {name: getattr(result, name) for name in ("lost", "duplicates", "reordered", "misdelivered")}
    # A message that is held back when the test ends has no later one to follow.
    held = 1 if fault == "swap" and found["lost"] else 0
    assert found == {**dict.fromkeys(found, 0), field: faults - held, **({"lost": 1} if held else {})}


@pytest.mark.usefixtures("impatient")
def test_a_client_that_is_cut_off_is_counted_with_the_reason_and_the_others_go_on() -> None:
    result, _ = attempt("close")
    assert result.cut_off == 1
    assert result.cut_reason == "the server closed the WebSocket: 1011 (internal error) enough"
    assert result.lost > 0
    assert result.received > 3 * 50


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("silent", "nothing came back for the event 'chat'"),
        ("deaf sender", "its sender"),
        ("refuse", 'could not connect: the server refused the client: {"message":"closed today"}'),
    ],
)
def test_a_server_that_cannot_be_tested_is_told_what_it_did_not_do(fault: Fault, words: str) -> None:
    with pytest.raises(trial.LoadTestFailed) as caught:
        attempt(fault, rate=None)
    assert words in str(caught.value)
