"""A picture of one run: in each scenario, every server relative to Node, on a log axis. Pure: a document to SVG.

Colours follow the reader's light or dark scheme. A scenario in which less is better is turned over, so that a longer
bar is always the better one.
"""

import math
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from suite.document import Document
from suite.report import COLUMNS, LEADS, number

WIDTH, LEFT, RIGHT = 1000, 392, 120
BAR, GAP, GROUP_GAP, TOP, BOTTOM = 13, 3, 16, 74, 44
LINE, LONGEST_LINE = 15, 46  # pixels from line to line of a title; characters that have room beside the bars
SERIES = ("Shoal", "Node", "Bun", "python-socketio")  # the floor in C is no server to choose
CLASSES = {"Shoal": "a", "Node": "b", "Bun": "c", "python-socketio": "d"}
STYLE = """
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1c2630;font-size:13px}
.title{font-size:19px;font-weight:600}.sub,.tick{fill:#5b6875;font-size:12px}.value{font-size:11.5px;fill:#39444f}
.paper{fill:#fff}.grid{stroke:#e2e7ec}.one{stroke:#9aa5b1;stroke-dasharray:3 3}
.a{fill:#0b7285}.b{fill:#94a3b1}.c{fill:#d9a441}.d{fill:#c9746a}.strong{font-weight:600}
@media (prefers-color-scheme:dark){text{fill:#e8edf2}.sub,.tick{fill:#9aa7b4}.value{fill:#c3cdd6}.paper{fill:#10161c}
.grid{stroke:#27313b}.one{stroke:#66727e}.a{fill:#3bc0d3}.b{fill:#6b7884}.c{fill:#d9a441}.d{fill:#cf7f75}}
"""


def svg(document: Document) -> str:
    """Draw the scenarios that have a figure of Node, or else of python-socketio, to compare with."""
    groups = [g for g in (_group(s) for s in document["scenarios"]) if g]
    most = max((ratio for g in groups for _, ratio, _ in g["bars"]), default=10.0)
    low, high = 0.05, 10 ** math.ceil(math.log10(most * 1.5))
    parts, y = [], TOP
    for group in groups:
        parts.append(_draw_group(group, y, low, high))
        y += _size(group) + GROUP_GAP
    height = y + BOTTOM
    head = _head(document, height) + _axis(low, high, y)
    return head + "".join(parts) + "</svg>\n"


def write(document: Document, path: Path) -> list[Path]:
    """Write the SVG, and a PNG beside it where a program that draws one is installed. Returns what was written."""
    text = svg(document)
    path.write_text(text)
    png = path.with_suffix(".png")
    return [path, png] if _draw_png(path, png, _height(text)) else [path]


def _group(scenario: dict[str, Any]) -> dict[str, Any] | None:
    keys = {name: next((key for key in COLUMNS[name] if key in scenario["figures"]), "") for name in SERIES}
    figures = {name: scenario["figures"].get(key) for name, key in keys.items()}
    lead = (scenario.get("leader") or {"key": None})["key"]
    base = figures["Node"] or figures["python-socketio"]
    if not base or not base["value"] > 0:
        return None
    bars = []
    for name, figure in figures.items():
        if figure is None or not figure["value"] > 0:
            continue
        ratio = figure["value"] / base["value"]
        ratio = ratio if scenario["higher_is_better"] else 1 / ratio
        marks = (" (at least)" if figure["load_limited"] else "") + (f" {LEADS}" if keys[name] == lead else "")
        bars.append((name, ratio, f"{number(figure['value'])}{marks}"))
    return {"title": textwrap.wrap(scenario["title"], LONGEST_LINE), "unit": scenario["unit"], "bars": bars}


def _size(group: dict[str, Any]) -> int:
    """The height of a scenario: of its bars, or of the words beside them."""
    return max(len(group["bars"]) * (BAR + GAP), (len(group["title"]) + 1) * LINE)


def _x(ratio: float, low: float, high: float) -> float:
    share = (math.log10(max(ratio, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _draw_group(group: dict[str, Any], y: float, low: float, high: float) -> str:
    words = y + _size(group) / 2 - (len(group["title"]) + 1) * LINE / 2 + LINE - 3
    y += (_size(group) - len(group["bars"]) * (BAR + GAP)) / 2
    parts = [
        f'<text x="{LEFT - 14}" y="{words + index * LINE:.0f}" text-anchor="end">{escape(line)}</text>'
        for index, line in enumerate(group["title"])
    ]
    words += len(group["title"]) * LINE
    parts.append(f'<text x="{LEFT - 14}" y="{words:.0f}" text-anchor="end" class="tick">{escape(group["unit"])}</text>')
    for i, (name, ratio, text) in enumerate(group["bars"]):
        top, end = y + i * (BAR + GAP), _x(ratio, low, high)
        strong = " strong" if name == "Shoal" else ""
        parts.append(
            f'<rect x="{LEFT}" y="{top:.0f}" width="{end - LEFT:.1f}" height="{BAR}" rx="2" class="{CLASSES[name]}"/>'
            f'<text x="{end + 6:.1f}" y="{top + BAR - 2.5:.1f}" class="value{strong}">{escape(text)}'
            f"{f' · {_times(ratio)}' if name == 'Shoal' else ''}</text>"
        )
    return "".join(parts)


def _axis(low: float, high: float, bottom: float) -> str:
    parts = []
    ticks = [t for t in (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if low <= t <= high]
    for tick in ticks:
        x = _x(tick, low, high)
        kind = "one" if tick == 1 else "grid"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom:.0f}" class="{kind}"/>'
            f'<text x="{x:.1f}" y="{bottom + 16:.0f}" text-anchor="middle" class="tick">{tick:g}×</text>'
        )
    label = "times Node (plain ASGI: times python-socketio), logarithmic; longer is better"
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{bottom + 34:.0f}" text-anchor="middle" class="tick">{label}</text>')
    return "".join(parts)


def _head(document: Document, height: float) -> str:
    m = document["machine"]
    under = f"{document['date'][:10]} · {m['cpu']}, server on one core · medians of {document['rounds']} rounds"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
        f' height="{height:.0f}" role="img" aria-label="Shoal beside other Socket.IO servers"><style>{STYLE}</style>'
        f'<rect class="paper" width="{WIDTH}" height="{height:.0f}" rx="8"/>'
        f'<text x="24" y="32" class="title">Shoal beside other Socket.IO servers</text>'
        f'<text x="24" y="52" class="sub">{escape(under)}</text>'
    ]
    x = WIDTH - 24.0
    for name in reversed(SERIES):
        x -= 8 + 7.2 * len(name)
        parts.append(f'<text x="{x:.0f}" y="32" class="tick">{name}</text>')
        x -= 16
        parts.append(f'<rect x="{x:.0f}" y="22" width="11" height="11" rx="2" class="{CLASSES[name]}"/>')
        x -= 8
    return "".join(parts)


def _height(text: str) -> int:
    return int(text.split(' height="', 1)[1].split('"', 1)[0])


def _draw_png(source: Path, target: Path, height: int) -> bool:
    if converter := shutil.which("rsvg-convert"):
        command = [converter, "--zoom", "2", "--output", str(target), str(source)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        return False
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--disable-background-networking", "--force-device-scale-factor=2"]
        command += [f"--window-size={WIDTH},{height}", f"--screenshot={target}", source.as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return False
    return target.exists()


def _times(ratio: float) -> str:
    """A ratio in two digits, in words of people: 0.91×, 1.8×, 160×."""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.2g}×"
