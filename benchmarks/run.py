"""Measures Shoal beside the other Socket.IO servers. README.md says what is measured and how to repeat it."""

import argparse
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from suite import build, chart, document, environments, pythons, report
from suite.campaign import Plan, Results, count_steps, measure_growth, measure_pythons, measure_scenarios
from suite.growth import GROWTH
from suite.pace import Pace
from suite.paths import BUILD, REPORTS
from suite.rows import Growth, Scenario
from suite.scenarios import SCENARIOS
from suite.servers import KINDS, Kind, haproxy_program, shoal_in

PYTHONS = "pythons"  # the key of the rows that compare them
MOST_PYTHONS = 4  # since each is measured as often as every server
# Where there is no terminal, rich would fold the table to 80 columns.
console = Console() if sys.stdout.isatty() else Console(width=150)


def main() -> int:
    """Build, measure, report. Returns 0 when the run was complete, whatever its verdicts, else 1."""
    options = _options()
    if options.render:
        return _render(Path(options.render).resolve())
    try:
        found, choice = _choose()
        missing = _build(choice.python)
    except (build.BuildError, pythons.PythonError) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1
    _raise_open_files_limit()
    scenarios, series = _selection(options)
    plan, results = _plan(options, missing, choice), Results(notes=list(choice.notes))
    if (PYTHONS in options.only) if options.only else not options.quick:
        plan = _with_pythons(plan, choice.python, found, results.notes)
    _measure(plan, scenarios, series, results)
    measured = document.make(plan, results, scenarios, series)
    report.show(measured, console)
    folder = options.output or (BUILD if options.quick else REPORTS)
    _write(measured, folder, latest=not options.quick and not options.only)
    return 1 if results.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of the main scenarios, under a minute")
    parser.add_argument("--rounds", type=int, help="how often each server has its turn (3; quick: 1)")
    parser.add_argument("--seconds", type=float, help="measured time of each turn (1.5; quick: 1)")
    known = [s.key for s in SCENARIOS] + [f"growth-{g.key}" for g in GROWTH] + [PYTHONS]
    parser.add_argument("--only", nargs="+", metavar="KEY", choices=known, help=f"only these: {', '.join(known)}")
    parser.add_argument("--output", type=Path, help="folder for the results (docs/benchmarks, quick: benchmarks/build)")
    parser.add_argument("--render", metavar="JSON", help="draw an earlier run again, measure nothing")
    return parser.parse_args()


def _choose() -> tuple[list[pythons.Python], environments.Choice]:
    """All Pythons, and that of the Python servers."""
    name = os.environ.get("BENCH_PYTHON")
    wanted = pythons.by_hand(name) if name else None
    with console.status("looking for the fastest Python, and installing Shoal"):
        found = pythons.find()
        return found, environments.choose(found, wanted)


def _with_pythons(plan: Plan, chosen: pythons.Python, found: list[pythons.Python], notes: list[str]) -> Plan:
    """With the chosen Python and the fastest that differ from it; without any where there is but one."""
    kinds: dict[str, Kind] = {chosen.version: KINDS["shoal"]}
    with console.status("installing Shoal on the other Pythons"):
        for python in (python for python in found if python.version != chosen.version):
            if len(kinds) == MOST_PYTHONS:
                break
            environment = environments.environment_of(python)
            try:
                environments.install_shoal(python, environment)
            except build.BuildError as error:
                notes.append(f"Python {python.version} is missing: {error}")
                continue
            kinds[python.version] = shoal_in(environment)
    if len(kinds) == 1:
        notes.append("there is no other Python here to compare with")
        return plan
    taken = {python.version: python.seconds for python in found}
    return replace(plan, pythons=kinds, work_seconds={version: taken.get(version) for version in kinds})


def _build(python: pythons.Python) -> dict[str, str]:
    with console.status("building the load generator and installing the peers"):
        build.build_native()
        node, psio = build.install_node_peers(), environments.install_python_peer(python)
        tls = build.prepare_tls()
    missing: dict[str, str] = {}
    if node:
        missing |= dict.fromkeys(("node", "bun"), node)
    elif build.bun_program() is None:
        missing["bun"] = "npm has no bun for this machine"
    if psio:
        missing["psio"] = psio
    if tls:
        missing["tls"] = tls
    if haproxy_program() is None:
        missing["haproxy"] = "HAProxy is not installed (make programs)"
    return missing


def _raise_open_files_limit() -> None:
    """For the servers, which inherit it: ten thousand clients are ten thousand open files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _selection(options: argparse.Namespace) -> tuple[list[Scenario], list[Growth]]:
    if options.only:
        wanted = set(options.only)
        for s in SCENARIOS:
            if s.key in wanted:
                wanted |= {*s.rate_of, *([s.same_as] if s.same_as else [])}
        return [s for s in SCENARIOS if s.key in wanted], [g for g in GROWTH if f"growth-{g.key}" in wanted]
    if options.quick:
        return [s for s in SCENARIOS if s.quick_servers], []
    return list(SCENARIOS), list(GROWTH)


def _plan(options: argparse.Namespace, missing: dict[str, str], choice: environments.Choice) -> Plan:
    cores = sorted(os.sched_getaffinity(0))
    pinned = len(cores) > 1
    if pinned:
        os.sched_setaffinity(0, {cores[1]})  # this program must not disturb the server either
    quick = options.quick
    return Plan(
        rounds=options.rounds or (1 if quick else 3),
        seconds=options.seconds or (1.0 if quick else 1.5),
        warmup=0.3 if quick else 0.6,
        hold=0.2,
        server_core=cores[0] if pinned else None,
        load_core=cores[1] if pinned else None,
        quick=quick and not options.only,
        missing=missing,
        pace=Pace(cores[:2] if pinned else ()),
        python=f"{choice.python.number} ({choice.why})",
    )


def _measure(plan: Plan, scenarios: list[Scenario], series: list[Growth], results: Results) -> None:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    # Drawn once per measurement, not by a clock: the bar shares the load generator's core.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task("", total=count_steps(plan, scenarios, series))
        begun = False

        def step(text: str) -> None:
            nonlocal begun
            progress.update(task, advance=1 if begun else 0, description=text, refresh=True)
            begun = True

        measure_scenarios(plan, scenarios, results, step)
        measure_growth(plan, series, results, step)
        measure_pythons(plan, results, step)
        progress.update(task, completed=count_steps(plan, scenarios, series), description="done", refresh=True)


def _write(found: document.Document, folder: Path, latest: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = found["date"][:10] + ("-quick" if found["quick"] else "")
    if not latest and not found["quick"]:
        name += "-part"
    for stem in (name, "latest") if latest else (name,):
        document.write(found, folder / f"{stem}.json")
        pictures = chart.write(found, folder / f"{stem}.svg")
        (folder / f"{stem}.md").write_text(report.markdown(found, pictures[0].name))
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    console.print(f"written to {shown}/{name}.json, .md and .svg", highlight=False)


def _render(path: Path) -> int:
    found = document.read(path)
    report.show(found, console)
    pictures = chart.write(found, path.with_suffix(".svg"))
    path.with_suffix(".md").write_text(report.markdown(found, pictures[0].name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
