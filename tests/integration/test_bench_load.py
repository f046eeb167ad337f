"""The load generator of the benchmark suite: its figures are only worth something if it counts rightly."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.bench_faults import Fault, faulty_server
from tests.ports import free_port
from tests.requirements import missing, need
from tests.servers import ServerProcess

NATIVE = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "native"
APP = NATIVE.parent / "servers" / "shoal_app.py"
OPENSSL = Path("/usr/include/openssl/ssl.h")
LOAD_SOURCES = [path for path in NATIVE.glob("*.c") if path.name != "limit.c"]
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0"}  # it ends by exit, and frees nothing


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with sanitizers, so that a slip with memory is a failure and not a wrong figure."""
    tls = ["-DWITH_TLS", "-lssl", "-lcrypto"] if OPENSSL.exists() else []
    return build(tmp_path_factory.mktemp("native") / "load", LOAD_SOURCES, tls)


@pytest.fixture(scope="module")
def limit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [NATIVE / name for name in ("limit.c", "frames.c", "util.c")]
    return build(tmp_path_factory.mktemp("native") / "limit", sources, [])


def build(program: Path, sources: list[Path], more: list[str]) -> Path:
    command = [need("gcc"), *FLAGS, "-o", str(program), *map(str, sources), *more]
    subprocess.run(command, check=True, timeout=120)
    return program


@pytest.fixture(scope="module")
def shoal() -> Iterator[ServerProcess]:
    with serving() as server:
        yield server


@contextmanager
def serving(**environment: str) -> Iterator[ServerProcess]:
    port = free_port()
    environment = {"SHOAL_NODE": "bench", **environment}
    scheme = "https" if "BENCH_TLS" in environment else "http"
    server = ServerProcess([sys.executable, str(APP), str(port)], port, environment, scheme=scheme)
    try:
        server.wait_until_up()
        yield server
        server.stop()
    finally:
        server.close()


