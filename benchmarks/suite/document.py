"""The record of one run: all that was measured, what it means, and where. Tables and charts are made from it alone."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite import machine, verdict
from suite.campaign import Plan, Results
from suite.rows import Growth, Scenario, Target
from suite.scenarios import ON_EACH_PYTHON
from suite.servers import KINDS, NEEDS

Document = dict[str, Any]


def make(plan: Plan, results: Results, scenarios: Iterable[Scenario], series: Iterable[Growth]) -> Document:
    """Put together the record of a run that has ended."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": plan.quick,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "pinned": plan.server_core is not None,
        "machine": machine.describe(),
        "versions": machine.versions(plan.python),
        "scenarios": [_scenario(s, results) for s in scenarios if results.scenarios.get(s.key)],
        "growth": [_growth(g, results) for g in series if results.growth.get(g.key)],
        "pythons": _pythons(plan, results),
        "missing": {NEEDS.get(key) or KINDS[key].label: reason for key, reason in plan.missing.items()},
        "failures": results.failures,
        "notes": results.notes,
    }


def write(document: Document, path: Path) -> None:
    """Write it as JSON, indented, so that two runs can be compared by line."""
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Document:
    """Read what `write` wrote."""
    document: Document = json.loads(path.read_text())
    return document


def _scenario(scenario: Scenario, results: Results) -> dict[str, Any]:
    measured = results.scenarios[scenario.key]
    rounds = {key: measured[key] for key in scenario.servers if key in measured}
    figures = {key: verdict.summarize(each, scenario.figure) for key, each in rounds.items()}
    lead = verdict.leader(scenario, figures)
    return {
        "key": scenario.key,
        "title": scenario.title,
        "unit": scenario.unit,
        "higher_is_better": scenario.higher_is_better,
        "leader": None if lead is None else {"key": lead[0], "ratio": round(lead[1], 3)},
        "figures": {key: asdict(each) for key, each in figures.items()},
        "targets": [
            {
                "subject": v.target.subject,
                "against": v.target.against,
                "wanted": None if v.target.ratio is None else round(v.target.ratio, 3),
                "ratio": _rounded(v.ratio),
                "ratio_per_cpu": _rounded(v.ratio_per_cpu),
                "met": v.met,
            }
            for v in verdict.judge(scenario, figures)
        ],
        "bounds": [
            {"title": b.title, "at_most": b.at_most, "value": value, "met": met}
            for b in scenario.bounds
            for value, met in [verdict.hold(b, rounds)]
        ],
        "rounds": rounds,
    }


def _pythons(plan: Plan, results: Results) -> dict[str, Any]:
    measured = [s for s in ON_EACH_PYTHON if results.pythons.get(s.key)]
    if not measured:
        return {}
    return {
        "work_ms": {version: taken and round(1000 * taken, 2) for version, taken in plan.work_seconds.items()},
        "rows": [_on_each_python(s, results.pythons[s.key], next(iter(plan.pythons))) for s in measured],
    }


def _on_each_python(scenario: Scenario, rounds: dict[str, list[dict[str, Any]]], first: str) -> dict[str, Any]:
    """The same scenario on each Python; its ratio is by that of the first, with which all other rows are measured."""
    figures = {version: verdict.summarize(each, scenario.figure) for version, each in rounds.items()}
    compared = replace(scenario, targets=tuple(Target(first, None, version) for version in figures))
    judged = {v.target.subject: v for v in verdict.judge(compared, figures)}
    return {
        "key": scenario.key,
        "title": scenario.title,
        "unit": scenario.unit,
        "figures": {
            version: asdict(each)
            | {"ratio": _rounded(judged[version].ratio), "ratio_per_cpu": _rounded(judged[version].ratio_per_cpu)}
            for version, each in figures.items()
        },
        "rounds": rounds,
    }


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 3)


def _growth(growth: Growth, results: Results) -> dict[str, Any]:
    rounds = results.growth[growth.key]
    flat = verdict.flatness(growth, rounds)
    return {
        "key": growth.key,
        "title": growth.title,
        "axis": growth.axis,
        "unit": growth.unit,
        "bound": growth.ratio,
        "floor": growth.floor,
        "costs": {str(x): round(cost, 3) for x, cost in flat.costs.items()},
        "ratio": None if flat.ratio is None else round(flat.ratio, 3),
        "met": flat.met,
        "rounds": {str(x): each for x, each in rounds.items()},
    }
