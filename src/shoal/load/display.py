"""Shows a load test to a person: what goes on while it runs, and a table at its end. Knows rich and no socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .plan import Plan
from .result import Percentiles, Result
from .trial import Progress, Watcher

__all__ = ["show_result", "watching"]


@contextmanager
def watching(console: Console) -> Iterator[Watcher]:
    """Show progress while the context lasts; where the console is no terminal, nothing."""
    if not console.is_terminal:
        yield lambda progress: None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda progress: live.update(_progress(progress), refresh=True)


def _progress(p: Progress) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        Text(p.phase, style="bold"), ProgressBar(total=1.0, completed=p.share, width=30), f"{p.connected:,} clients"
    )
    if p.phase in {"warming up", "measuring"}:
        latency = "no latencies yet" if p.p50_ms is None else f"p50 {p.p50_ms:.2f} ms, p99 {p.p99_ms:.2f} ms"
        flow = f"{p.sent_per_s:,.0f} sent/s, {p.received_per_s:,.0f} received/s"
        grid.add_row("", flow, f"{latency}, own CPU {p.tester_cpu:.0%}")
    return grid


def show_result(console: Console, plan: Plan, result: Result) -> None:
    """Print the outcome as a table, with a warning under it where it must not be trusted."""
    table = Table(title=_title(plan), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in _rows(plan, result):
        table.add_row(name, value)
    console.print(table)
    for warning in _warnings(result):
        console.print(f"[yellow]{warning}[/yellow]", highlight=False)


def _title(plan: Plan) -> str:
    what = "acked echo" if plan.mode == "echo" else "broadcast" + (f" in {plan.rooms:,} rooms" if plan.rooms else "")
    loop = f"{plan.in_flight} in flight each" if plan.rate is None else f"{plan.rate:,g} messages/s"
    who = f"{plan.clients:,} clients" + ("" if plan.mode == "echo" else f", {plan.publishers:,} publishing")
    return f"{plan.url}: {what} over {plan.transport}, {who}, {loop}, {plan.payload:,} bytes"


def _rows(plan: Plan, r: Result) -> list[tuple[str, str]]:
    rows = [
        ("connections", f"{r.connects_per_s:,.0f}/s, {_percentiles(r.connect_ms)}"),
        ("sent", f"{r.sent_per_s:,.0f}/s"),
        ("received", f"{r.received_per_s:,.0f}/s, {r.received_mb_per_s:,.2f} MB/s"),
        ("latency", _percentiles(r.latency_ms)),
        ("lost", f"{r.lost:,} of {r.expected:,}"),
        ("duplicates", f"{r.duplicates:,}"),
        ("out of order", f"{r.reordered:,}"),
        ("to the wrong client", f"{r.misdelivered:,}"),
        ("clients cut off", f"{r.cut_off:,}"),
        ("own share of a core", f"{r.tester_cpu:.0%}"),
    ]
    if plan.rate is not None:
        rows.append(("own lateness in sending", _percentiles(r.send_lag_ms)))
    return rows


def _percentiles(p: Percentiles) -> str:
    if p["p50"] is None:
        return "none"
    return f"p50 {p['p50']:.2f}, p90 {p['p90']:.2f}, p99 {p['p99']:.2f}, max {p['max']:.2f} ms"


def _warnings(r: Result) -> list[str]:
    found = []
    if r.tester_was_the_limit:
        found.append("This program used up its core: the server can do more than it was asked for, with less delay.")
    if r.cut_reason is not None:
        found.append(f"A client was cut off: {r.cut_reason}")
    return found