def measure(load: Path, server: ServerProcess, *arguments: str) -> dict[str, Any]:
    command = [str(load), "--ports", str(server.port), "--pids", str(server.pid), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


TRAFFIC = [
    ["--mode", "fanout", "--clients", "50", "--publishers", "5", "--window", "2"],
    ["--mode", "fanout", "--clients", "50", "--rate", "100", "--payload", "700"],
    ["--mode", "rooms", "--clients", "50", "--rooms", "20", "--members", "5", "--publishers", "10"],
    ["--mode", "echo", "--clients", "20", "--window", "3"],
    ["--mode", "echo", "--clients", "20", "--transport", "polling"],
    ["--mode", "fanout", "--clients", "20", "--payload", "16384"],
    ["--mode", "echo", "--clients", "20", "--event", "echo-async"],
    ["--mode", "echo", "--clients", "20", "--event", "echo-turn"],
    ["--mode", "echo", "--clients", "20", "--event", "echo-future"],
    ["--mode", "echo", "--clients", "20", "--binary", "1", "--payload", "1024"],
    ["--mode", "echo", "--clients", "5", "--binary", "1", "--payload", "65536"],
    ["--mode", "fanout", "--clients", "20", "--binary", "1", "--payload", "65536"],
    ["--mode", "fanout", "--clients", "50", "--publishers", "5", "--binary", "1"],
]
MSGPACK = [
    ["--mode", "echo", "--clients", "20", "--window", "3"],
    ["--mode", "fanout", "--clients", "50", "--publishers", "5", "--payload", "300"],
    ["--mode", "fanout", "--clients", "5", "--payload", "70000"],
]
TLS = [
    ["--mode", "echo", "--clients", "20", "--window", "3"],
    ["--mode", "echo", "--clients", "5", "--transport", "polling"],
    ["--mode", "fanout", "--clients", "50", "--publishers", "5", "--window", "2"],
    ["--mode", "fanout", "--clients", "5", "--payload", "200000"],
]


@pytest.mark.parametrize("arguments", TRAFFIC, ids=" ".join)
def test_shoal_delivers_each_message_once_and_in_order(load: Path, shoal: ServerProcess, arguments: list[str]) -> None:
    check(measure(load, shoal, *arguments, "--seconds", "0.25", "--warmup", "0.1", "--hold", "0.1"))


@pytest.fixture(scope="module")
def msgpack() -> Iterator[ServerProcess]:
    with serving(SHOAL_PARSER="msgpack") as server:
        yield server


@pytest.mark.parametrize("arguments", MSGPACK, ids=" ".join)
def test_the_same_over_msgpack(load: Path, msgpack: ServerProcess, arguments: list[str]) -> None:
    check(measure(load, msgpack, *arguments, "--parser", "msgpack", "--seconds", "0.25", "--warmup", "0.1"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Shoal with a certificate as the suite makes it."""
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
    command = [need("openssl"), "req", "-x509", *key, "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=folder)
    with serving(BENCH_TLS=str(folder)) as server:
        yield server


@pytest.mark.parametrize("arguments", TLS, ids=" ".join)
def test_the_same_over_tls(load: Path, secure: ServerProcess, arguments: list[str]) -> None:
    if not OPENSSL.exists():
        missing("OpenSSL's headers are not installed")
    result = measure(load, secure, *arguments, "--tls", "1", "--seconds", "0.25", "--warmup", "0.1")
    check(result)
    assert result["tls"] == 1


def test_a_load_generator_without_tls_says_what_it_lacks(tmp_path: Path) -> None:
    plain = build(tmp_path / "load", LOAD_SOURCES, [])
    command = [str(plain), "--ports", "1", "--mode", "echo", "--tls", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (
        1,
        "load: built without TLS: its headers are missing (Debian: libssl-dev)\n",
    )


def check(result: dict[str, Any]) -> None:
    faults = {name: result[name] for name in ("lost", "duplicates", "reordered", "misdelivered")}
    assert faults == dict.fromkeys(faults, 0)
    assert result["expected"] > 20
    assert result["received_per_s"] > 0
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"] <= result["latency_ms"]["max"]
    assert 0 < result["server_cpu"] <= 2
    assert 0 <= result["server_user_cpu"] <= result["server_cpu"] + 0.1
    assert 0 < result["load_cpu"] <= 1.1


def test_connections_are_counted_and_weighed(load: Path, shoal: ServerProcess) -> None:
    result = measure(load, shoal, "--mode", "connect", "--clients", "300", "--hold", "0.2")
    assert result["connects_per_s"] > 50
    assert result["connect_ms"]["samples"] == 300
    assert 0 < result["connect_ms"]["p50"] <= result["connect_ms"]["max"]


def test_all_connections_can_be_opened_at_once(load: Path, shoal: ServerProcess) -> None:
    result = measure(load, shoal, "--mode", "connect", "--clients", "300", "--handshakes", "300", "--hold", "0")
    assert (result["connect_ms"]["samples"], result["resets"]) == (300, 0)


def test_idle_connections_are_held_beside_those_that_talk(load: Path, shoal: ServerProcess) -> None:
    arguments = ["--mode", "echo", "--clients", "10", "--idle", "200", "--rate", "200", "--seconds", "0.5"]
    result = measure(load, shoal, *arguments, "--warmup", "0.1")
    check(result)
    assert (result["clients"], result["idle"], result["connect_ms"]["samples"]) == (10, 200, 210)
    assert 0 < result["sent_per_s"] < 240  # a busy machine does not keep up


def test_a_connection_that_is_reset_while_it_is_opened_is_opened_again(load: Path) -> None:
    """As of a server with no room for so many at once; the official client comes again after a second too."""

    async def run() -> dict[str, Any]:
        async with faulty_server("none") as (port, _):
            first = True

            async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal first
                if first:
                    first = False
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
                    writer.transport.abort()
                    return
                ahead = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(copy(reader, ahead[1]), copy(ahead[0], writer))

            proxy = await asyncio.start_server(pass_on, "127.0.0.1", 0)
            async with proxy:
                process = await asyncio.create_subprocess_exec(
                    *[str(load), "--mode", "fanout", "--clients", "3", "--rate", "50", "--seconds", "0.3"],
                    *["--ports", str(proxy.sockets[0].getsockname()[1])],
                    stdout=asyncio.subprocess.PIPE,
                    env=ENVIRONMENT,
                )
                out, _ = await process.communicate()
                result: dict[str, Any] = json.loads(out)
                return result

    result = asyncio.run(run())
    assert (result["resets"], result["connect_ms"]["samples"], result["lost"]) == (1, 3, 0)
    assert result["connect_ms"]["max"] > 900


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


def test_an_open_loop_keeps_its_rate(load: Path, shoal: ServerProcess) -> None:
    result = measure(load, shoal, "--mode", "fanout", "--clients", "5", "--rate", "200", "--seconds", "1")
    assert result["sent_per_s"] == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize("way", ["message", "turn", "message 65536", "bare"])
def test_the_floor_does_the_same_work(load: Path, limit: Path, way: str) -> None:
    port = free_port()
    bare = [sys.executable, str(APP.with_name("bare.py")), str(port)]
    server = ServerProcess(bare if way == "bare" else [str(limit), str(port), *way.split()], port, ENVIRONMENT)
    try:
        server.wait_until_up()
        large = [TRAFFIC[5]] if " " in way else []
        for arguments in TRAFFIC[:1] if way == "bare" else (TRAFFIC[0], TRAFFIC[3], *large):
            result = measure(load, server, *arguments, "--seconds", "0.3", "--warmup", "0.1")
            assert (result["lost"], result["duplicates"], result["reordered"]) == (0, 0, 0)
            assert result["received_per_s"] > 0
    finally:
        server.close()


@pytest.mark.parametrize(("fault", "field"), [("drop", "lost"), ("double", "duplicates"), ("swap", "reordered")])
def test_each_fault_of_a_server_is_counted_exactly_and_as_no_other(load: Path, fault: Fault, field: str) -> None:
    async def run() -> tuple[dict[str, Any], int]:
        async with faulty_server(fault) as (port, faults):
            arguments = ["--mode", "fanout", "--clients", "4", "--rate", "300", "--seconds", "0.4", "--warmup", "0"]
            process = await asyncio.create_subprocess_exec(
                str(load), "--ports", str(port), *arguments, stdout=asyncio.subprocess.PIPE, env=ENVIRONMENT
            )
            out, _ = await process.communicate()
            return json.loads(out), faults()

    result, faults = asyncio.run(run())
    assert faults > 5
    found = {name: result[name] for name in ("lost", "duplicates", "reordered", "misdelivered")}
    held = 1 if fault == "swap" and found["lost"] else 0
    assert found == {**dict.fromkeys(found, 0), field: faults - held, **({"lost": 1} if held else {})}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode", "fanout", "--clients", "3"], "Connection refused"),
        (["--mode", "shout"], "unknown mode: shout"),
        (["--mode", "echo", "--clients", "none"], "--clients must be 1 to 100000"),
        (["--mode", "rooms", "--clients", "10", "--publishers", "2", "--members", "9"], "too few clients"),
        (["--mode", "fanout", "--idle", "9"], "idle connections would be in the rooms"),
        (["--mode", "echo", "--binary", "1", "--transport", "polling"], "measured with JSON only"),
        (["--mode", "echo", "--event", "e" * 32], "--event is longer than 31 bytes"),
    ],
)
def test_a_measurement_that_fails_says_why_in_one_line(load: Path, arguments: list[str], words: str) -> None:
    command = [str(load), "--ports", str(free_port()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_suite_starts_measures_and_stops_a_server_and_a_cluster() -> None:
    """One short round over the whole chain, without the peers that would have to be fetched."""
    need("gcc")
    need("redis-server", "valkey-server")
    script = (
        "import json, sys\n"
        "from suite import build, campaign, scenarios, servers\n"
        "build.build_native()\n"
        "servers.SHOAL_PYTHON = sys.executable\n"
        "wanted = [s for s in scenarios.SCENARIOS if s.key in {'echo', 'cluster'}]\n"
        "missing = dict.fromkeys(('node', 'node-4', 'bun', 'psio', 'limit'), 'not asked for')\n"
        "plan = campaign.Plan(1, 0.3, 0.2, 0.1, None, None, missing=missing)\n"
        "results, steps = campaign.Results(), []\n"
        "campaign.measure_scenarios(plan, wanted, results, steps.append)\n"
        "print(json.dumps([results.scenarios, results.failures, steps]))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=NATIVE.parent)
    measured, failures, steps = json.loads(done.stdout)
    assert failures == []
    assert len(steps) == 2
    (echo,), (cluster,) = measured["echo"]["shoal"], measured["cluster"]["shoal-4"]
    assert echo["received_per_s"] > 0
    assert len(cluster["server_cpus"]) == 5  # four nodes and the broker
    assert (cluster["lost"], cluster["duplicates"], cluster["reordered"]) == (0, 0, 0)
    assert 0 <= cluster["other_cpu"] <= 64
