"""A report of ``shoal check`` as lines of text. Decides what people read; what is true was found out elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..inspection import Report
    from ..inspection.broker import BrokerState
    from ..inspection.findings import Finding
    from ..server.outline import Function, NamespaceOutline

__all__ = ["lines_of"]

BOLD, FAINT, RED, YELLOW, GREEN = "1", "2", "31", "33", "32"
IN_LINES_OF_THEIR_OWN: Final = {"broker", "connection_state_recovery", "node", "parser", "path", "transports"}


class _Pen:
    """Colours words, or leaves them alone."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, *codes: str) -> str:
        return f"\033[{';'.join(codes)}m{text}\033[0m" if self._colour and text else text


def lines_of(report: Report, folder: str, colour: bool) -> Iterator[str]:
    """The lines.

    Args:
        report: What there is to say.
        folder: Files below it are named from there.
        colour: Whether to colour them.
    """
    pen = _Pen(colour)
    yield _title(report, pen)
    if report.kind != "none":
        yield ""
        yield from _columns(_facts(report), pen)
        for namespace in report.namespaces:
            yield ""
            yield from _namespace(namespace, folder, pen)
        if report.engine_handlers:
            yield ""
            yield pen("engine", BOLD)
            yield from _table([_row(function, folder) for function in report.engine_handlers], pen)
        yield from _options(report, pen)
    yield from _findings("problems", report.problems, RED, pen)
    yield from _findings("notes", report.notes, YELLOW, pen)
    yield ""
    yield _summary(report, pen)


def _title(report: Report, pen: _Pen) -> str:
    what = {"server": "a Socket.IO server", "engine": "an Engine.IO server", "none": "no Shoal server"}[report.kind]
    behind = f" in front of {report.behind}" if report.behind else ""
    return f"{pen(report.target, BOLD)} is {what}{behind}"


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    parser = ", msgpack" if report.parser == "msgpack" else ""
    yield "endpoint", f"{report.endpoint} by {' and '.join(report.transports)}{parser}"
    if report.kind != "server":
        return
    elsewhere = "" if report.client_source == "here" else ", which sends browsers to the public copy"
    yield "client", "not served" if report.client is None else f"{report.client}{elsewhere}"
    if report.node is not None:
        yield "node", report.node
    if report.broker is not None:
        yield "broker", _broker(report.broker)
    yield "recovery", "clients that lost their connection may come back" if report.recovery else "off"


def _broker(broker: BrokerState) -> str:
    if broker.reachable is None:
        alone = "this node alone" if broker.url == "memory://" else "nodes of this process alone"
        return f"{broker.url}, {alone}"
    if not broker.reachable:
        return f"{broker.url}, not reached"
    product = f" {broker.product} {broker.version}," if broker.product else ""
    return f"{broker.url},{product} reached in {broker.milliseconds:g} ms"


def _namespace(namespace: NamespaceOutline, folder: str, pen: _Pen) -> Iterator[str]:
    kind = "" if namespace.kind == "Namespace" else f" ({namespace.kind})"
    dynamic = "dynamic " if namespace.dynamic else ""
    yield f"{dynamic}namespace {pen(namespace.name, BOLD)}{kind}{' has no handlers' if namespace.is_empty else ''}"
    rows = [_row(function, folder) for function in (*namespace.middleware, *namespace.handlers)]
    rows += [_row(function, folder, " (from servers)") for function in namespace.server_handlers]
    yield from _table(rows, pen)


def _row(function: Function, folder: str, kind: str = "") -> tuple[str, ...]:
    ways = ["async" if function.is_async else "plain"]
    ways += [name for name in ("concurrent", "thread") if getattr(function, name)]
    return function.event + kind, function.function, _place(function, folder), ", ".join(ways)


def _place(function: Function, folder: str) -> str:
    if function.file is None:
        return "not Python"
    path = os.path.relpath(function.file, folder) if function.file.startswith(folder + os.sep) else function.file
    return f"{path}:{function.line}"


def _options(report: Report, pen: _Pen) -> Iterator[str]:
    shown = [option for option in report.options if option.name not in IN_LINES_OF_THEIR_OWN]
    if shown:
        yield ""
        yield pen("options that differ", BOLD)
        rows = [(one.name, repr(one.value), f"default {one.default!r}", f"in the {one.source}") for one in shown]
        yield from _table(rows, pen)


def _findings(title: str, findings: Iterable[Finding], colour: str, pen: _Pen) -> Iterator[str]:
    if findings:
        yield ""
        yield pen(title, BOLD, colour)
        yield from _columns(((one.code, one.message) for one in findings), pen)


def _summary(report: Report, pen: _Pen) -> str:
    counts = ((len(report.problems), "problem"), (len(report.notes), "note"))
    found = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count)
    return pen(found or "nothing odd", RED if report.problems else GREEN)


def _columns(rows: Iterable[tuple[str, str]], pen: _Pen) -> Iterator[str]:
    pairs = [*rows]
    width = max((len(name) for name, _ in pairs), default=0)
    return (f"  {pen(f'{name:{width}}', FAINT)}  {text}" for name, text in pairs)


def _table(rows: Sequence[Sequence[str]], pen: _Pen) -> Iterator[str]:
    """Rows whose last two columns are of less weight."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
        yield f"  {'  '.join(cells[:2])}  {pen('  '.join(cells[2:]).rstrip(), FAINT)}"
