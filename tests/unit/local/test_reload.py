"""Which files count for a reload: as uvicorn counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.local.reload import Watch


@pytest.mark.parametrize(
    ("watch", "path", "counts"),
    [
        (Watch(), "/a/app.py", True),
        (Watch(), "/a/page.html", False),
        (Watch(), "/a/app.pyc", False),
        (Watch(), "/a/.#app.py", False),
        (Watch(include=["*.html"]), "/a/page.html", True),
        (Watch(include=["*.html"]), "/a/app.py", True),
        (Watch(include=[".*"]), "/a/.env", True),
        (Watch(exclude=["*.py"]), "/a/app.py", False),
        (Watch(exclude=["test_*.py"]), "/a/test_app.py", False),
        (Watch(exclude=["test_*.py"]), "/a/app.py", True),
        (Watch(exclude=["/a/made"]), "/a/made/deep/app.py", False),
        (Watch(exclude=["/a/made"]), "/a/app.py", True),
    ],
)
def test_a_file_counts_or_not(watch: Watch, path: str, counts: bool) -> None:
    assert watch.counts(path) is counts


def test_a_directory_may_be_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not Watch(exclude=["made"]).counts(str(tmp_path / "made" / "app.py"))
    assert Watch(exclude=["made"]).counts(str(tmp_path / "app.py"))
