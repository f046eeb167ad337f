"""What is public says so: the surface of the package is the committed one, and every name of it has its word.

:mod:`tests.surface` makes the text; this compares. Which name does what is not known here.
"""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import Any

import pytest
from tests import surface
from tests.surface import Specimen

from shoal import Server
from shoal.settings import ServerSettings


def test_the_surface_is_the_committed_one() -> None:
    """Whoever changes a name, a signature, an option or a command changes tests/surface.txt in the same commit."""
    committed, present = surface.FILE.read_text(encoding="utf-8"), surface.surface()
    difference = difflib.unified_diff(
        committed.splitlines(), present.splitlines(), "tests/surface.txt", "the package", lineterm="", n=1
    )
    hint = f"the public surface has changed; if it shall, `{surface.COMMAND}` and say so in CHANGELOG.md:\n"
    assert committed == present, hint + "\n".join(difference)


@pytest.mark.parametrize("specimen", surface.specimens(), ids=lambda specimen: type(specimen.value).__name__)
def test_every_name_that_shows_is_documented(specimen: Specimen) -> None:
    """Each public name in an object's dir() has a docstring, or stands in one, and a type."""
    assert surface.undocumented(specimen.value) == []
    assert surface.untyped(specimen.value) == []


def test_every_option_is_documented() -> None:
    """Each option of a server has words below it."""
    known = surface.attributes(ServerSettings)
    assert [field.name for field in fields(ServerSettings) if not known[field.name].documented] == []


def test_an_internal_that_shows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attribute without an underscore is part of the surface, and must say what it is."""

    class Leaky(Server):
        """A server."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.internals = 1

        def helper(self): ...  # type: ignore[no-untyped-def]

    monkeypatch.setattr(surface, "PACKAGES", ("shoal", __name__.partition(".")[0]))
    io = Leaky(broker="memory://")
    assert surface.undocumented(io) == ["Leaky.helper", "Leaky.internals"]
    assert surface.untyped(io) == [f"    internals: {surface.UNKNOWN}"]
    assert {"helper", "internals"} <= set(surface.shown(io))
    assert {"helper", "internals"}.isdisjoint(surface.shown(Server(broker="memory://")))
