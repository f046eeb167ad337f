"""The benchmark suite judges rightly, draws what it measured, and asks for everything that was promised."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from suite import campaign, chart, document, growth, pace, report, rows, scenarios, servers, verdict  # noqa: E402

sys.path.remove(str(BENCHMARKS))

FANOUT = next(s for s in scenarios.SCENARIOS if s.key == "fanout-1")
MEMORY = next(s for s in scenarios.SCENARIOS if s.key == "memory")


def result(received: float = 0.0, **changes: Any) -> dict[str, Any]:
    common = {
        "received_per_s": received,
        "connects_per_s": 100.0,
        "rss_kib_per_connection": 10.0,
        "sent_per_s": 100.0,
        "server_cpu": 1.0,
        "server_cpus": [0.5, 0.5],
        "load_cpu": 0.5,
        "other_cpu": 0.0,
        "latency_ms": {"p50": 1.0, "p99": 5.0},
        "lost": 0,
        "duplicates": 0,
        "reordered": 0,
        "misdelivered": 0,
        "return_s": {"p99": 1.0, "max": 2.0},
        "all_back_s": 3.0,
        "not_recovered": 0,
        "others_ms": {"p99": 4.0},
        "others_before_ms": {"p99": 2.0},
        "room_bytes": 500,
        "message_bytes": 150.0,
    }
    return {**common, **changes}


def figures(**rounds: list[dict[str, Any]]) -> dict[str, verdict.Figure]:
    return {key: verdict.summarize(each, "received_per_s") for key, each in rounds.items()}


def test_a_ratio_is_that_of_the_medians() -> None:
    found = figures(shoal=[result(x) for x in (300, 310, 9_000)], node=[result(x) for x in (100, 1, 150)])
    against_node, *against_others = verdict.judge(FANOUT, found)
    assert (against_node.ratio, against_node.met) == (pytest.approx(3.1), True)
    assert {(v.ratio, v.met) for v in against_others} == {(None, None)}


def test_a_target_just_missed_is_not_met() -> None:
    found = figures(shoal=[result(169)], node=[result(100)], limit=[result(190)])
    assert [v.met for v in verdict.judge(FANOUT, found) if v.ratio] == [False, True]


def test_a_comparison_is_neither_met_nor_missed() -> None:
    found = figures(shoal=[result(80)], bare=[result(100)])
    assert [(v.ratio, v.met) for v in verdict.judge(FANOUT, found) if v.ratio] == [(pytest.approx(0.8), None)]


def test_a_figure_itself_can_be_the_target() -> None:
    idle = next(s for s in scenarios.SCENARIOS if s.key == "idle")
    for kib, met in [(3.9, True), (4.1, False)]:
        found = {"shoal": verdict.summarize([result(rss_kib_per_connection=kib)], idle.figure)}
        first = verdict.judge(idle, found)[0]
        assert (first.ratio, first.met) == (pytest.approx(kib), met)


@pytest.mark.parametrize(
    ("ours", "theirs", "leads"),
    [
        (100, {"node": 99, "bun": 100}, None),
        (100, {"node": 101, "bun": 120, "psio": 5}, ("bun", 1.2)),
        (100, {"limit": 200}, None),  # no server that anyone could choose
    ],
)
def test_a_peer_leads_when_its_figure_is_the_better_one(ours: int, theirs: dict[str, int], leads: object) -> None:
    found = figures(shoal=[result(ours)], **{key: [result(value)] for key, value in theirs.items()})
    assert verdict.leader(FANOUT, found) == (leads and (leads[0], pytest.approx(leads[1])))  # type: ignore[index]


def test_a_peer_that_loses_messages_leads_nobody_and_less_memory_does() -> None:
    assert verdict.leader(FANOUT, figures(shoal=[result(1)], node=[result(2, lost=1)])) is None
    rounds = {"shoal": [result(rss_kib_per_connection=10.0)], "node": [result(rss_kib_per_connection=5.0)]}
    found = {key: verdict.summarize(each, MEMORY.figure) for key, each in rounds.items()}
    assert verdict.leader(MEMORY, found) == ("node", pytest.approx(2.0))


def test_less_memory_is_better() -> None:
    def judged(ours: float) -> bool | None:
        rounds = {"shoal": [result(rss_kib_per_connection=ours)], "node": [result(rss_kib_per_connection=30.0)]}
        found = {key: verdict.summarize(each, MEMORY.figure) for key, each in rounds.items()}
        return verdict.judge(MEMORY, found)[0].met

    assert judged(9.9) is True
    assert judged(10.1) is False


@pytest.mark.parametrize("fault", ["lost", "duplicates", "reordered", "misdelivered"])
def test_no_speed_makes_up_for_a_message_that_went_wrong(fault: str) -> None:
    found = figures(shoal=[result(900, **{fault: 1})], node=[result(100)])
    assert verdict.judge(FANOUT, found)[0].met is False


def test_a_result_is_marked_when_the_load_was_the_limit_in_most_rounds() -> None:
    busy, idle = result(1, load_cpu=0.95, server_cpu=0.9), result(1)
    assert verdict.summarize([busy, busy, idle], "received_per_s").load_limited
    assert not verdict.summarize([busy, idle, idle], "received_per_s").load_limited


def test_a_server_that_used_all_of_its_core_was_the_limit_itself() -> None:
    for share, limited in [(0.9, True), (0.99, False)]:
        rounds = [result(1, load_cpu=0.95, server_cpu=share)]
        assert verdict.summarize(rounds, "received_per_s").load_limited is limited


def test_a_cost_is_flat_when_its_greatest_is_within_the_bound() -> None:
    series = growth.GROWTH[0]
    xs = [x for x, _, _ in series.points]
    rounds = {x: [result(1000.0, server_cpu=cpu)] for x, cpu in zip(xs, (0.5, 0.52, 0.54), strict=True)}
    flat = verdict.flatness(series, rounds)
    assert (flat.met, flat.costs[xs[0]]) == (True, pytest.approx(500.0))
    rounds[xs[2]] = [result(1000.0, server_cpu=0.56)]
    assert verdict.flatness(series, rounds).met is False
    rounds = {x: [result(1000.0, server_cpu=cpu)] for x, cpu in zip(xs, (0.9, 0.5, 0.6), strict=True)}
    assert verdict.flatness(series, rounds).ratio == pytest.approx(1.2)  # what falls on the way does no harm
    del rounds[xs[2]]
    assert verdict.flatness(series, rounds).met is None


def test_the_broker_is_not_counted_among_the_nodes() -> None:
    series = next(g for g in growth.GROWTH if g.key == "nodes")
    assert series.cost(result(server_cpus=[0.01, 0.01, 0.9])) == pytest.approx(200.0)


def test_every_promised_target_is_in_the_table() -> None:
    """The targets are the project's promise: none may go, none may be eased by accident."""
    promised = {
        ("fanout-1", "shoal", "node", 1.7),
        ("fanout-1", "shoal", "limit", 0.85),
        ("fanout-10", "shoal", "node", 15),
        ("fanout-10", "shoal", "bun", 8),
        ("fanout-100", "shoal", "node", 60),
        ("fanout-16k", "shoal", "limit-large", 0.95),
        ("rooms", "shoal", "node", 4),
        ("rooms", "shoal", "bun", 3),
        ("echo", "shoal", "node", 2.5),
        ("echo", "shoal", "bun", 1.2),
        ("echo-async", "shoal", "shoal-plain", 0.95),
        ("echo-turn", "shoal", "node", 2),
        ("echo-future", "shoal", "node", 2),
        ("connect", "shoal", "node", 3),
        ("connect", "shoal", "bun", 1.2),
        ("burst-1000", "shoal", "node", 3),
        ("burst-1000", "shoal", "bun", 1.2),
        ("burst-4000", "shoal", "node", 3),
        ("burst-4000", "shoal", "bun", 1.2),
        ("memory", "shoal", "node", 1 / 3),
        ("idle", "shoal", None, 4.0),
        ("idle-p99", "shoal", "shoal-alone", 1.2),
        ("echo-polling", "shoal", "node", 3),
        ("latency", "shoal", "node", 1.0),
        ("cluster", "shoal-4", "node-4", 8),
        ("cluster-streams", "shoal-4-streams", "shoal-4", 0.5),
        ("cluster-streams", "shoal-4-streams", "node-4-streams", 8),
        ("msgpack-echo", "shoal-msgpack", "node-msgpack", 1.0),
        ("msgpack-fanout", "shoal-msgpack", "node-msgpack", 1.0),
        ("bytes-1k-echo", "shoal", "node", 1.0),
        ("bytes-1k-fanout", "shoal", "node", 1.0),
        ("bytes-64k-echo", "shoal", "node", 1.0),
        ("bytes-64k-fanout", "shoal", "node", 1.0),
        ("tls-echo", "shoal-tls", "node-tls", 1.0),
        ("tls-fanout", "shoal-tls", "node-tls", 1.0),
        ("asgi-fanout", "shoal-asgi", "psio", 3),
        ("asgi-echo", "shoal-asgi", "psio", 3),
        ("asgi-echo", "shoal-asgi", "node", 1.0),
    }
    found = {(s.key, t.subject, t.against, t.ratio) for s in scenarios.SCENARIOS for t in s.targets if t.ratio}
    assert found == promised
    bounds = {g.key: g.ratio for g in growth.GROWTH if g.ratio is not None}
    assert bounds == {"clients": 1.1, "clients-10": 1.1, "rooms": 1.1, "nodes": 1.1}


