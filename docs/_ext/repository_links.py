"""Links and pictures that lead out of the site: to files of the repository, and to images in raw HTML.

On a forge such a link opens the file. The site has only the pages, so a link to anything else in the repository
becomes one to `repository_url`, where that is set, and the bare name where it is not. Links between pages stay.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
PAGES = {"CHANGELOG.md": "project/changelog.md", "CONTRIBUTING.md": "project/contributing.md"}
"""Pages of the site whose text lies elsewhere in the repository."""


def rewrite(text: str, home: Path, docs: Path, url: str) -> str:
    """A page's text with its links led anew.

    Args:
        text: Markdown.
        home: The folder that its links begin at.
        docs: The folder of the documentation.
        url: Where the repository is shown, or "".
    """

    def change(match: re.Match[str]) -> str:
        label, anchor = match[1], match[3] or ""
        place = (home / match[2]).resolve()
        name = place.relative_to(docs.parent).as_posix() if place.is_relative_to(docs.parent) else match[2]
        if name in PAGES:
            place = docs / PAGES[name]
        if place.is_relative_to(docs) and place.is_file():
            return f"[{label}](/{place.relative_to(docs).as_posix()}{anchor})"
        return f"[{label}]({url.rstrip('/')}/{name}{anchor})" if url else label

    parts = FENCE.split(text)
    return "".join(part if part.lstrip().startswith("```") else LINK.sub(change, part) for part in parts)


def _read(app: Any, docname: str, source: list[str]) -> None:
    docs = Path(app.srcdir).resolve()
    source[0] = rewrite(source[0], (docs / docname).parent, docs, app.config.repository_url)


def _include(app: Any, path: Path, docname: str, source: list[str]) -> None:
    """An included page's links begin where it lies, and are followed from where it is shown."""
    docs = Path(app.srcdir).resolve()
    home = (docs / path).resolve().parent
    source[0] = rewrite(source[0], home, docs, app.config.repository_url)


def _copy_images(app: Any, error: Exception | None) -> None:
    """Raw HTML names them; Sphinx does not look into it."""
    if error is None and app.builder.format == "html":
        shutil.copytree(Path(app.srcdir) / "images", Path(app.outdir) / "images", dirs_exist_ok=True)


def setup(app: Any) -> dict[str, bool]:
    app.add_config_value("repository_url", "", "env")
    app.connect("source-read", _read)
    app.connect("include-read", _include)
    app.connect("build-finished", _copy_images)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
