"""The diagrams of the documentation: what happens between clients, servers, a broker and a balancer.

``make generate`` draws them into ``docs/images``; ``test_diagrams.py`` compares. One file serves light and dark pages:
it has its own paper and asks for the reader's scheme. Colours and fonts are those of the picture of the house. Where a
thing stands is said here in pixels; what is true of it, on the page.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from tests.picture import COLOURS, MONO, ROOT, SANS

FOLDER = ROOT / "docs" / "images"
WIDTH = 760
LINE = 17  # from one line of text to the next
WIDE = {"name": 8.0, "words": 7.0, "label": 7.0}  # a character in the widest of the fonts, so that text fits in all
Point = tuple[float, float]


def scheme(name: str) -> str:
    colours = COLOURS[name]
    kinds = {"client": "around", "server": "way in", "broker": "cluster", "balancer": "meet", "shared": "shared"}
    return (
        f"text{{fill:{colours['text']}}}.paper{{fill:{colours['paper']}}}.soft{{fill:{colours['soft']}}}"
        f".arrow,.lifeline{{stroke:{colours['arrow']}}}.head{{fill:{colours['arrow']}}}.badge{{fill:{colours['text']}}}"
        f".number{{fill:{colours['paper']}}}.label{{stroke:{colours['paper']}}}"
        + "".join(f".{kind}{{fill:{colours[room][0]};stroke:{colours[room][1]}}}" for kind, room in kinds.items())
        + f".end{{stroke:{'#b3261e' if name == 'light' else '#ff8a80'}}}"
    )


STYLE = (
    f"text{{font-family:{SANS};text-anchor:middle}}.name{{font-family:{MONO};font-size:13px;font-weight:600}}"
    ".words,.label{font-size:12.5px}.label{paint-order:stroke;stroke-width:5px;stroke-linejoin:round}"
    ".box{stroke-width:1.25}.arrow{fill:none;stroke-width:1.6}.dashed{stroke-dasharray:5 4}"
    ".lifeline{stroke-width:1.2;stroke-dasharray:2 4}.end{fill:none;stroke-width:2.6}"
    ".number{font-size:11.5px;font-weight:700}"
)


@dataclass
class Diagram:
    """One picture: its parts are drawn in the order of the calls, and text last."""

    title: str
    height: int
    parts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def box(self, kind: str, middle: Point, size: Point, name: str, *words: str) -> None:
        """A box around its middle, with a name and lines of words, all of which fit."""
        (x, y), (wide, high) = middle, size
        for text, width in ((name, WIDE["name"]), *((line, WIDE["words"]) for line in words)):
            assert len(text) * width <= wide - 8, f"{self.title}: {text!r} is too wide for its box"
        left, top = x - wide / 2, y - high / 2
        self.parts.append(
            f'<rect class="box {kind}" x="{left:g}" y="{top:g}" width="{wide:g}" height="{high:g}" rx="8"/>'
        )
        first = y - LINE * len(words) / 2 + 4.5
        self.texts.append(f'<text class="name" x="{x:g}" y="{first:g}">{escape(name)}</text>')
        for index, line in enumerate(words, 1):
            self.texts.append(f'<text class="words soft" x="{x:g}" y="{first + index * LINE:g}">{escape(line)}</text>')

    def client(self, middle: Point, name: str) -> None:
        x, y = middle
        self.parts.append(f'<circle class="box client" cx="{x:g}" cy="{y:g}" r="17"/>')
        self.texts.append(f'<text class="name" x="{x:g}" y="{y + 4.5:g}">{escape(name)}</text>')

    def arrow(self, *points: Point, label: str = "", number: int | None = None, dashed: bool = False) -> None:
        """An arrow through points. Its label stands above its middle, its number on it."""
        way = "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path class="arrow{" dashed" if dashed else ""}" marker-end="url(#head)" d="M{way}"/>')
        (ax, ay), (bx, by) = points[len(points) // 2 - 1], points[len(points) // 2]
        x, y = (ax + bx) / 2, (ay + by) / 2
        if label:
            self.label((x, y - 7), label)
        if number is not None:
            self.texts.append(f'<circle class="badge" cx="{x:g}" cy="{y:g}" r="9.5"/>')
            self.texts.append(f'<text class="number" x="{x:g}" y="{y + 4:g}">{number}</text>')

    def label(self, place: Point, text: str, anchor: str = "middle") -> None:
        x, y = place
        wide = len(text) * WIDE["label"]
        left = {"middle": x - wide / 2, "start": x, "end": x - wide}[anchor]
        assert left >= 0, f"{self.title}: {text!r} leaves the paper on the left"
        assert left + wide <= WIDTH, f"{self.title}: {text!r} leaves the paper on the right"
        style = "" if anchor == "middle" else f' style="text-anchor:{anchor}"'
        self.texts.append(f'<text class="label" x="{x:g}" y="{y:g}"{style}>{escape(text)}</text>')

    def steps(self, top: float, *lines: str) -> None:
        """What the numbers mean."""
        for index, line in enumerate(lines):
            y = top + index * 24
            self.texts.append(f'<circle class="badge" cx="34" cy="{y:g}" r="9.5"/>')
            self.texts.append(f'<text class="number" x="34" y="{y + 4:g}">{index + 1}</text>')
            self.label((54, y + 4.5), line, "start")

    def lifeline(self, x: float, top: float, bottom: float) -> None:
        self.parts.append(f'<path class="lifeline" d="M{x:g} {top:g}V{bottom:g}"/>')

    def end(self, middle: Point) -> None:
        """A cross: a process is killed, or a connection is lost."""
        x, y = middle
        self.parts.append(f'<path class="end" d="M{x - 8:g} {y - 8:g}l16 16m0 -16l-16 16"/>')

    def svg(self) -> str:
        size = f'viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}"'
        head = (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0 0.5L8 4L0 7.5z"/></marker></defs>'
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
                f'<title id="title">{escape(self.title)}</title>',
                f"<style>{STYLE}{scheme('light')}@media (prefers-color-scheme:dark){{{scheme('dark')}}}</style>",
                head,
                f'<rect class="paper" width="{WIDTH}" height="{self.height}" rx="10"/>',
                *self.parts,
                *self.texts,
                "</svg>\n",
            ]
        )


SERVER = (170.0, 62.0)


def message() -> Diagram:
    """docs/scaling.md: one broadcast to a room, through three servers."""
    drawn = Diagram("A message to a room, from its sender through one server and the broker to all members", 470)
    places = {"one": 130.0, "two": 380.0, "three": 630.0}
    words = {"one": "three members", "two": "two members", "three": "no member: gets nothing"}
    for name, x in places.items():
        drawn.box("server", (x, 165), SERVER, f"server {name}", words[name])
    drawn.box("broker", (380, 295), (670, 56), "broker", "Redis or Valkey: a channel for each room")
    clients = {"A": (50, 45), "B": (130, 45), "C": (210, 45), "D": (340, 45), "E": (420, 45), "F": (630, 45)}
    for name, (x, y) in clients.items():
        drawn.client((x, y), name)
    drawn.arrow((44, 62), (84, 132), number=1)
    drawn.arrow((104, 132), (64, 64))
    drawn.arrow((130, 132), (130, 64), number=2)
    drawn.arrow((156, 132), (198, 64))
    drawn.arrow((130, 197), (130, 265), number=3)
    drawn.arrow((380, 266), (380, 198), number=4)
    drawn.arrow((370, 132), (346, 64))
    drawn.arrow((390, 132), (414, 64))
    drawn.texts.append('<circle class="badge" cx="380" cy="104" r="9.5"/><text class="number" x="380" y="108">5</text>')
    drawn.parts.append('<path class="lifeline" d="M630 196V267M630 134V62"/>')
    drawn.steps(
        354,
        "A sends an event; its handler emits to the room.",
        "Server one encodes it once and writes it to its own members, one write for each.",
        "It publishes the same bytes once, however many servers there are.",
        "Only servers with a member in the room have subscribed to its channel.",
        "Server two writes the bytes to its members. It decodes no packet.",
    )
    return drawn


def recovery() -> Diagram:
    """docs/recovery.md: a server is killed, and its client goes on at another one."""
    drawn = Diagram("A client's server is killed; at another one it has its id, its rooms and what it missed", 495)
    places = {"client": 80.0, "server one": 290.0, "broker": 490.0, "server two": 680.0}
    kinds = {"client": "client", "server one": "server", "broker": "broker", "server two": "server"}
    for name, x in places.items():
        drawn.lifeline(x, 60, 200 if name == "server one" else 480)
        drawn.box(kinds[name], (x, 36), (130, 40), name)
    client, one, broker, two = places.values()
    drawn.arrow((two, 92), (broker, 92), label="news")
    drawn.label((broker - 10, 96), "kept as number 41", "end")
    drawn.arrow((broker, 126), (one, 126), label="41: news")
    drawn.arrow((one, 154), (client, 154), label="news, offset 41")
    drawn.end((one, 200))
    drawn.label((one + 16, 205), "kill -9", "start")
    drawn.arrow((two, 232), (broker, 232), label="more")
    drawn.label((broker - 10, 236), "kept as number 42", "end")
    drawn.arrow((two, 264), (broker, 264), label="and more")
    drawn.label((broker - 10, 268), "kept as number 43", "end")
    drawn.arrow((client, 306), (two, 306), label="by the balancer: I was this one, and had all up to 41")
    drawn.arrow((two, 338), (broker, 338), label="who, since 41?")
    drawn.arrow((broker, 370), (two, 370), label="state, 42, 43")
    drawn.arrow((two, 402), (client, 402), label="accepted: the same id, the same rooms")
    drawn.arrow((two, 432), (client, 432), label="42: more, 43: and more, in order, each once")
    drawn.arrow((two, 462), (client, 462), label="and then what is new")
    return drawn


def hop() -> Diagram:
    """docs/balancing.md: a request of a session comes to a server that has not got it."""
    drawn = Diagram("A request that the balancer sent to the wrong server is passed to the right one", 330)
    drawn.box("client", (90, 120), (120, 56), "client", "session one.x7")
    drawn.box("balancer", (310, 120), (130, 56), "balancer", "by turns")
    drawn.box("server", (620, 50), SERVER, "server one", "has session one.x7")
    drawn.box("server", (620, 190), SERVER, "server two", "knows whose it is")
    drawn.arrow((150, 120), (244, 120), number=1)
    drawn.arrow((376, 128), (534, 182), number=2)
    drawn.arrow((620, 158), (620, 83), number=3)
    drawn.arrow((376, 112), (534, 58), dashed=True)
    drawn.steps(
        254,
        "A poll names its session. The session's id begins with the name of its server.",
        "A balancer that reads it goes the dashed way. One that does not read it may come to any.",
        "That server passes the request on, and the answer back. Nobody notices but the counters.",
    )
    return drawn


def order() -> Diagram:
    """docs/guarantees.md: where order and acceptance come from, on the way in and on the way out."""
    drawn = Diagram(
        "What a client sends waits in an inbox, what it is sent in an outbox; each has an order and a bound", 342
    )
    drawn.box("client", (80, 120), (110, 190), "client")
    drawn.box("shared", (300, 55), (180, 62), "inbox", "3, 2: wait, bounded")
    drawn.box(
        "server",
        (600, 120),
        (180, 190),
        "your handlers",
        "one event of a client",
        "at a time; clients",
        "do not wait for",
        "each other",
    )
    drawn.box("shared", (300, 185), (180, 62), "outbox", "in order, bounded")
    drawn.arrow((136, 55), (209, 55), number=1)
    drawn.arrow((391, 55), (509, 55), number=2)
    drawn.arrow((509, 185), (391, 185), number=3)
    drawn.arrow((209, 185), (136, 185), number=4)
    drawn.steps(
        250,
        "Events in the order in which they were sent. With a full inbox the connection is not read.",
        "The next event when the handler of the one before has returned, or raised.",
        "What is emitted, alone or to rooms, in the order of the calls.",
        "Held until the connect handler has accepted; then CONNECT first. Who does not read is cut off.",
    )
    return drawn


def chat() -> Diagram:
    """docs/tutorial/07_two_servers.md: the chat on two servers."""
    drawn = Diagram("Anna's message goes to her server, through the broker to the other one, and to Berta", 250)
    drawn.box("client", (80, 60), (110, 44), "anna")
    drawn.box("client", (680, 60), (110, 44), "berta")
    drawn.box("server", (240, 125), SERVER, "server one", "port 8001")
    drawn.box("server", (520, 125), SERVER, "server two", "port 8002")
    drawn.box("broker", (380, 212), (220, 52), "Redis", "keeps what is said")
    drawn.arrow((120, 83), (154, 112))
    drawn.arrow((262, 157), (300, 185))
    drawn.arrow((460, 185), (498, 157))
    drawn.arrow((606, 112), (640, 83))
    drawn.label((110, 118), "say", "end")
    drawn.label((654, 118), "said", "start")
    drawn.label((252, 186), "said", "end")
    drawn.label((508, 186), "said", "start")
    return drawn


DIAGRAMS = {
    "message.svg": message,
    "recovery.svg": recovery,
    "hop.svg": hop,
    "order.svg": order,
    "two-servers.svg": chat,
}


def main(arguments: Sequence[str]) -> None:
    if list(arguments) != ["--write"]:
        sys.exit("python -m tests.diagrams --write")
    for name, draw in DIAGRAMS.items():
        Path(FOLDER / name).write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