def test_every_promised_bound_is_in_the_table() -> None:
    """As the targets."""
    found = {
        (s.key, b.subject, b.figure, b.at_most) for s in scenarios.SCENARIOS for b in s.bounds if b.at_most is not None
    }
    assert found == {
        ("return", "shoal-4-streams", "return_s.max", 10),
        ("return", "shoal-4-streams", "not_recovered", 0),
        ("return", "shoal-4-streams", "lost", 0),
    }


def test_a_bound_holds_in_every_round() -> None:
    """The worst counts, not the median; what was not measured is neither met nor missed."""
    bound = scenarios.Bound("lost", "lost", 0, "shoal")
    assert verdict.hold(bound, {"shoal": [result(), result()]}) == (0, True)
    assert verdict.hold(bound, {"shoal": [result(), result(lost=1), result()]}) == (1, False)
    assert verdict.hold(bound, {"node": [result()]}) == (None, None)
    assert verdict.hold(scenarios.Bound("lost", "lost", None, "shoal"), {"shoal": [result(lost=1)]}) == (1, None)


def test_every_server_of_a_scenario_can_be_run_and_has_a_column() -> None:
    for scenario in scenarios.SCENARIOS:
        for key in {*scenario.servers, *scenario.quick_servers}:
            assert key in servers.KINDS
            assert key in report.SHORT
        sides = {side for t in scenario.targets for side in (t.subject, t.against) if side}
        assert sides | scenario.loads.keys() <= set(scenario.servers)


