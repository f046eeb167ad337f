"""Turns rounds of results into medians, ratios and verdicts. Pure: numbers in, numbers out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from typing import Any

from suite.measure import OTHERS_LIMIT, faults, figure, load_was_the_limit
from suite.pace import SLOW
from suite.rows import Bound, Growth, Scenario, Target, is_peer


@dataclass(frozen=True)
class Figure:
    """What one server achieved in one scenario: the median of its rounds."""

    value: float
    per_cpu: float | None  # deliveries per second of the server's processor time, which others disturb less
    load_limited: bool  # the load generator was the limit in most rounds: the true figure is at least this good
    disturbed: bool  # other programs used the processors in most rounds, or neighbours slowed them down
    faults: int


@dataclass(frozen=True)
class Verdict:
    """How one target came out. `ratio` is None where a side was not measured, `met` there and where nothing is asked.

    `ratio_per_cpu` compares deliveries per second of processor time; None where that says nothing.
    """

    target: Target
    ratio: float | None
    ratio_per_cpu: float | None
    met: bool | None


@dataclass(frozen=True)
class Flatness:
    """How a cost grew: what it was at each point, the most that it was by one before, and whether that is within the
    bound."""

    costs: dict[int, float]
    ratio: float | None
    met: bool | None


def summarize(rounds: Sequence[Mapping[str, Any]], path: str) -> Figure:
    """The median of `path` over the rounds, with what is to be known about it. Needs at least one round."""
    return Figure(
        median(figure(r, path) for r in rounds),
        _per_cpu(rounds) if path == "received_per_s" else None,
        _most(load_was_the_limit(r) for r in rounds),
        _most(float(r.get("other_cpu", 0)) > OTHERS_LIMIT or float(r.get("slowness", 1)) > SLOW for r in rounds),
        sum(faults(r) for r in rounds),
    )


def judge(scenario: Scenario, figures: Mapping[str, Figure]) -> list[Verdict]:
    """One verdict for each of the scenario's targets."""
    return [_judge(scenario, target, figures) for target in scenario.targets]


def hold(bound: Bound, rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[float | None, bool | None]:
    """The worst number of the rounds, and whether it is within the bound; None where there is none or nothing asked."""
    worst = max([figure(r, bound.figure) for r in rounds.get(bound.subject, ())], default=None)
    return worst, None if worst is None or bound.at_most is None else worst <= bound.at_most


def flatness(growth: Growth, rounds: Mapping[int, Sequence[Mapping[str, Any]]]) -> Flatness:
    """The cost at each point that was measured, and whether it stayed flat; a missing point leaves that open.

    It is the least of the rounds: neighbours who share the caches add to a cost, and never take from it. One that falls
    on the way has not grown.
    """
    costs = {x: min(growth.cost(r) for r in results) for x, results in rounds.items() if results}
    if len(costs) < len(growth.points):
        return Flatness(costs, None, None)
    ordered = [costs[x] for x, _, _ in growth.points]
    ratio = max(cost / least for cost, least in zip(ordered, accumulate(ordered, min), strict=True))
    return Flatness(costs, ratio, None if growth.ratio is None else ratio <= growth.ratio)


def leader(scenario: Scenario, figures: Mapping[str, Figure]) -> tuple[str, float] | None:
    """The peer that is furthest ahead of the first server, Shoal, and by how much; None where Shoal leads.

    A peer that loses messages leads nobody. Shoal is not asked whether the load held it up: the mark is for doubt too.
    """
    ours = figures.get(scenario.servers[0])
    if not ours or not ours.value > 0:
        return None
    leads = {}
    for key, theirs in figures.items():
        if is_peer(key) and theirs.value > 0 and not theirs.faults:
            ratio = theirs.value / ours.value
            leads[key] = ratio if scenario.higher_is_better else 1 / ratio
    key = max(leads, key=lambda each: leads[each], default=None)
    return (key, leads[key]) if key is not None and leads[key] > 1 else None


def ratio_of(scenario: Scenario, figures: Mapping[str, Figure], subject: str, against: str | None) -> float | None:
    """`subject`'s figure divided by `against`'s, or by nothing; None where one is missing or zero."""
    a, b = figures.get(subject), figures.get(against or "")
    if against is None:
        return a.value if a else None
    return a.value / b.value if a and b and b.value > 0 else None


def _judge(scenario: Scenario, target: Target, figures: Mapping[str, Figure]) -> Verdict:
    ratio = ratio_of(scenario, figures, target.subject, target.against)
    if ratio is None:
        return Verdict(target, None, None, None)
    # A message that was lost or came twice makes a fast delivery worthless.
    right = figures[target.subject].faults == 0
    a = figures[target.subject].per_cpu
    b = figures[target.against].per_cpu if target.against else None
    per_cpu = a / b if a and b else None
    if target.ratio is None:
        return Verdict(target, ratio, per_cpu, None)
    fast = ratio >= target.ratio if scenario.higher_is_better else ratio <= target.ratio
    return Verdict(target, ratio, per_cpu, fast and right)


def _per_cpu(rounds: Sequence[Mapping[str, Any]]) -> float:
    return median(figure(r, "received_per_s") / max(figure(r, "server_cpu"), 1e-9) for r in rounds)


def _most(flags: Iterable[bool]) -> bool:
    each = list(flags)
    return sum(each) * 2 > len(each)
