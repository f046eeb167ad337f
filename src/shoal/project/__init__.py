"""New applications, behind ``shoal new``: copies what lies in ``_template/``, with the application's name in it.

The files there are those that an application gets; by its name type checkers know that they are no part of Shoal's
surface. This module knows nothing of what they say.
"""

from __future__ import annotations

import contextlib
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Final

from ..errors import ConfigurationError

__all__ = ["create_project", "tag_of"]

# What a folder, a package index and, with its separators made one, a Docker image may be called.
NAME: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")
TEMPLATE: Final = files(__package__).joinpath("_template")


def create_project(name: str, parent: Path) -> Path:
    """Write a new application. All of it is written, or nothing.

    Args:
        name: Of the application, and of its folder.
        parent: Where the folder is, or is made.

    Returns:
        The folder.

    Raises:
        ConfigurationError: The name cannot be one, the folder is there and not empty, or cannot be written.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of an application: use at most 64 letters, digits, - and _, a letter first "
            "and no - or _ last"
        )
    if tag_of(name) == "shoal":
        raise ConfigurationError("an application cannot be called 'shoal': it would be imported in Shoal's place")
    folder = parent / name
    try:
        _write(folder, _texts(name))
    except OSError as error:
        raise ConfigurationError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def tag_of(name: str) -> str:
    """A name as a package index and Docker write it: in small letters, with one ``-`` between words."""
    return re.sub(r"[-_]+", "-", name).lower()


def _texts(name: str) -> dict[str, str]:
    """The files, by name."""
    values = {"__NAME__": name, "__TAG__": tag_of(name), "__VERSION__": version("shoal")}
    found = {}
    for file in TEMPLATE.iterdir():
        if file.is_file():  # beside them lies what Python has compiled
            text = file.read_text(encoding="utf-8")
            for word, value in values.items():
                text = text.replace(word, value)
            found[file.name] = text
    return found


def _write(folder: Path, texts: dict[str, str]) -> None:
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty: choose another name, or empty it first")
    written: list[Path] = []
    try:
        for name, text in texts.items():
            written.append(folder / name)
            written[-1].write_text(text, encoding="utf-8")
    except OSError:
        with contextlib.suppress(OSError):
            for file in written:
                file.unlink(missing_ok=True)
            if made:
                folder.rmdir()
        raise
