"""The Python of the pages, as programs: what a reader would have in one file after typing it off.

Knows Markdown's fences and four remarks that a reader does not see; it runs nothing. Each fence is a program of its
own, unless a remark in front of it says otherwise:

``<!-- continues -->``           it goes on where the fence before it ended
``<!-- setup ... -->``           Python that stands before it
``<!-- test ... -->``            Python behind it: functions whose names begin with ``test_`` are called
``<!-- not run: reason -->``     it is compiled, and its types are checked, but it is not run
``<!-- fragment: reason -->``    it is compiled alone
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOKEN = re.compile(
    r"^[ ]*<!-- (?P<remark>setup|test|continues|not run|fragment)\b(?P<body>.*?)-->"
    r"|^(?P<indent> *)```python\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
UNTYPED = {"README.md", "docs/testing.md", "docs/recovery.md", "docs/benchmarks/load-testing.md"}
"""Pages whose handlers have no annotations, for brevity."""
HELPERS = """\
import asyncio

import pytest
from tests.docs.live import served

from shoal.testing import ClockLoop, TestServer, async_test
"""
"""What a remark may use without importing it."""


@dataclass
class Part:
    """Some lines of a page."""

    line: int
    code: str

    def padded(self) -> str:
        """The code where it stands on its page, so that errors name the line."""
        return "\n" * (self.line - 1) + self.code


@dataclass
class Program:
    """One program of a page."""

    page: str
    parts: list[Part] = field(default_factory=list)
    runs: bool = True
    whole: bool = True

    @property
    def name(self) -> str:
        return f"{self.page}:{self.parts[0].line}"

    @property
    def module(self) -> str:
        return re.sub(r"\W", "_", self.name)

    @property
    def text(self) -> str:
        """The program as one file, for a type checker."""
        head = (
            "# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls\n" if self.page in UNTYPED else ""
        )
        return head + HELPERS + "\n".join(part.code for part in self.parts)


def pages() -> list[Path]:
    """All Markdown that readers see, but what the benchmark writes."""
    found = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]
    return sorted(path for path in found if "node_modules" not in path.parts)


def programs(path: Path) -> list[Program]:
    """The programs of a page, in its order."""
    text = path.read_text(encoding="utf-8")
    found: list[Program] = []
    setup: list[Part] = []
    remarks: set[str] = set()
    for token in TOKEN.finditer(text):
        kind = token["remark"]
        where = "code" if kind is None else "body"
        line = text.count("\n", 0, token.start(where)) + 1
        code = token[where]
        if kind == "setup":
            setup.append(Part(line, code))
        elif kind == "test":
            found[-1].parts.append(Part(line, code))
        elif kind is not None:
            remarks.add(kind)
        else:
            indent = len(token["indent"])
            code = "".join(each[indent:] if each.strip() else each for each in code.splitlines(keepends=True))
            if "continues" not in remarks:
                found.append(Program(path.relative_to(ROOT).as_posix()))
            program = found[-1]
            program.parts += [*setup, Part(line, code)]
            program.runs = program.runs and not remarks & {"not run", "fragment"}
            program.whole = program.whole and "fragment" not in remarks
            setup, remarks = [], set()
    return found


PROGRAMS = [program for path in pages() for program in programs(path)]
