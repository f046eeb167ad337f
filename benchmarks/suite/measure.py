"""Runs the load generator against a deployment, once. Knows its command line and its answer."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from suite.machine import busy_seconds, cpu_seconds
from suite.paths import BUILD, HERE
from suite.servers import Deployment

# Above the first share of its core the load generator, not the server, may have been the limit, unless the server used
# the second share of its own.
LOAD_LIMIT, SERVER_FULL = 0.9, 0.95
OTHERS_LIMIT = 0.15  # of a core, used by programs that do not belong to the measurement
TIMEOUT_SECONDS = 300


class MeasureError(Exception):
    """A measurement failed; the text is one line for the reader."""


def run_load(load: Mapping[str, object], deployment: Deployment, core: int | None) -> dict[str, Any]:
    """Measure once and return the load generator's result, with `other_cpu`: the share of a core that others used.

    A load that names a `program` is that one's, beside this file.
    """
    pids = deployment.pids + deployment.broker_pids
    load = dict(load)
    program = load.pop("program", None)
    command = [str(BUILD / "load")]
    if program is not None:
        command = [sys.executable, str(HERE / "suite" / f"{program}.py"), "--broker", deployment.broker or ""]
    command += ["--ports", _list(deployment.ports), "--pids", _list(pids)]
    for name, value in load.items():
        command += [f"--{name}", str(value)]
    pin = None if core is None else (lambda: os.sched_setaffinity(0, {core}))
    before, busy, started = cpu_seconds(pids), busy_seconds(), time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=pin, start_new_session=True
    )
    children = os.times()
    try:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise MeasureError(f"the load generator did not end within {TIMEOUT_SECONDS} s") from None
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise MeasureError(err.strip().split("\n")[-1] or f"the load generator ended with {process.returncode}")
    now = os.times()
    own = now.children_user + now.children_system - children.children_user - children.children_system
    others = busy_seconds() - busy - (cpu_seconds(pids) - before) - own
    result: dict[str, Any] = json.loads(out)
    return result | {"other_cpu": round(max(0.0, others) / (time.monotonic() - started), 3)}


def figure(result: Mapping[str, Any], path: str) -> float:
    """The number at `path`, such as `latency_ms.p99`."""
    value: Any = result
    for name in path.split("."):
        value = value[name]
    return float(value)


def load_was_the_limit(result: Mapping[str, Any]) -> bool:
    """True when the load generator used so much of its core that a server with time left might have done more."""
    return float(result["load_cpu"]) > LOAD_LIMIT and float(result.get("server_cpu", 0.0)) < SERVER_FULL


def faults(result: Mapping[str, Any]) -> int:
    """Messages lost, doubled, out of order or delivered to the wrong client."""
    return sum(int(result.get(name, 0)) for name in ("lost", "duplicates", "reordered", "misdelivered"))


def _list(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))
