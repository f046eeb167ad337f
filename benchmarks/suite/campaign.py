"""Measures scenarios round by round, the servers taking turns, and keeps every result. Judges and prints nothing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from suite.measure import MeasureError, run_load
from suite.pace import SLOW, Pace
from suite.scenarios import Growth, Load, Scenario
from suite.servers import ServerError, deploy

Step = Callable[[str], None]  # told what is measured next
ATTEMPTS = 2  # at a measurement, while the processors are slow


@dataclass(frozen=True)
class Plan:
    """How much is measured: rounds, seconds of each measurement, the cores for servers and load (None: anywhere)."""

    rounds: int
    seconds: float
    warmup: float
    hold: float
    server_core: int | None
    load_core: int | None
    quick: bool = False
    missing: dict[str, str] = field(default_factory=dict)  # kinds of server that cannot run, and why
    pace: Pace = field(default_factory=lambda: Pace(()))


@dataclass
class Results:
    """Everything that was measured: rounds by scenario and server, by growth series and point, and what failed."""

    scenarios: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    growth: dict[str, dict[int, list[dict[str, Any]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def servers_of(scenario: Scenario, plan: Plan) -> list[str]:
    """The servers that take part in this scenario under this plan."""
    wanted = scenario.quick_servers if plan.quick else scenario.servers
    return [key for key in wanted if key not in plan.missing]


def count_steps(plan: Plan, scenarios: Iterable[Scenario], series: Iterable[Growth]) -> int:
    """How many measurements the campaign has."""
    return plan.rounds * (sum(len(servers_of(s, plan)) for s in scenarios) + sum(len(g.points) for g in series))


def measure_scenarios(plan: Plan, scenarios: Iterable[Scenario], results: Results, step: Step) -> None:
    """Measure every scenario: `rounds` rounds, in each of which every server has its turn."""
    for scenario in scenarios:
        rounds = results.scenarios.setdefault(scenario.key, {})
        try:
            load = dict(scenario.load) | (scenario.quick_load if plan.quick else {}) | _open_loop(scenario, results)
        except MeasureError as error:
            results.failures.append(str(error))
            continue
        for number in range(plan.rounds):
            for key in servers_of(scenario, plan):
                step(f"{scenario.title}: {key}, round {number + 1}")
                if (result := _once(plan, key, load, f"{scenario.key}, {key}", results)) is not None:
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


def _once(plan: Plan, key: str, load: Load, what: str, results: Results) -> dict[str, Any] | None:
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


def _open_loop(scenario: Scenario, results: Results) -> Load:
    """The rate of an open loop: half of Node's best in the scenarios named, in messages (not deliveries) per second."""
    if not scenario.rate_of:
        return {}
    earlier = [results.scenarios.get(key, {}).get("node", []) for key in scenario.rate_of]
    best = max((median(r["received_per_s"] for r in rounds) for rounds in earlier if rounds), default=0.0)
    if not best:
        raise MeasureError(f"{scenario.key}: no result of Node in {', '.join(scenario.rate_of)} to take the rate from")
    return {"rate": round(best / 2 / int(scenario.load["clients"]), 1)}
