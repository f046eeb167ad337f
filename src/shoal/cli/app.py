"""The ``shoal`` program: its commands, and how it fails.

Commands are looked up by name and imported one at a time. Whatever is wrong ends as one line on stderr and exit code 1;
a command may have other codes for what it has found.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import ShoalError
from .completion import prepare_completion

__all__ = ["main"]

COMMANDS = {
    "new": "shoal.cli.new",
    "up": "shoal.cli.up",
    "serve": "shoal.cli.serve",
    "check": "shoal.cli.check",
    "emit": "shoal.cli.emit",
    "balancer": "shoal.cli.balancer",
    "bench": "shoal.cli.bench",
    "completion": "shoal.cli.completion",
}
"""Name of each command and the module whose function of that name it is."""

# Typer brings its own copy of click since 0.20 and used the real one before, so its exceptions are found through a name
# that both export: BadParameter is a UsageError is a ClickException.
CLICK_ERROR: type[Any] = typer.BadParameter.__mro__[2]

INTERRUPTED = 130


class _Commands(TyperGroup):
    """A group that imports a command when it is named, or when help lists them all."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name, module in COMMANDS.items() if importlib.util.find_spec(module)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        module = COMMANDS.get(cmd_name)
        if module is None or importlib.util.find_spec(module) is None:
            return None
        program = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        program.command(cmd_name, no_args_is_help=cmd_name == "emit")(
            getattr(importlib.import_module(module), cmd_name)
        )
        return typer.main.get_command(program)


app: Final = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - a third of what --help costs

        print(f"shoal {version('shoal')}")
        raise typer.Exit


@app.callback()
def shoal(
    version: bool = typer.Option(
        False, "--version", help="Show the version and stop.", is_eager=True, callback=_show_version
    ),
) -> None:
    """A Socket.IO server for Python that scales out: many servers behind a load balancer that speak as one.

    `shoal up` shows it all at work on this machine.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 if all went well, 1 with one line on stderr if not, 130 on Ctrl-C.

    Args:
        arguments: What follows the program's name. Default: what this process was given.
    """
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    prepare_completion()
    try:
        code = app(arguments, prog_name="shoal", standalone_mode=False)
        sys.stdout.flush()
    except ShoalError as error:
        return _fail(str(error))
    except CLICK_ERROR as error:
        return _fail(_usage(error))
    except BrokenPipeError:
        # Whoever read our output has gone. Python would print another error while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _fail(text: str) -> int:
    print(f"shoal: {' '.join(text.split())}", file=sys.stderr)
    return 1


def _usage(error: Any) -> str:
    """Say what is wrong with the command line, and where the right one is described."""
    text = error.format_message().rstrip(".") or "nothing to do"
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "shoal"
    return f"{text[:1].lower()}{text[1:]}; see {where} --help"
