"""Tables for people, made from a document alone: in the terminal with rich, and in Markdown for the documentation."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from suite.document import Document
from suite.rows import is_peer

# Each column shows whichever of these took part in a scenario.
COLUMNS = {
    "Shoal": (
        "shoal-4-streams",
        "shoal-2-haproxy",
        "shoal-2",
        "shoal",
        "shoal-asgi",
        "shoal-4",
        "shoal-msgpack",
        "shoal-tls",
        "shoal-plain",
        "shoal-alone",
    ),
    "Node": ("node-4-streams", "node-4-recovery", "node", "node-4", "node-msgpack", "node-tls"),
    "Bun": ("bun", "bun-msgpack", "bun-tls"),
    "python-socketio": ("psio", "psio-msgpack", "psio-tls"),
    "bare Python": ("bare",),
    "C": ("limit", "limit-turn", "limit-large"),
}
SHORT = {key: name for name, keys in COLUMNS.items() for key in keys} | {
    "shoal-4": "Shoal with redis://",
    "shoal-2": "Shoal without a balancer",
    "shoal-plain": "a plain handler",
    "shoal-alone": "the same without them",
}
LEADS = "◀"  # beside the figure of a peer that is ahead of Shoal
LEGEND = (
    f"{LEADS} a peer leads: ahead of Shoal in this row",
    "≥ the load generator was the limit, the server can do at least this",
    "~ other programs kept the processors busy meanwhile, or neighbours on the host slowed them down",
    "! messages were lost, doubled or out of order",
)


def number(value: float) -> str:
    """A figure in three digits or so: 3,055k, 176k, 26.1, 0.84."""
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def figure_text(figure: dict[str, Any]) -> str:
    """A figure with the marks of LEGEND."""
    marks = ("≥" if figure["load_limited"] else "") + ("~" if figure["disturbed"] else "")
    return marks + number(figure["value"]) + ("!" if figure["faults"] else "")


def target_text(scenario: dict[str, Any], target: dict[str, Any]) -> str:
    """One target and how it came out: `2.31 x Node (at least 1.7): met`."""
    if target["against"] is None:
        return _absolute_text(scenario, target)
    against = SHORT[target["against"]]
    if target["wanted"] is None:
        if target["subject"] not in COLUMNS["Shoal"]:
            against += f" by {SHORT[target['subject']]}"
        bound, verdict = "for comparison", ""
    else:
        bound = ("at least " if scenario["higher_is_better"] else "at most ") + f"{target['wanted']:.3g}"
        verdict = ": met" if target["met"] else ": not met"
    if target["ratio"] is None:
        return f"- x {against} ({bound}): not measured"
    text = f"{target['ratio']:.3g} x {against} ({bound}){verdict}"
    disturbed = any(scenario["figures"][key]["disturbed"] for key in (target["subject"], target["against"]))
    if disturbed and target["ratio_per_cpu"] is not None:
        text += f"; {target['ratio_per_cpu']:.3g} x per second of processor time"
    return text


def bound_text(bound: dict[str, Any]) -> str:
    """One bound and how it came out: `texts lost: 0 (at most 0): met`."""
    if bound["value"] is None:
        return f"{bound['title']}: not measured"
    text = f"{bound['title']}: {number(bound['value'])}"
    if bound["at_most"] is None:
        return text
    return f"{text} (at most {bound['at_most']:.3g}): {'met' if bound['met'] else 'not met'}"


def _absolute_text(scenario: dict[str, Any], target: dict[str, Any]) -> str:
    bound = f"{'at least' if scenario['higher_is_better'] else 'at most'} {target['wanted']:.3g} {scenario['unit']}"
    if target["ratio"] is None:
        return f"- ({bound}): not measured"
    return f"{number(target['ratio'])} {scenario['unit']} ({bound}): {'met' if target['met'] else 'not met'}"


def lead_text(scenario: dict[str, Any]) -> str | None:
    """`◀ Node leads: 1.15 x Shoal` where a peer is ahead, else None."""
    lead = scenario.get("leader")
    return None if not lead else f"{LEADS} {SHORT[lead['key']]} leads: {lead['ratio']:.3g} x Shoal"


def cells(scenario: dict[str, Any]) -> list[str]:
    """The scenario's figures in the order of COLUMNS."""
    found = []
    lead = scenario.get("leader") or {"key": None}
    for keys in COLUMNS.values():
        key = next((key for key in keys if key in scenario["figures"]), None)
        text = "" if key is None else figure_text(scenario["figures"][key])
        found.append(f"{LEADS} {text}" if key is not None and key == lead["key"] else text)
    return found


def growth_text(growth: dict[str, Any]) -> str:
    """A growth series in one line: its cost at each point."""
    return ", ".join(f"{int(x):,}: {number(cost)}" for x, cost in growth["costs"].items())


def growth_verdict(document: Document, growth: dict[str, Any]) -> str:
    """How flat the cost stayed, also beside that of the series which is its floor."""
    if growth["ratio"] is None:
        return "not measured"
    if growth["bound"] is None:
        return f"{growth['ratio']:.2f} x, for comparison"
    text = f"{growth['ratio']:.2f} x (at most {growth['bound']}): {'met' if growth['met'] else 'not met'}"
    for floor in document["growth"]:
        if floor["key"] == growth.get("floor") and floor["ratio"]:
            text += f"; {growth['ratio'] / floor['ratio']:.2f} x the growth in C"
    return text


