"""`shoal check` says what an application would serve and what is odd about it, to people and to programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from shoal.cli import main
from shoal.http.client_files import DIRECTORY

APPLICATION = """\
import re
from shoal import Namespace, Server

print("imported")
io = Server(max_payload=5)


class Chat(Namespace):
    def on_say(self, socket, text): ...


@io.use
async def login(socket): ...


@io.on("connect")
async def connect(socket): ...


@io.on("report", thread=True)
def report(socket): ...


@io.on_server("ping")
def ping(): ...


io.of("/chat", Chat)
io.of(re.compile("^/room-"))


def make():
    return io.asgi(web)


async def web(scope, receive, send): ...
"""

TEXT = """\
mine:io is a Socket.IO server

  endpoint  /socket.io/ by polling and websocket
  client    {client}
  broker    memory://, this node alone
  recovery  off

namespace /
  middleware           login    mine.py:12  async
  connect              connect  mine.py:16  async
  report               report   mine.py:20  plain, thread
  ping (from servers)  ping     mine.py:24  plain

namespace /chat (Chat)
  say  on_say  mine.py:9  plain

dynamic namespace ^/room- has no handlers

options that differ
  max_payload  5  default 1000000  in the code

nothing odd
"""


@pytest.fixture
def mine(here: Path) -> Path:
    """An application in the working directory."""
    (here / "mine.py").write_text(APPLICATION)
    return here / "mine.py"


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["check", *arguments])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_the_report_is_read_from_top_to_bottom(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the application prints while it is imported is not part of it."""
    client = "/socket.io/socket.io.min.js"
    if not (DIRECTORY / "socket.io.min.js").is_file():
        client += ", which sends browsers to the public copy"
    assert check(capsys, "mine:io") == (0, TEXT.format(client=client), "imported\n")


def test_what_is_odd_stands_at_the_end(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = 'io = Server(cors_credentials=True, trusted_proxies="*")'
    mine.write_text(mine.read_text().replace("io = Server(max_payload=5)", text))
    code, out, _ = check(capsys, "mine:io")
    assert code == 1
    *_, problems, notes, summary = out.strip().split("\n\n")
    assert problems.startswith("problems\n  cors-open  cors_credentials with ")
    assert notes.startswith("notes\n  proxies-open  trusted_proxies=")
    assert summary == "1 problem, 1 note"


def test_notes_alone_are_no_failure_and_a_problem_may_be_meant(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine.write_text("from shoal import Server\nio = Server(trusted_proxies='*')\n")
    assert check(capsys, "mine:io")[0] == 1
    code, out, _ = check(capsys, "mine:io", "--ignore", "no-handlers")
    assert (code, out.splitlines()[-1]) == (0, "1 note")


def test_programs_get_the_same_as_json(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = check(capsys, "mine:make", "--factory", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "imported\n")
    assert (found["target"], found["ok"], found["error"], found["kind"]) == ("mine:make", True, None, "server")
    assert found["behind"] == "mine.web"
    assert found["namespaces"][0]["handlers"][0] == {
        "event": "connect",
        "function": "connect",
        "file": str(mine),
        "line": 16,
        "async": True,
        "concurrent": False,
        "thread": False,
    }
    assert found["options"] == [{"name": "max_payload", "value": 5, "default": 1_000_000, "source": "code"}]


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_what_cannot_be_loaded_is_told_from_what_has_problems(
    mine: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, out, err = check(capsys, "nowhere:io", *arguments)
    reason = "cannot load nowhere:io: there is no module 'nowhere' here"
    assert code == 2
    if arguments:
        assert json.loads(out) == {"target": "nowhere:io", "ok": False, "error": reason}
        assert err == ""
    else:
        assert (out, err) == ("", f"shoal: {reason}\n")


def test_an_option_that_does_not_exist_is_told_with_its_place(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine.write_text("from shoal import Server\nio = Server(max_paylod=5)\n")
    code, out, err = check(capsys, "mine:io")
    assert (code, out) == (2, "")
    assert err == (
        f"shoal: cannot load mine:io: unknown option 'max_paylod'; did you mean 'max_payload'? ({mine}, line 2)\n"
    )


def test_the_folder_and_the_broker_can_be_said(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = mine.parent / "deep"
    folder.mkdir()
    mine.rename(folder / "mine.py")
    code, out, _ = check(capsys, "mine:io", "--app-dir", "deep", "--broker", "memory://chat")
    assert code == 0
    assert "broker    memory://chat, nodes of this process alone\n" in out
    assert "deep/mine.py:16" in out
    assert out.endswith("\n1 note\n")


def test_a_handler_that_is_never_called_is_found_and_other_warnings_are_shown(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine.write_text(
        "import warnings\nfrom shoal import Server\nio = Server()\n"
        "@io.on('disconect')\ndef bye(socket, reason): ...\nwarnings.warn('an older matter')\n"
    )
    with pytest.warns(UserWarning, match="an older matter") as caught:
        code, out, _ = check(capsys, "mine:io")
    assert code == 1
    assert "event-name  'disconect' is no event of the library: did you mean 'disconnect'? (mine.py:4)" in out
    assert len(caught) == 1


def test_colours_are_asked_for(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "\033[1mmine:io\033[0m is" in check(capsys, "mine:io", "--color")[1]
    sys.modules.pop("mine")
    assert "\033" not in check(capsys, "mine:io")[1]
