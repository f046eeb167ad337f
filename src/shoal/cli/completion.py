"""``shoal completion``: what a shell needs to complete commands and options of `shoal` at the TAB key.

Typer does it: the shell asks the program itself, with a variable in its environment, so there is nothing to keep in
step with the commands. Libraries that write a script of their own read argparse's parsers, and there are none here.
"""

from __future__ import annotations

import importlib
import os
from enum import StrEnum
from typing import Annotated, Any

import typer

__all__ = ["completion", "prepare_completion"]

VARIABLE = "_SHOAL_COMPLETE"
"""Set by a shell that asks. Its name follows from the program's, for Typer as for click."""


class Shell(StrEnum):
    """The shells that it is there for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="For which.")]) -> None:
    """Print a script that lets a shell complete commands and options of `shoal` at the TAB key.

    bash: `shoal completion bash >> ~/.bashrc`

    zsh: `shoal completion zsh > ~/.zfunc/_shoal`, with `fpath+=~/.zfunc; autoload -Uz compinit; compinit` in `~/.zshrc`

    fish: `shoal completion fish > ~/.config/fish/completions/shoal.fish`
    """
    print(_typers("get_completion_script")(prog_name="shoal", complete_var=VARIABLE, shell=shell.value))


def prepare_completion() -> None:
    """If a shell asks, see that Typer will answer."""
    if VARIABLE in os.environ:
        _typers("completion_init")()


def _typers(name: str) -> Any:
    # Typer's own options --show-completion and --install-completion call these. It has no other names for them.
    return getattr(importlib.import_module("typer.completion"), name)