def plan(**changes: Any) -> campaign.Plan:
    common: dict[str, Any] = {"rounds": 2, "seconds": 1.0, "warmup": 0.1, "hold": 0.1}
    return campaign.Plan(**{**common, "server_core": 0, "load_core": 1, **changes})


def test_a_server_that_cannot_run_is_left_out_of_the_steps() -> None:
    whole = campaign.count_steps(plan(), [FANOUT], [])
    assert campaign.count_steps(plan(missing={"bun": "no such package"}), [FANOUT], []) == whole - 2
    assert campaign.count_steps(plan(quick=True), [MEMORY], []) == 0
    tls = next(s for s in scenarios.SCENARIOS if s.key == "tls-echo")
    assert campaign.servers_of(tls, plan(missing={"bun": "no such package"})) == ["shoal-tls", "node-tls", "psio-tls"]
    assert campaign.servers_of(tls, plan(missing={"tls": "no OpenSSL"})) == []


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the campaign measures, and with which load; every server does the same."""
    taken: list[tuple[str, dict[str, Any]]] = []

    def run_load(load: dict[str, Any], key: str, _core: int) -> dict[str, Any]:
        taken.append((key, load))
        return result(1000.0)

    monkeypatch.setattr(campaign, "run_load", run_load)
    monkeypatch.setattr(campaign, "deploy", lambda key, _core: contextlib.nullcontext(key))
    monkeypatch.setattr(pace.Pace, "slowness", lambda _: 1.0)
    return taken


def test_what_was_measured_for_another_row_is_not_measured_again(loads: list[tuple[str, dict[str, Any]]]) -> None:
    both = [s for s in scenarios.SCENARIOS if s.key in {"idle", "idle-p99"}]
    results = campaign.Results()
    campaign.measure_scenarios(plan(), both, results, lambda _: None)
    assert [key for key, _ in loads] == ["shoal", "node", "shoal-alone"]  # and in one round, as they want it
    assert len(loads) == campaign.count_steps(plan(), both, [])
    assert results.scenarios["idle-p99"]["shoal"] == results.scenarios["idle"]["shoal"]
    assert [load["idle"] > 0 for _, load in loads] == [True, True, False]


def test_more_connections_than_files_may_be_open_are_not_tried_and_the_table_says_so(
    loads: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = next(s for s in scenarios.SCENARIOS if s.key == "idle")
    results = campaign.Results()
    monkeypatch.setattr(campaign, "open_files", lambda: 20_000)
    campaign.measure_scenarios(plan(), [idle], results, lambda _: None)
    assert {load["idle"] for _, load in loads} == {20_000 - campaign.SPARE_FILES - 100}
    found = document.make(plan(), results, [idle], [])
    assert "idle: 19,600 idle connections instead of 50,000" in report.markdown(found, "latest.svg")


def test_a_brief_row_is_measured_for_half_the_time(loads: list[tuple[str, dict[str, Any]]]) -> None:
    row = next(s for s in scenarios.SCENARIOS if s.key == "echo-async")
    campaign.measure_scenarios(plan(rounds=1), [row], campaign.Results(), lambda _: None)
    assert {load["seconds"] for _, load in loads} == {0.5}
    assert {key: load["event"] for key, load in loads} == dict.fromkeys(row.servers, "echo-async") | {
        "shoal-plain": "echo"
    }


@pytest.fixture
def a_document() -> document.Document:
    results = campaign.Results()
    for scenario in scenarios.SCENARIOS:
        results.scenarios[scenario.key] = {
            key: [result(1000.0 + n, load_cpu=0.95, server_cpu=0.9)] for n, key in enumerate(scenario.servers)
        }
    for series in growth.GROWTH:
        results.growth[series.key] = {x: [result(1000.0)] for x, _, _ in series.points}
    results.failures.append("rooms, bun: [it] ended at once")
    return document.make(plan(missing={"bun": "npm is <not> there"}), results, scenarios.SCENARIOS, growth.GROWTH)


def test_the_table_says_of_every_target_whether_it_is_met(a_document: document.Document) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    report.show(a_document, console)
    text = console.export_text()
    targets = [t for s in scenarios.SCENARIOS for t in s.targets]
    bounds = [b for s in scenarios.SCENARIOS for b in s.bounds]
    asked = sum(t.ratio is not None for t in targets) + sum(b.at_most is not None for b in bounds) + 4
    assert text.count(": met") + text.count("not met") == asked
    assert "the load generator was the limit" in text
    assert "npm is <not> there" in text
    assert "rooms, bun: [it] ended at once" in text


def test_the_page_shows_chart_table_and_versions(a_document: document.Document) -> None:
    page = report.markdown(a_document, "latest.svg")
    assert "](latest.svg)" in page
    assert page.count("\n| ") >= len(scenarios.SCENARIOS) + len(growth.GROWTH)
    assert "python 3" in page
    assert "1.00 x the growth in C" in page


def test_the_chart_is_a_picture_with_a_bar_for_every_server(a_document: document.Document) -> None:
    root = ElementTree.fromstring(chart.svg(a_document))
    bars = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("class") in chart.CLASSES.values()]
    compared = [s.servers for s in scenarios.SCENARIOS if any(rows.is_peer(key) for key in s.servers)]
    expected = sum(bool({*report.COLUMNS[name]} & {*each}) for each in compared for name in chart.SERIES)
    assert len(bars) == expected + len(chart.SERIES)  # and the legend
    assert all(float(bar.get("width", "0")) > 0 for bar in bars)


def test_a_row_in_which_a_peer_leads_is_marked_everywhere() -> None:
    results = campaign.Results()
    results.scenarios["fanout-1"] = {"shoal": [result(100.0)], "node": [result(115.0)], "bun": [result(50.0)]}
    results.scenarios["memory"] = {"shoal": [result(100.0)], "node": [result(50.0, rss_kib_per_connection=20.0)]}
    found = document.make(plan(), results, [FANOUT, MEMORY], [])
    page = report.markdown(found, "latest.svg")
    row = next(line for line in page.splitlines() if line.startswith(f"| {FANOUT.title} |"))
    assert "| 100 | ◀ 115 | 50 |" in row
    assert "| ◀ Node leads: 1.15 x Shoal<br>" in row
    assert page.count("leads: 1") == 1
    assert "- a peer leads in 1 of 2 rows: fanout-1 (Node)" in page
    console = Console(width=200, record=True, file=io.StringIO())
    report.show(found, console)
    assert "◀ Node leads: 1.15 x Shoal" in console.export_text()
    assert "115 ◀" in chart.svg(found)


def test_a_document_survives_its_file(a_document: document.Document, tmp_path: Path) -> None:
    document.write(a_document, tmp_path / "run.json")
    assert document.read(tmp_path / "run.json") == a_document


def test_a_core_is_slow_beside_its_own_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of some samples counts, not one that was interrupted; a faster core is the new best."""
    samples = iter([2.0] * 5 + [9.0, 2.0, 2.0, 9.0, 2.0] + [3.0] * 5 + [1.0] * 5 + [2.0] * 5)
    monkeypatch.setattr(pace, "_work", lambda: next(samples))
    measured = pace.Pace(())
    assert [measured.slowness() for _ in range(5)] == [1.0, 1.0, 1.5, 1.0, 2.0]


class Paced(pace.Pace):
    """A pace that was written down."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def slowness(self) -> float:
        return self.values.pop(0)

    def wait(self) -> None: ...


@pytest.mark.parametrize(
    ("values", "kept", "runs"),
    [
        ([1.0, 1.1], 1, 1),
        ([1.0, 1.9, 1.0, 1.0], 2, 2),
        ([1.7, 1.0, 1.0, 1.9], 1, 2),
    ],
)
def test_a_slow_measurement_is_made_again(
    monkeypatch: pytest.MonkeyPatch, values: list[float], kept: int, runs: int
) -> None:
    """Once more; the one that was slowed down least stays, whatever it measured."""
    taken: list[int] = []

    def run_load(*_: object) -> dict[str, int]:
        taken.append(1)
        return {"number": len(taken)}

    monkeypatch.setattr(campaign, "run_load", run_load)
    monkeypatch.setattr(campaign, "deploy", lambda *_: contextlib.nullcontext())
    plan = campaign.Plan(1, 1.0, 0.1, 0.1, None, None, pace=Paced(*values))
    result = campaign._once(plan, "shoal", {}, "a test", campaign.Results())
    assert result is not None
    assert (result["number"], len(taken)) == (kept, runs)
