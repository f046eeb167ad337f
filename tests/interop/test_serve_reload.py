"""`shoal serve --reload`: a file is edited, and an official client that was connected gets the new answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.interop.test_javascript_client import SCRIPTS
from tests.requirements import need, need_npm
from tests.serve_process import Serve
from tests.servers import die_with_parent

APP = """
from shoal import Server
io = Server()

@io.on("connect")
def connect(socket):
    socket.emit("greeting", {greeting!r})
"""


class Client:
    """The official client in a process of its own, and what it has said."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "client.log"

    @contextlib.contextmanager
    def running(self, url: str) -> Iterator[None]:
        with self._said.open("wb") as said:
            process = subprocess.Popen(
                [need("node"), str(SCRIPTS / "comes_back.cjs")],
                cwd=SCRIPTS,
                env={**os.environ, "SHOAL_TEST_URL": url},
                stdin=subprocess.PIPE,
                stdout=said,
                preexec_fn=die_with_parent,
            )
        try:
            yield
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()

    def said(self) -> list[Any]:
        return [json.loads(line) for line in self._said.read_text().splitlines()]


def test_an_edit_is_served_and_clients_come_back(tmp_path: Path) -> None:
    """A mistake is told and served as soon as it is corrected; what is no Python is not watched."""
    need_npm("socket.io-client")
    source, client = tmp_path / "mine.py", Client(tmp_path)
    source.write_text(APP.format(greeting="one"))
    with Serve(tmp_path, "mine:io", "--reload", environment={"PYTHONDONTWRITEBYTECODE": "1"}) as server:
        server.wait_until_up()
        with client.running(f"http://{server.url}"):
            server.until(lambda: ["greeting", "one"] in client.said())
            source.write_text("def (")
            server.wait_for(r"shoal: cannot load mine:io: SyntaxError: invalid syntax \(.*mine\.py, line 1\)")
            server.wait_for(r"shoal: mine:io has ended \(exit code 1\); a change of a file starts it again")
            (tmp_path / "notes.txt").write_text("not watched")
            source.write_text(APP.format(greeting="two"))
            server.until(lambda: ["greeting", "two"] in client.said())
        assert client.said()[1][0] == "disconnect"
        assert server.text.count("shoal: mine.py changed, reloading") == 2
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback" not in server.text


def test_a_command_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    """The process sees that who has started it is gone."""
    (tmp_path / "mine.py").write_text(APP.format(greeting="one"))
    with Serve(tmp_path, "mine:io", "--reload") as server:
        server.wait_until_up()
        assert len(server.family()) == 1
        os.kill(server.process.pid, signal.SIGKILL)
        server.wait()
