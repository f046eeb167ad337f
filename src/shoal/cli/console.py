"""Whether to colour, decided once for every command. Knows the conventions of terminals and nothing of Shoal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

__all__ = ["use_colour"]


def use_colour(stream: TextIO, asked: bool | None = None, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether to write colours to ``stream``.

    Args:
        stream: Where output goes.
        asked: What the command line says; ``None`` if it says nothing.
        environment: ``NO_COLOR`` (set and not empty) means no, then ``FORCE_COLOR`` means yes, then ``TERM=dumb``
            means no; else colours are for terminals.
    """
    if asked is not None:
        return asked
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environment.get("TERM") != "dumb"
