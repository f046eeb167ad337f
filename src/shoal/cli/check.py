"""``shoal check``: load an application, say what it would serve, and what is odd about it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from .console import use_colour

__all__ = ["check"]

PROBLEMS = 1
CANNOT_LOAD = 2


def check(
    app: Annotated[str, typer.Argument(metavar="MODULE:ATTRIBUTE", help="The application, as in `app:io`.")],
    factory: Annotated[
        bool, typer.Option("--factory", help="MODULE:ATTRIBUTE is a function that makes the application.")
    ] = False,
    app_dir: Annotated[
        str, typer.Option(metavar="PATH", help="Look for the module there.", show_default="the working directory")
    ] = "",
    broker: Annotated[
        str | None, typer.Option(metavar="URL", help="As for `shoal serve`.", show_default="$SHOAL_BROKER")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds that the broker may take.")] = 2.0,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="What is meant to be so, by its code; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    color: Annotated[
        bool | None, typer.Option("--color/--no-color", help="Colour the text.", show_default="in a terminal")
    ] = None,
) -> None:
    """Say what an application would serve, and what is odd about it. Nothing is served.

    The application is imported as `shoal serve` does it, with the `SHOAL_*` variables that are set; then its broker is
    tried. Exit code 0: no problems, whatever is worth a note; 1: problems; 2: it cannot be loaded.
    """
    from ..errors import ConfigurationError  # noqa: PLC0415 - see the package's docstring

    if broker is not None:
        os.environ["SHOAL_BROKER"] = broker
    try:
        application, warned = _load(app, factory, app_dir)
    except ConfigurationError as error:
        if as_json:
            print(json.dumps({"target": app, "ok": False, "error": str(error)}, indent=2))
        else:
            print(f"shoal: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(CANNOT_LOAD) from None

    from ..inspection import examine  # noqa: PLC0415

    report = asyncio.run(examine(app, application, warned, timeout=timeout, ignore=ignore or ()))
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        from .check_text import lines_of  # noqa: PLC0415

        print("\n".join(lines_of(report, os.getcwd(), use_colour(sys.stdout, color))))
    if not report.ok:
        raise typer.Exit(PROBLEMS)


def _load(target: str, factory: bool, app_dir: str) -> tuple[Any, list[warnings.WarningMessage]]:
    """The application, and Shoal's warnings meanwhile; others are shown as ever."""
    from ..errors import EventWarning  # noqa: PLC0415 - see the package's docstring
    from .loading import load_app  # noqa: PLC0415

    warned: list[warnings.WarningMessage] = []

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        if issubclass(category, EventWarning):
            warned.append(warnings.WarningMessage(message, category, filename, lineno, file, line))
        else:
            shown(message, category, filename, lineno, file, line)

    # What the application prints while it is imported is not part of the report.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        shown, warnings.showwarning = warnings.showwarning, show
        warnings.simplefilter("always", EventWarning)
        return load_app(target, directory=app_dir, factory=factory), warned
