"""The diagrams of the pages are those that `tests/diagrams.py` draws, are shown, and can be read in light and dark."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.diagrams import DIAGRAMS, FOLDER, ROOT, Diagram
from tests.picture import COLOURS

PAGES = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("docs/**/*.md")}


@pytest.mark.parametrize(("name", "draw"), DIAGRAMS.items())
def test_a_diagram_is_as_it_is_drawn_today(name: str, draw: Callable[[], Diagram]) -> None:
    """And it is SVG, with its title for those who do not see it."""
    assert (FOLDER / name).read_text(encoding="utf-8") == draw().svg(), "make generate"
    root = ET.fromstring(draw().svg())
    assert root.findtext("{http://www.w3.org/2000/svg}title") == draw().title


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_stands_on_the_page_that_it_is_for(name: str) -> None:
    """With a text for those who do not see it that says what it shows."""
    page = ROOT / (DIAGRAMS[name].__doc__ or "").partition(":")[0]
    [(alt, link)] = re.findall(rf"!\[([^\]]*)\]\(([^)]*/{re.escape(name)})\)", PAGES[page])
    assert (page.parent / link).resolve() == FOLDER / name
    assert len(alt) > 60


def test_every_diagram_in_the_folder_is_drawn() -> None:
    assert {path.name for path in Path(FOLDER).glob("*.svg") if not path.name.startswith("architecture")} == set(
        DIAGRAMS
    )


@pytest.mark.parametrize("scheme", COLOURS)
def test_text_is_seen_on_what_is_behind_it(scheme: str) -> None:
    """With a contrast of 4.5 at least, as WCAG 2.2 AA wants it."""
    colours = COLOURS[scheme]
    grounds = [colours["paper"], *(value[0] for value in colours.values() if isinstance(value, tuple))]
    for text in (colours["text"], colours["soft"]):
        assert [ground for ground in grounds if contrast(str(text), str(ground)) < 4.5] == []


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
