"""``shoal new``: write a small, complete application to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["new"]


def new(
    name: Annotated[str, typer.Argument(help="Name of the application, and of the folder that is made here.")],
) -> None:
    """Write a new application: a server, a page, tests, a Dockerfile, a README and a pyproject.toml.

    It runs as it is, its tests pass, and its types are checked strictly.
    """
    from ..project import create_project, tag_of  # noqa: PLC0415 - see the package's docstring

    create_project(name, Path())
    steps = (
        (f"cd {name} && shoal serve app:app", "then open http://127.0.0.1:1111 in two windows"),
        ("python -m pytest", "its tests; pip install pytest, if it is not there"),
        (f"docker build -t {tag_of(name)} .", "an image of it; README.md says on top of what"),
    )
    width = max(len(command) for command, _ in steps)
    print(f"{name}: a server, a page, tests, a Dockerfile. Next:")
    for command, words in steps:
        print(f"  {command:{width}}  # {words}")
