"""scripts/setup builds where it is told to, in the tree or outside, and removes nothing that it did not build."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.requirements import ROOT

NO_PYTHON = "no Python 3.11 or newer found"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the scripts and nothing else, so that nothing can be installed."""
    folder = tmp_path / "tree"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    (folder / "pyproject.toml").touch()
    return folder


def setup(tree: Path, venv: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"VENV": venv, "PYTHON": "/no/such/python"}
    return subprocess.run(
        [tree / "scripts" / "setup"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def environment(folder: Path) -> Path:
    """What looks like an environment that works, and whose pip installs anything at once."""
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    for name, text in (("python", "#!/bin/sh\n"), ("pip", f"#!{folder}/bin/python\n")):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("venv", ["", ".venv-other", "build/deep/env", "{outside}/deep/env", "{outside}/deep/env/"])
def test_any_folder_may_be_named(tree: Path, tmp_path: Path, venv: str) -> None:
    """It comes as far as to look for a Python, of which there is none."""
    ended = setup(tree, venv.format(outside=tmp_path))
    assert ended.returncode == 1
    assert NO_PYTHON in ended.stderr, ended


@pytest.mark.parametrize("venv", [".venv-other", "{outside}/env", "{outside}/env/"])
def test_an_environment_that_works_is_kept(tree: Path, tmp_path: Path, venv: str) -> None:
    """No Python is needed to build it again; one that was moved has to be."""
    named = venv.format(outside=tmp_path)
    folder = environment(tree / named.rstrip("/"))
    assert setup(tree, named).returncode == 0
    (stamp,) = folder.glob(".run-ready-*")
    stamp.unlink()
    moved = folder.rename(folder.with_name(".venv-moved"))
    assert NO_PYTHON in setup(tree, str(moved)).stderr


def test_a_folder_that_is_no_environment_is_not_removed(tree: Path, tmp_path: Path) -> None:
    """VENV=$HOME by mistake."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter").touch()
    ended = setup(tree, str(home))
    assert ended.returncode == 1
    assert "is there, and no environment" in ended.stderr
    assert (home / "letter").exists()
