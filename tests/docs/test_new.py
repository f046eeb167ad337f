"""What `shoal new` writes works: its tests pass, its types are right, the official client and Chromium play it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.running import example, shows
from tests.interop.browser import Windows, chromium, window
from tests.requirements import ROOT, need, need_npm
from tests.servers import ServerProcess

__all__ = ["chromium", "window"]  # fixtures

NAME = "my_chat"


def run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module in a folder, without what surrounds these tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SHOAL_"))}
    return subprocess.run(
        [sys.executable, "-m", *argv], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new application."""
    parent = tmp_path_factory.mktemp("new")
    result = run(parent, "shoal", "new", NAME)
    assert (result.returncode, result.stderr) == (0, "")
    title, *steps = result.stdout.splitlines()
    assert title.startswith(f"{NAME}: ")
    assert [step.partition("#")[0].strip() for step in steps] == [
        f"cd {NAME} && shoal serve app:app",
        "python -m pytest",
        "docker build -t my-chat .",
    ]
    return parent / NAME


def test_it_is_not_written_twice(folder: Path) -> None:
    result = run(folder.parent, "shoal", "new", NAME)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"shoal: {NAME} is not empty: choose another name, or empty it first\n"


def test_its_tests_pass(folder: Path) -> None:
    result = run(folder, "pytest", "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


def test_its_types_are_right(folder: Path) -> None:
    """By its own configuration, which is strict."""
    result = run(folder, "mypy", "--cache-dir", str(ROOT / ".mypy_cache" / "new"))
    assert (result.returncode, result.stdout) == (0, "Success: no issues found in 3 source files\n")


def test_nothing_is_odd_about_it(folder: Path) -> None:
    result = run(folder, "shoal", "check", "app:app")
    assert (result.returncode, result.stderr) == (0, "")
    assert "app:app is a Socket.IO server in front of web.page\n" in result.stdout
    assert result.stdout.endswith("\nnothing odd\n")


def test_windows_hear_each_other(folder: Path, window: Windows) -> None:
    with example(str(folder)) as server:
        anna, berta = window(server.url, connected=False), window(server.url, connected=False)
        for each in (anna, berta):
            shows(each, "#state", "Connected to server one.")
        anna.page.get_by_label("Message").fill("hello")
        anna.page.keyboard.press("Enter")
        for each in (anna, berta):
            shows(each, "#log", "one: hello")
        assert anna.page.get_by_label("Message").input_value() == ""
        anna.page.keyboard.press("Enter")
        text = anna.page.locator("#text")
        anna.until(lambda: "length >= 1" in text.evaluate("text => text.validationMessage"), "nothing was refused")
        assert anna.errors == berta.errors == []


def test_the_image_serves_with_what_it_has(folder: Path, tmp_path: Path) -> None:
    """The Dockerfile's command, in a folder with only the files that it copies; Docker itself is tests/docker's."""
    text = (folder / "Dockerfile").read_text(encoding="utf-8")
    [files] = re.findall(r"^COPY ((?!--).+) /app/$", text, re.M)
    for name in files.split():
        shutil.copy(folder / name, tmp_path)
    [command] = re.findall(r"^CMD (.+)$", text, re.M)
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))  # free on every interface, since the command listens on all
        port = probe.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = ServerProcess(json.loads(command), port, {"PORT": str(port), "SHOAL_NODE": "", "PATH": path}, cwd=tmp_path)
    try:
        server.wait_until_up(path="/readyz")
        need_npm("socket.io-client")
        script = (
            "const socket = require('socket.io-client').io(process.argv[1]);"
            "socket.on('said', (...args) => { console.log(JSON.stringify(args)); socket.close(); });"
            "socket.on('welcome', () => socket.emit('say', { text: 'hello' }));"
        )
        argv = [need("node"), "-e", script, server.url]
        result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
        assert (result.returncode, result.stdout) == (0, f'["hello","{port}"]\n'), result.stderr
        server.stop()
    finally:
        server.close()
