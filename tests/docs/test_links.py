"""Every relative link of every page leads to a file that is there, and to a heading that it has.

Links to other sites are looked at, not followed: they are well-formed. `make docs-links` follows them.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.docs.snippets import ROOT, pages

LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
OUTWARD = re.compile(
    r"\]\((\w+:[^)]*)\)|<(\w+:/[^>]*)>|^\[[^\]]+\]: *(\w+:.*)$|(?:src|srcset|href)=\"(\w+:[^\"]*)\"", re.MULTILINE
)
FENCE = re.compile(r"^( *)```.*?^ *```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)


@functools.cache
def anchors(page: Path) -> set[str]:
    """The names that a forge, and MyST, give the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (unique := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(unique)
    return found


def broken(page: Path, text: str) -> list[str]:
    """The links of a text that lead nowhere."""
    found = []
    for first, second in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        link = first or second
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("link", ["attic.md", "README.md#attic", "#attic", "src/attic"])
def test_a_broken_link_is_found(link: str) -> None:
    assert broken(ROOT / "CONTRIBUTING.md", f"[x]({link})") == [link]


def malformed(text: str) -> list[str]:
    """The links of a text to other sites that cannot lead anywhere, or would send readers there in the clear."""
    found = []
    for groups in OUTWARD.findall(CODE.sub("", FENCE.sub("", text))):
        link = "".join(groups)
        parts = urlsplit(link)
        host = parts.hostname or ""
        here = host in {"127.0.0.1", "localhost"}
        whole = re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host) is not None and parts.scheme == "https"
        if (not (here and parts.scheme == "http") and not whole) or re.search(r"[\s\\]|[.,;:]$", link):
            found.append(link)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_other_sites_are_well_formed(page: Path) -> None:
    assert malformed(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "link", ["https://attic", "htps://a.example", "http://a.example", "https://a.example/b c", "https:/a.example"]
)
def test_a_malformed_link_is_found(link: str) -> None:
    assert malformed(f"[x]({link})") == [link]
    assert malformed(f'<a href="{link}">') == [link]
    assert malformed(f"[x]: {link}") == [link]
    assert malformed("[x](https://a.example/b) and <http://127.0.0.1:8000>") == []


def test_every_page_of_the_docs_is_reached_from_the_start() -> None:
    """Sphinx warns of pages in no table of contents; this is for those who read on a forge."""
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for first, second in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            path = (first or second).partition("#")[0]
            if path and not re.match(r"\w+:", path):
                todo.append((page.parent / path).resolve())
    generated = {"project", "benchmarks"}
    missing = {p for p in ROOT.glob("docs/**/*.md") if not generated & set(p.relative_to(ROOT / "docs").parts)} - seen
    assert missing == set()
