"""The picture of the house in docs/architecture.md, drawn from what the source imports.

``make generate`` draws it into ``docs/images``, once for light pages and once for dark ones;
``tests/test_architecture_page.py`` compares. Rooms, files and arrows come from the source, the numbers from the page's
walk of a message. Where a room stands, and its few words, are said here; a room without a place is an error, and so is
an arrow that would point upward.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from tests.test_architecture import FLOORS, SOURCE, Module, read, room_of

ROOT = SOURCE.parent.parent
PAGE = ROOT / "docs" / "architecture.md"
FILES = {"light": ROOT / "docs/images/architecture.svg", "dark": ROOT / "docs/images/architecture-dark.svg"}
COMMAND = "make generate"

WIDTH = 800
PAD, LINE, SMALL = 12, 16, 15
ROW_GAP = 28
MARGIN = 20
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
# Of the widest of those fonts, so that text fits in all of them.
ADVANCE = 0.61

COLOURS = {
    "light": {
        "paper": "#ffffff",
        "text": "#1c2630",
        "soft": "#4d5a67",
        "arrow": "#7b8794",
        "way in": ("#e3f4f6", "#0b7285"),
        "cluster": ("#fbf0dc", "#96600a"),
        "meet": ("#ebe8fb", "#5a48c0"),
        "shared": ("#eef1f4", "#5b6875"),
        "around": ("#ffffff", "#8a96a3"),
        "badge": "#ffffff",
    },
    "dark": {
        "paper": "#10161c",
        "text": "#e8edf2",
        "soft": "#b0bcc8",
        "arrow": "#7f8c99",
        "way in": ("#0f2d33", "#3bc0d3"),
        "cluster": ("#33280f", "#e0ac4c"),
        "meet": ("#262142", "#a99cf2"),
        "shared": ("#1d262f", "#93a1ae"),
        "around": ("#10161c", "#66727e"),
        "badge": "#10161c",
    },
}


@dataclass(frozen=True)
class Place:
    """Where a room stands: its row from the top, its left and right edge; its kind, and what it is for."""

    row: int
    left: int
    right: int
    kind: str
    words: str


PLACES = {
    "cli": Place(0, 264, 536, "around", "the shoal command"),
    "inspection": Place(1, 360, 536, "around", "behind shoal check"),
    "project": Place(1, 593, 760, "around", "behind shoal new"),
    "local": Place(2, 40, 203, "around", "a whole cluster"),
    "load": Place(2, 223, 390, "around", "behind shoal bench"),
    "demo": Place(2, 410, 557, "around", "the scaled chat"),
    "testing": Place(2, 593, 760, "around", "test client, clock"),
    "": Place(3, 312, 488, "meet", "the public names"),
    "emitter": Place(4, 264, 536, "meet", "a cluster from outside"),
    "server": Place(5, 264, 536, "meet", "what applications hold"),
    "adapter": Place(6, 312, 536, "meet", "the seam to the cluster"),
    "serving": Place(6, 40, 236, "way in", "runs uvicorn"),
    "asgi": Place(7, 40, 236, "way in", "way in: any ASGI server"),
    "fastlane": Place(8, 40, 236, "way in", "way in: uvicorn"),
    "observe": Place(7, 264, 384, "meet", "for operators"),
    "handlers": Place(7, 404, 536, "meet", "your functions"),
    "cluster": Place(7, 564, 760, "cluster", "nodes to each other"),
    "engine": Place(9, 40, 236, "way in", "Engine.IO sessions"),
    "bus": Place(8, 600, 760, "cluster", "bytes on channels"),
    "fanout": Place(10, 40, 236, "way in", "one write a turn"),
    "http": Place(10, 264, 440, "way in", "requests as values"),
    "protocol": Place(11, 40, 760, "shared", "bytes and packets, without I/O"),
    "settings": Place(12, 40, 205, "shared", "every option, once"),
    "options": Place(12, 225, 390, "shared", "their types"),
    "signatures": Place(12, 410, 575, "shared", "what functions take"),
    "errors": Place(12, 595, 760, "shared", "the exceptions"),
}
FOLDED = {"__main__": "cli"}  # one line that calls it
GROUND = {"errors", "options", "settings", "signatures"}  # every room may use them: no arrows


# ---- what the source says


@functools.cache
def modules() -> dict[str, Module]:
    """All files of the source, which are read once."""
    return read(SOURCE)


def imports() -> dict[str, set[str]]:
    """Which rooms each room imports, typing imports counted; those on the ground left out."""
    found: dict[str, set[str]] = {room: set() for room in PLACES}
    for module in modules().values():
        room = FOLDED.get(module.room, module.room)
        targets = {room_of(imported.target) for imported in module.imports if imported.target in modules()}
        found[room] |= targets - GROUND - {room}
    return found


def arrows() -> list[tuple[str, str]]:
    """The imports that do not follow from others: the transitive reduction."""
    graph = imports()

    def reached(room: str) -> set[str]:
        return set().union(*({target} | reached(target) for target in graph[room]))

    beyond = {room: set().union(*(reached(target) for target in graph[room])) for room in graph}
    return [(room, target) for room in PLACES for target in PLACES if target in graph[room] - beyond[room]]


def files_of(room: str) -> list[str]:
    """The names of a room's files."""
    found = [module for module in modules().values() if module.room == room]
    return [Path(module.where).stem for module in found if module.where.count("/") == 1 and _has_name(module.where)]


