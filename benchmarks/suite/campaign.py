"""Measures scenarios round by round, the servers taking turns, and keeps every result. Judges and prints nothing."""

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from suite.machine import open_files
from suite.measure import MeasureError, run_load
from suite.pace import SLOW, Pace
from suite.rows import Growth, Load, Scenario
from suite.scenarios import ON_EACH_PYTHON
from suite.servers import KINDS, Kind, ServerError, deploy

Step = Callable[[str], None]  # told what is measured next
ATTEMPTS = 2  # at a measurement, while the processors are slow
SPARE_FILES = 300  # what a process has open besides its connections


@dataclass(frozen=True)
class Plan:
    """How much is measured: rounds, seconds of each measurement, the cores for servers and load (None: anywhere).

    `python` is that of all Python servers, and why it is; `pythons` are Shoal on each that it is compared with by its
    version, itself first, and `work_seconds` how long a fixed piece of work takes each, where that is known.
    """

    rounds: int
    seconds: float
    warmup: float
    hold: float
    server_core: int | None
    load_core: int | None
    quick: bool = False
    missing: dict[str, str] = field(default_factory=dict)  # kinds of server, or what they need, and why not
    pace: Pace = field(default_factory=lambda: Pace(()))
    python: str = field(default_factory=platform.python_version)
    pythons: dict[str, Kind] = field(default_factory=dict)
    work_seconds: dict[str, float | None] = field(default_factory=dict)


@dataclass
class Results:
    """Everything that was measured: rounds by scenario and server, by growth series and point, by scenario and Python,
    what failed, and what is to be known beside it."""

    scenarios: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    growth: dict[str, dict[int, list[dict[str, Any]]]] = field(default_factory=dict)
    pythons: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def servers_of(scenario: Scenario, plan: Plan) -> list[str]:
    """The servers that take part in this scenario under this plan."""
    wanted = scenario.quick_servers if plan.quick else scenario.servers
    return [key for key in wanted if not plan.missing.keys() & {key, *KINDS[key].needs}]


def count_steps(plan: Plan, scenarios: Iterable[Scenario], series: Iterable[Growth]) -> int:
    """How many measurements the campaign has."""
    rows, seen = 0, dict[str, list[str]]()
    for scenario in scenarios:
        servers = seen[scenario.key] = servers_of(scenario, plan)
        known = seen.get(scenario.same_as or "", [])
        rows += sum(_rounds(scenario, key, plan) for key in servers if key not in known)
    pythons = len(ON_EACH_PYTHON) * len(plan.pythons)
    return rows + plan.rounds * (sum(len(g.points) for g in series) + pythons)


def measure_scenarios(plan: Plan, scenarios: Iterable[Scenario], results: Results, step: Step) -> None:
    """Measure every scenario: `rounds` rounds, in each of which every server has its turn."""
    for scenario in scenarios:
        rounds = results.scenarios.setdefault(scenario.key, {})
        known = results.scenarios.get(scenario.same_as or "", {})
        rounds |= {key: known[key] for key in servers_of(scenario, plan) if key in known}
        measured = [key for key in servers_of(scenario, plan) if key not in rounds]
        try:
            load = dict(scenario.load) | (scenario.quick_load if plan.quick else {}) | _open_loop(scenario, results)
        except MeasureError as error:
            results.failures.append(str(error))
            continue
        load = _within_open_files(scenario, load, results)
        times: Load = {"seconds": plan.seconds / 2} if scenario.brief and not plan.quick else {}
        for number in range(plan.rounds):
            for key in (key for key in measured if number < _rounds(scenario, key, plan)):
                step(f"{scenario.title}: {key}, round {number + 1}")
                own = times | load | scenario.loads.get(key, {})
                if (result := _once(plan, key, own, f"{scenario.key}, {key}", results)) is not None:
                    rounds.setdefault(key, []).append(result)


def measure_growth(plan: Plan, series: Iterable[Growth], results: Results, step: Step) -> None:
    """Measure every point of every growth series, the points taking turns."""
    for growth in series:
        rounds = results.growth.setdefault(growth.key, {})
        for number in range(plan.rounds):
            for x, key, load in growth.points:
                step(f"growth, {growth.title}: {x}, round {number + 1}")
                if (result := _once(plan, key, load, f"growth of {growth.key}, {x}", results)) is not None:
                    rounds.setdefault(x, []).append(result)


def measure_pythons(plan: Plan, results: Results, step: Step) -> None:
    """Measure Shoal on every Python of the plan, taking turns."""
    for scenario in ON_EACH_PYTHON if plan.pythons else ():
        rounds = results.pythons.setdefault(scenario.key, {})
        for number in range(plan.rounds):
            for version, kind in plan.pythons.items():
                step(f"{scenario.title}: Python {version}, round {number + 1}")
                what = f"{scenario.key} on Python {version}"
                if (result := _once(plan, kind, scenario.load, what, results)) is not None:
                    rounds.setdefault(version, []).append(result)


def _once(plan: Plan, key: str | Kind, load: Load, what: str, results: Results) -> dict[str, Any] | None:
    """Measure, again if the processors were slow before or after; the attempt that was least disturbed."""
    times: Load = {"seconds": plan.seconds, "warmup": plan.warmup, "hold": plan.hold}
    kept: dict[str, Any] | None = None
    for _ in range(1 if plan.quick else ATTEMPTS):
        if not plan.quick:
            plan.pace.wait()
        before = plan.pace.slowness()
        try:
            with deploy(key, plan.server_core) as deployment:
                result = run_load(times | load, deployment, plan.load_core)
        except (ServerError, MeasureError) as error:
            results.failures.append(f"{what}: {error}")
            return kept
        slowness = round(max(before, plan.pace.slowness()), 2)
        if kept is None or slowness < kept["slowness"]:
            kept = result | {"slowness": slowness}
        if slowness <= SLOW:
            break
    return kept


def _rounds(scenario: Scenario, key: str, plan: Plan) -> int:
    return 1 if key in scenario.once else min(plan.rounds, scenario.rounds or plan.rounds)


def _within_open_files(scenario: Scenario, load: Load, results: Results) -> Load:
    """As many idle connections as this machine allows, with a note where those are fewer than wanted."""
    wanted, most = int(load.get("idle", 0)), open_files() - SPARE_FILES - int(load.get("clients", 0))
    if wanted <= most:
        return load
    results.notes.append(
        f"{scenario.key}: {max(most, 0):,} idle connections instead of {wanted:,}, since a process may have"
        f" {open_files():,} files open here (ulimit -Hn)"
    )
    return load | {"idle": max(most, 0)}


def _open_loop(scenario: Scenario, results: Results) -> Load:
    """The rate of an open loop: half of Node's best in the scenarios named, in messages (not deliveries) per second."""
    if not scenario.rate_of:
        return {}
    earlier = [results.scenarios.get(key, {}).get("node", []) for key in scenario.rate_of]
    best = max((median(r["received_per_s"] for r in rounds) for rounds in earlier if rounds), default=0.0)
    if not best:
        raise MeasureError(f"{scenario.key}: no result of Node in {', '.join(scenario.rate_of)} to take the rate from")
    return {"rate": round(best / 2 / int(scenario.load["clients"]), 1)}
