"""What tests of commands share: no options, and a working directory out of which applications are imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set where the tests run is none of theirs, and what a command sets is gone after the test."""
    for name in ("SHOAL_BROKER", "SHOAL_NODE", *os.environ):
        if name.startswith("SHOAL_") or name in ("WEB_CONCURRENCY", "PYTHONASYNCIODEBUG"):
            monkeypatch.setenv(name, "")  # what was not set before is put back, too
            monkeypatch.delenv(name)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory for one test, out of which modules are imported and then forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]