def _has_name(where: str) -> bool:
    return not where.endswith("__init__.py")


def steps() -> dict[str, list[int]]:
    """The numbers of the page's walk, by room."""
    found: dict[str, list[int]] = {}
    for number, path in re.findall(r"^(\d+)\. \*{0,2}\[`([\w/]+)\.py`", PAGE.read_text(encoding="utf-8"), re.M):
        found.setdefault(path.partition("/")[0], []).append(int(number))
    return found


# ---- boxes


@dataclass(frozen=True)
class Box:
    room: str
    place: Place
    top: int
    height: int
    files: tuple[str, ...]

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def middle(self) -> int:
        return self.top + self.height // 2


def wrap(words: Iterable[str], width: int, size: float) -> list[str]:
    """Words in lines of at most `width` pixels."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]}  {word}" if lines else word
        if lines and len(longer) * size * ADVANCE <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def boxes() -> tuple[dict[str, Box], int]:
    """Every room's box, and the height of the picture."""
    found: dict[str, Box] = {}
    top = MARGIN
    for row in range(max(place.row for place in PLACES.values()) + 1):
        rooms = {room: place for room, place in PLACES.items() if place.row == row}
        lines = {room: wrap(files_of(room), p.right - p.left - 2 * PAD, 11) for room, p in rooms.items()}
        height = max(2 * PAD + 2 * LINE + SMALL * len(lines[room]) - 2 for room in rooms)
        for room, place in rooms.items():
            found[room] = Box(room, place, top, height, tuple(lines[room]))
        top += height + ROW_GAP
    return found, top - ROW_GAP + MARGIN


def draw_box(box: Box, numbers: list[int]) -> Iterator[str]:
    place = box.place
    kind = place.kind.replace(" ", "-")
    yield (
        f'<rect class="box {kind}" x="{place.left}" y="{box.top}" width="{place.right - place.left}"'
        f' height="{box.height}" rx="8"/>'
    )
    x, y = place.left + PAD, box.top + PAD + 11
    yield f'<text class="name" x="{x}" y="{y}">{box.room or "shoal"}</text>'
    yield f'<text class="words" x="{x}" y="{y + LINE}">{escape(place.words)}</text>'
    for number, line in enumerate(box.files):
        yield f'<text class="files" x="{x}" y="{y + 2 * LINE + 2 + number * SMALL}">{line}</text>'
    for index, number in enumerate(reversed(numbers)):
        middle = place.right - 16 - index * 22
        yield f'<circle class="badge {kind}" cx="{middle}" cy="{box.top + 17}" r="9"/>'
        yield f'<text class="number" x="{middle}" y="{box.top + 21}">{number}</text>'


# ---- arrows

Point = tuple[int, int]


def straight(x: int) -> Callable[[Box, Box], list[Point]]:
    """Down at `x`."""
    return lambda a, b: [(x, a.bottom), (x, b.top)]


