"""docs/architecture.md keeps its word: the picture is drawn from the source of today, and every name on it exists.

Reads the pages and the source as text; it runs neither. Where comments point to
is looked at here too; where pages link to, in docs/test_links.py.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import picture
from tests.picture import COLOURS, FILES, PAGE, Box, arrows, boxes, route
from tests.test_architecture import FLOORS, SOURCE, read

TEXT = PAGE.read_text(encoding="utf-8")
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
STEP = re.compile(r"\[`([\w/]+\.py)`\]\((\S+)\)\s+`(\w+)\.(\w+)`")
ROOT = SOURCE.parent.parent


# ---- the names


@functools.cache
def members(file: Path) -> dict[str, set[str]]:
    """The classes of a file, with the names of their methods and attributes; under "", the file's own names."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {"": set(_names(tree))}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found.setdefault(node.name, set()).update(_names(node))
    return found


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def stale(text: str) -> list[str]:
    """What a page calls by a name that nothing has: links, steps of the walk, and names in backticks."""
    links = [first or second for first, second in LINK.findall(text)]
    missing = [link for link in links if "://" not in link and not (PAGE.parent / link).exists()]
    for shown, link, kind, name in STEP.findall(text):
        file = (PAGE.parent / link).resolve()
        if file != SOURCE / shown or name not in members(file).get(kind, ()):
            missing.append(f"{shown} {kind}.{name}")
    modules = [*SOURCE.rglob("*.py"), *ROOT.glob("tests/*.py")]
    for kind, name in re.findall(r"`([A-Z]\w*)\.(\w+)`", text):
        if not any(name in members(module).get(kind, ()) for module in modules):
            missing.append(f"{kind}.{name}")
    names = set(re.findall(r"`([A-Z]\w+|\w+_\w+)`", text)) - NOT_OURS
    return missing + sorted(name for name in names if not any(name in members(module)[""] for module in modules))


NOT_OURS = {"current_task", "io_uring", "join_room"}  # asyncio's, Linux's, and the name of an event


def test_every_name_on_the_page_exists() -> None:
    """Each link leads somewhere, each `Class.function` is there, and where a file is named, in that file."""
    assert stale(TEXT) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[x](../src/shoal/attic.py)", "../src/shoal/attic.py"),
        ("[`fanout/ticker.py`](../src/shoal/fanout/ticker.py)\n   `Ticker.attic`", "fanout/ticker.py Ticker.attic"),
        ("[`fanout/ticker.py`](../src/shoal/fanout/rooms.py) `Ticker.seal`", "fanout/ticker.py Ticker.seal"),
        ("`Ticker.attic`", "Ticker.attic"),
        ("`Attic`", "Attic"),
        ("`open_attic`", "open_attic"),
    ],
)
def test_a_stale_name_is_found(text: str, found: str) -> None:
    assert found in stale(text)


def test_the_walk_is_one_from_its_first_step_to_its_last() -> None:
    """The steps are numbered without a gap, each names a file, and the picture shows each."""
    section = TEXT.partition("## The way of a message")[2].partition("\n## ")[0]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert sorted(itertools.chain(*picture.steps().values())) == numbers


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_every_test_that_a_comment_names_is_there(folder: str) -> None:
    """A docstring that sends its reader to a test says where it is."""
    texts = {
        path: path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py") if "build" not in path.parts
    }
    named = {(path, name) for path, text in texts.items() for name in re.findall(r"\btests/[\w/]+\.\w+", text)}
    assert [f"{path}: {name}" for path, name in named if not (ROOT / name).exists()] == []


# ---- the picture


@pytest.mark.parametrize("scheme", FILES)
def test_the_picture_is_of_today(scheme: str) -> None:
    """Whoever adds a file or an import, or changes the walk, draws the picture again."""
    assert FILES[scheme].read_text(encoding="utf-8") == picture.picture(scheme), f"`{picture.COMMAND}`"


def test_every_folder_has_its_place() -> None:
    """In the picture, with words that fit beside the numbers."""
    rooms = {room for floor in FLOORS for room in floor}
    assert picture.PLACES.keys() | picture.FOLDED.keys() == rooms == {module.room for module in read(SOURCE).values()}
    for room, place in picture.PLACES.items():
        assert len(place.words) * 12 * picture.ADVANCE <= place.right - place.left - 2 * picture.PAD, room


def test_no_box_covers_another_and_no_arrow_crosses_one() -> None:
    """Boxes keep a distance of each other, and arrows of all boxes but those that they join."""
    found, height = boxes()
    for one, other in itertools.combinations(found.values(), 2):
        assert not meet(one, other.place.left, other.top, other.place.right, other.bottom), (one.room, other.room)
    for room, target in arrows():
        points = route(found[room], found[target])
        for (x1, y1), (x2, y2) in itertools.pairwise(points):
            assert 8 <= min(x1, x2) <= max(x1, x2) <= picture.WIDTH - 8
            for box in found.values():
                if box.room not in (room, target):
                    crossed = meet(box, min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
                    assert not crossed, f"{room} -> {target} crosses {box.room}: say its way in ROUTES"
    assert max(box.bottom for box in found.values()) < height


def meet(box: Box, left: int, top: int, right: int, bottom: int, distance: int = 8) -> bool:
    """Whether a rectangle comes near a box."""
    return (
        left < box.place.right + distance
        and right > box.place.left - distance
        and top < box.bottom + distance
        and bottom > box.top - distance
    )


@pytest.mark.parametrize("scheme", COLOURS)
def test_everyone_can_read_it(scheme: str) -> None:
    """Text stands out by 4.5 to 1 from what it is written on, lines by 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    colours = COLOURS[scheme]
    paper, arrow = colours["paper"], colours["arrow"]
    assert isinstance(paper, str)
    assert isinstance(arrow, str)
    assert contrast(arrow, paper) >= 3
    for value in colours.values():
        if isinstance(value, tuple):
            fill, edge = value
            assert contrast(edge, paper) >= 3
            for text in (colours["text"], colours["soft"]):
                assert isinstance(text, str)
                assert contrast(text, fill) >= 4.5


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances (WCAG 2.2, "contrast ratio")."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