def python_rows(document: Document) -> tuple[list[str], list[list[str]]]:
    """The table of Pythons: its head, and a row for each. Empty where they were not compared."""
    found = document.get("pythons")  # a document from before has none
    if not found:
        return [], []
    head = ["Python", "fixed work, ms", *(f"{row['title']} ({row['unit']})" for row in found["rows"])]
    first = next(iter(found["work_ms"]))
    return head, [
        [
            version,
            number(taken) if taken else "-",
            *(_python_text(row["figures"].get(version), row["figures"].get(first)) for row in found["rows"]),
        ]
        for version, taken in found["work_ms"].items()
    ]


def _python_text(figure: dict[str, Any] | None, first: dict[str, Any] | None) -> str:
    """`95k (1.02 x)`, by the first Python, which has no ratio."""
    if figure is None:
        return "not measured"
    if first is None or figure is first:
        return figure_text(figure)
    text = f"{figure_text(figure)} ({figure['ratio']:.2f} x)"
    if (figure["disturbed"] or first["disturbed"]) and figure["ratio_per_cpu"] is not None:
        text += f"; {figure['ratio_per_cpu']:.2f} x per second of processor time"
    return text


def show(document: Document, console: Console) -> None:
    """Print the tables and everything that a reader must know beside them."""
    if document["scenarios"]:
        console.print(_scenario_table(document))
    if document["growth"]:
        console.print(_growth_table(document))
    head, rows = python_rows(document)
    if rows:
        console.print(_python_table(head, rows))
    for line in _notes(document):
        console.print(line, highlight=False, markup=False)


def markdown(document: Document, chart: str) -> str:
    """The whole report as a Markdown page; `chart` is the file name of its picture."""
    m = document["machine"]
    lines = [
        f"# Benchmark of {document['date'][:10]}",
        "",
        f"![Deliveries and connections per second, relative to Node]({chart})",
        "",
        f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; medians of {document['rounds']} rounds of"
        f" {document['seconds']:g} s; the server on one core, the load on another. `benchmarks/README.md` says what is"
        " measured and what it does not show.",
        "",
        "| scenario | unit | " + " | ".join(COLUMNS) + " | targets |",
        "|---|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for s in document["scenarios"]:
        lines_of = [lead_text(s), *(target_text(s, t) for t in s["targets"])]
        lines_of += [bound_text(b) for b in s.get("bounds", ())]
        targets = "<br>".join(text for text in lines_of if text)
        lines.append(f"| {s['title']} | {s['unit']} | " + " | ".join(cells(s)) + f" | {targets} |")
    if document["growth"]:
        lines += ["", "| growth | unit | cost at each point | by the least before it |", "|---|---|---|---|"]
        for g in document["growth"]:
            lines.append(f"| {g['title']} | {g['unit']} | {growth_text(g)} | {growth_verdict(document, g)} |")
    head, rows = python_rows(document)
    if rows:
        lines += ["", *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))]
    lines += ["", *(f"- {note}" for note in _notes(document))]
    lines += ["", "Versions: " + ", ".join(f"{name} {text}" for name, text in document["versions"].items()) + "."]
    return "\n".join(lines) + "\n"


def _scenario_table(document: Document) -> Table:
    table = Table(title=f"Benchmark of {document['date'][:10]}: medians of {document['rounds']} round(s)")
    table.add_column("scenario")
    table.add_column("unit", style="dim")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("targets")
    for s in document["scenarios"]:
        lines = [_coloured(target_text(s, t), t["met"]) for t in s["targets"]]
        lines += [_coloured(bound_text(b), b["met"]) for b in s.get("bounds", ())]
        if lead := lead_text(s):
            lines.insert(0, _coloured(lead, False))
        table.add_row(s["title"], s["unit"], *cells(s), "\n".join(lines), end_section=True)
    return table


def _growth_table(document: Document) -> Table:
    table = Table(title="Growth: what must stay flat")
    for name in ("series", "unit", "cost at each point", "by the least before it"):
        table.add_column(name)
    for g in document["growth"]:
        table.add_row(
            g["title"], g["unit"], growth_text(g), _coloured(growth_verdict(document, g), g["met"]), end_section=True
        )
    return table


def _python_table(head: list[str], rows: list[list[str]]) -> Table:
    table = Table(title="The same Shoal on each Python: times the first, for comparison")
    for name in head:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(escape, row), end_section=True)
    return table


def _coloured(text: str, met: bool | None) -> str:
    colour = "yellow" if met is None else "green" if met else "red"
    return f"[{colour}]{text}[/{colour}]"


def _notes(document: Document) -> list[str]:
    shown = "".join(cell for s in document["scenarios"] for cell in cells(s))
    shown += "".join(cell for row in python_rows(document)[1] for cell in row)
    notes = [line for line in LEGEND if line[0] in shown]
    notes += [f"{label} is missing: {reason}" for label, reason in document["missing"].items()]
    notes += [f"failed: {text}" for text in document["failures"]]
    notes += document.get("notes", [])
    if document["scenarios"] and all("leader" in s for s in document["scenarios"]):
        notes.append(_leads(document))
    if not document["pinned"]:
        notes.append("the machine has one core: servers and load shared it, and nothing here can be compared")
    return notes


def _leads(document: Document) -> str:
    """In how many rows with a peer one of them is ahead, and by its name and the row's."""
    rows = [s for s in document["scenarios"] if any(is_peer(key) for key in s["figures"])]
    behind = [f"{s['key']} ({SHORT[s['leader']['key']]})" for s in rows if s["leader"]]
    return f"a peer leads in {len(behind)} of {len(rows)} rows" + (f": {', '.join(behind)}" if behind else "")