def below(x: int, to: int) -> Callable[[Box, Box], list[Point]]:
    """Down at `x`, across the gap below the row, and down at `to`."""
    return lambda a, b: [(x, a.bottom), (x, a.bottom + ROW_GAP // 2), (to, a.bottom + ROW_GAP // 2), (to, b.top)]


def side(x: int, *, end: str) -> Callable[[Box, Box], list[Point]]:
    """Out of the side that `x` is at, along it, and into the `end` (left, right or top) of the other."""

    def route(a: Box, b: Box) -> list[Point]:
        start = a.place.left if x < a.place.left else a.place.right
        across = [(start, a.middle), (x, a.middle)]
        return [*across, (x, b.top)] if end == "top" else [*across, (x, b.middle), (getattr(b.place, end), b.middle)]

    return route


def into_side(x: int, end: str) -> Callable[[Box, Box], list[Point]]:
    """Down at `x`, and into the `end` (left or right) of the other."""
    return lambda a, b: [(x, a.bottom), (x, b.middle), (getattr(b.place, end), b.middle)]


ROUTES = {
    ("cli", "local"): below(290, 121),
    ("cli", "load"): straight(330),
    ("cli", "inspection"): straight(449),
    ("cli", "project"): below(510, 676),
    ("inspection", ""): straight(400),
    ("cli", "serving"): side(20, end="left"),
    ("cli", "cluster"): side(575, end="top"),
    ("testing", "protocol"): side(780, end="right"),
    ("demo", ""): straight(449),
    ("", "server"): straight(400),
    ("server", "serving"): side(138, end="top"),
    ("server", "observe"): straight(288),
    ("server", "adapter"): straight(424),
    ("adapter", "engine"): into_side(392, "right"),
    ("adapter", "handlers"): straight(470),
    ("adapter", "cluster"): side(550, end="left"),
    ("serving", "asgi"): straight(138),
    ("asgi", "fastlane"): straight(138),
    ("fastlane", "engine"): straight(138),
    ("engine", "fanout"): straight(138),
    ("engine", "http"): below(216, 300),
    ("observe", "http"): straight(340),
    ("fanout", "protocol"): straight(138),
    ("cluster", "bus"): straight(680),
    ("cluster", "protocol"): straight(582),
}


def route(a: Box, b: Box) -> list[Point]:
    """The way of an arrow: the one said above, or a plain one for an import that is new."""
    assert a.bottom < b.top, f"{a.room} imports {b.room}, which stands no lower: move one of them in PLACES"
    middle = (b.place.left + b.place.right) // 2
    return ROUTES.get((a.room, b.room), below((a.place.left + a.place.right) // 2, middle))(a, b)


def path(points: list[Point]) -> str:
    """A line of straight pieces with round corners, and a head at its end."""
    radius = 7
    text = f"M{points[0][0]} {points[0][1]}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = (_towards(corner, end, radius) for end in (before, after))
        text += f"L{x1} {y1}Q{corner[0]} {corner[1]} {x2} {y2}"
    return f'<path class="arrow" marker-end="url(#head)" d="{text}L{points[-1][0]} {points[-1][1]}"/>'


def _towards(start: Point, end: Point, distance: int) -> Point:
    (x, y), (to_x, to_y) = start, end
    length = max(abs(to_x - x), abs(to_y - y), 1)
    step = min(distance, length // 2)
    return x + (to_x - x) * step // length, y + (to_y - y) * step // length


# ---- the picture

LEGEND = (
    ("way in", "connections"),
    ("cluster", "cluster"),
    ("meet", "where both meet"),
    ("shared", "below both"),
    ("around", "around them"),
)


def legend(x: int, top: int) -> Iterator[str]:
    for index, (kind, words) in enumerate(LEGEND):
        y = top + index * 22
        yield f'<rect class="box {kind.replace(" ", "-")}" x="{x}" y="{y}" width="26" height="14" rx="4"/>'
        yield f'<text class="words" x="{x + 38}" y="{y + 11}">{words}</text>'
    y = top + len(LEGEND) * 22
    yield path([(x, y + 7), (x + 26, y + 7)])
    yield f'<text class="words" x="{x + 38}" y="{y + 11}">imports</text>'
    yield f'<circle class="badge around" cx="{x + 13}" cy="{y + 29}" r="9"/>'
    yield f'<text class="number" x="{x + 13}" y="{y + 33}">n</text>'
    yield f'<text class="words" x="{x + 38}" y="{y + 33}">way of a message</text>'


def style(scheme: str) -> str:
    colours = COLOURS[scheme]
    kinds = "".join(
        f".{kind.replace(' ', '-')}{{fill:{value[0]};stroke:{value[1]}}}"
        for kind, value in colours.items()
        if isinstance(value, tuple)
    )
    return (
        f"text{{font-family:{SANS};fill:{colours['text']}}}.name{{font-family:{MONO};font-size:14px;font-weight:600}}"
        f".words{{font-size:12px}}.files{{font-size:11px;fill:{colours['soft']};white-space:pre}}"
        f".number{{font-size:11px;font-weight:600;text-anchor:middle}}"
        f".paper{{fill:{colours['paper']}}}.box{{stroke-width:1.25}}{kinds}"
        f".arrow{{fill:none;stroke:{colours['arrow']};stroke-width:1.4}}.head{{fill:{colours['arrow']}}}"
        f".badge{{fill:{colours['badge']};stroke-width:1.25}}"
    )


def picture(scheme: str) -> str:
    """The SVG for a light or a dark page."""
    found, height = boxes()
    numbers = steps()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' role="img" aria-labelledby="title">',
        '<title id="title">The folders of src/shoal, and who imports whom</title>',
        f"<style>{style(scheme)}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0 0.5L8 4L0 7.5z"/></marker></defs>',
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        *(path(route(found[room], found[target])) for room, target in arrows()),
    ]
    for room, box in found.items():
        parts += draw_box(box, numbers.get(room, []))
    parts += legend(612, found[""].top + 4)
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(arguments: list[str]) -> None:
    missing = {room for rooms in FLOORS for room in rooms} - PLACES.keys() - FOLDED.keys()
    assert not missing, f"no place for {', '.join(sorted(missing))}: give it one in PLACES"
    if arguments != ["--write"]:
        sys.exit("python -m tests.picture --write")
    for scheme, file in FILES.items():
        file.write_text(picture(scheme), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
