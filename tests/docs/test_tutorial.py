"""Each chapter of the tutorial, played in Chromium with its own page and the official client."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.brokers import Broker
from tests.docs.running import EXAMPLES, example, shows
from tests.docs.snippets import ROOT
from tests.interop.browser import Window, Windows, chromium, window
from tests.requirements import need
from tests.servers import ServerProcess

__all__ = ["chromium", "window"]  # fixtures

CHAPTERS = sorted(path for path in (EXAMPLES / "tutorial").iterdir() if path.is_dir())


def say(one: Window, text: str) -> None:
    one.page.get_by_label("Message").fill(text)
    one.page.keyboard.press("Enter")


def log_in(one: Window, name: str, password: str) -> None:
    one.page.get_by_label("Name").fill(name)
    one.page.get_by_label("Password").fill(password)
    one.page.keyboard.press("Enter")


def log_of(one: Window) -> list[str]:
    return one.page.locator("#log li").all_inner_texts()


def test_1_both_windows_hear_what_one_says(window: Windows) -> None:
    with example("tutorial/01_hello") as server:
        anna, berta = window(server.url, connected=False), window(server.url, connected=False)
        for each in (anna, berta):
            shows(each, "#log", "Welcome!")
        say(anna, "hello")
        for each in (anna, berta):
            shows(each, "#log", "hello")
        assert anna.errors == berta.errors == []


def test_2_a_room_hears_its_own_messages_only(window: Windows) -> None:
    with example("tutorial/02_rooms") as server:
        anna, berta = window(server.url, connected=False), window(server.url, connected=False)
        for each in (anna, berta):
            shows(each, "#log", "You are in the lobby.")
        berta.page.get_by_label("Room").select_option("garden")
        shows(berta, "#log", "You are in the garden.")
        say(anna, "for the lobby")
        shows(anna, "#log", "for the lobby")
        say(berta, "for the garden")
        shows(berta, "#log", "for the garden")
        assert "for the lobby" not in log_of(berta)
        assert "for the garden" not in log_of(anna)


def test_3_the_server_answers_and_says_what_is_wrong(window: Windows) -> None:
    with example("tutorial/03_acks") as server:
        anna = window(server.url, connected=False)
        anna.until(lambda: anna.run("socket.connected"), "it never connected")
        say(anna, "")
        shows(anna, "#state", "length >= 1")
        say(anna, "hello")
        shows(anna, "#log", "hello")
        anna.until(lambda: anna.page.locator("#state").inner_text() == "", "the error stayed")
        assert anna.run("socket.emitWithAck('enter', 'attic')") == {"error": "there is no room attic"}


def test_4_nobody_comes_in_without_a_login(window: Windows) -> None:
    with example("tutorial/04_login") as server:
        anna = window(server.url, connected=False)
        anna.run("void socket.connect()")
        shows(anna, "#state", "log in first")
        log_in(anna, "anna", "wrong")
        shows(anna, "#state", "wrong name or password")
        log_in(anna, "anna", "apple")
        anna.page.locator("#chat").wait_for()
        say(anna, "hello")
        shows(anna, "#log", "anna: hello")


def test_5_the_page_shows_who_is_in_the_room(window: Windows) -> None:
    with example("tutorial/05_presence") as server:
        anna, berta = window(server.url, connected=False), window(server.url, connected=False)
        log_in(anna, "anna", "apple")
        log_in(berta, "berta", "banana")
        shows(anna, "#members", "anna, berta")
        berta.page.get_by_label("Room").select_option("kitchen")
        anna.until(lambda: anna.page.locator("#members").inner_text() == "anna", "berta stayed")
        assert berta.page.locator("#members").inner_text() == "berta"


def test_6_the_chapters_tests_pass() -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "-c", os.devnull, "."]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES / "tutorial" / "05_presence")}
    folder = EXAMPLES / "tutorial" / "06_test"
    result = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


def test_7_two_servers_are_one_chat_and_a_client_comes_back(broker: Broker, window: Windows) -> None:
    """What was said while a client was away is shown when it is back, in its old room."""
    url = broker.url.replace("redis:", "redis+streams:")
    with contextlib.ExitStack() as stack:
        servers: list[ServerProcess] = [
            stack.enter_context(example("tutorial/07_two_servers", SHOAL_NODE=name, SHOAL_BROKER=url))
            for name in ("one", "two")
        ]
        anna, berta = [window(server.url, connected=False) for server in servers]
        log_in(anna, "anna", "apple")
        log_in(berta, "berta", "banana")
        for each, name in ((anna, "one"), (berta, "two")):
            shows(each, "#server", name)
            shows(each, "#members", "anna, berta")
        say(anna, "across")
        shows(berta, "#log", "anna: across")
        berta.run("void socket.io.engine.close()")  # as if the network had gone
        say(anna, "while you were away")
        shows(berta, "#log", "anna: while you were away")
        assert berta.run("socket.recovered") is True
        assert "berta left." not in log_of(berta)
        shows(anna, "#log", "berta is back.")
        anna.until(lambda: anna.page.locator("#members").inner_text() == "anna, berta", "berta is no member")


def test_8_compose_takes_the_file_and_nginx_its_configuration() -> None:
    folder = EXAMPLES / "tutorial" / "08_deploy"
    argv = [need("docker-compose"), "-f", "compose.yaml", "config"]
    environment = {**os.environ, "CHAT_SECRET": "x" * 32}
    result = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    shoal = [sys.executable, "-m", "shoal", "balancer", "nginx", "--servers", "one=chat1:1111,two=chat2:1111"]
    assert (folder / "nginx.conf").read_text() == subprocess.run(
        shoal, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name)
def test_every_chapter_has_its_page_which_shows_its_code(chapter: os.PathLike[str]) -> None:
    name = os.path.basename(chapter)
    page = (ROOT / "docs" / "tutorial" / f"{name}.md").read_text(encoding="utf-8")
    assert re.search(rf"\{{literalinclude\}} \.\./\.\./examples/tutorial/{name}/", page)
