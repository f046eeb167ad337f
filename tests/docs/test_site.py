"""`make docs` builds the site without a warning, and the reference in it says what the code says."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.docs.snippets import ROOT

import shoal
from shoal.settings import ServerSettings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once, as `make docs` does it."""
    folder = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--nitpicky"]
    result = subprocess.run([*argv, "docs", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_the_makefile_builds_it_with_warnings_as_errors() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "sphinx --quiet --fail-on-warning --keep-going --nitpicky" in makefile


def test_every_option_is_in_the_reference(site: Path) -> None:
    text = text_of(site / "reference" / "options.html")
    assert [field.name for field in fields(ServerSettings) if field.name not in text] == []


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    text = text_of(site / "reference" / "api.html") + text_of(site / "reference" / "errors.html")
    assert [name for name in shoal.__all__ if name not in text] == []


def test_every_command_is_in_the_reference(site: Path) -> None:
    from shoal.cli.app import COMMANDS

    text = text_of(site / "reference" / "cli.html")
    assert [name for name in COMMANDS if f"shoal {name}" not in text] == []


def test_pictures_in_raw_html_are_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        for source in re.findall(r'(?:src|srcset)="([^"]+)"', page.read_text(encoding="utf-8")):
            if not re.match(r"\w+:", source):
                assert (page.parent / source.partition("?")[0]).is_file(), f"{page.name}: {source}"


def test_every_link_of_the_site_leads_to_a_place_that_it_has(site: Path) -> None:
    """Of the text and of the navigation: the file is there, and what the link names in it."""
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    places = {
        page: {html.unescape(name) for name in re.findall(r'\bid="([^"]+)"', text)} for page, text in pages.items()
    }
    faults, seen = [], 0
    sources = site / "_modules"  # of these each names one way to all of its names, where we document some by another
    for page, text in pages.items():
        if page.is_relative_to(sources):
            continue
        for link in {html.unescape(found) for found in re.findall(r'<a [^>]*?href="([^"]*)"', text)}:
            if re.match(r"\w+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / unquote(path)).resolve() if path else page
            seen += 1
            if not target.is_file() or (anchor and unquote(anchor) not in places.get(target, {anchor})):
                faults.append(f"{page.relative_to(site)}: {link}")
    assert seen > 1000
    assert faults == [], faults
