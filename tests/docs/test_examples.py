"""Each example, played in Chromium with its own page and the official client."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import celery
import pytest
from tests.brokers import Broker
from tests.docs.running import EXAMPLES, example, shows
from tests.interop.browser import Window, Windows, chromium, window
from tests.servers import die_with_parent

__all__ = ["chromium", "window"]  # fixtures

FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/app.py"))


def say(one: Window, text: str) -> None:
    one.page.get_by_label("Message").fill(text)
    one.page.keyboard.press("Enter")


def test_the_chat_has_login_and_rooms(window: Windows) -> None:
    with example("fastapi_chat") as server:
        anna, berta = [window(f"{server.url}/?room={room}", connected=False) for room in ("garden", "garden")]
        carla = window(f"{server.url}/?room=attic", connected=False)
        anna.run("void socket.connect()")
        shows(anna, "#state", "log in first")
        for each, name in ((anna, "anna"), (berta, "berta"), (carla, "carla")):
            each.page.get_by_label("Name").fill(name)
            each.page.get_by_label("Password").fill("open sesame")
            each.page.keyboard.press("Enter")
            shows(each, "#members", name)
        shows(berta, "#members", "anna, berta")
        say(anna, "hello")
        shows(berta, "#log", "anna: hello")
        assert carla.page.locator("#log li").count() == 0
        answer = anna.run("socket.emitWithAck('say', {room: 'attic', text: 'x'})")
        assert answer == {"error": "you are not in attic"}
        berta.page.close()
        shows(anna, "#log", "berta left")


def test_tokens_are_stopped_and_go_on_after_a_lost_connection(window: Windows) -> None:
    with example("llm_tokens") as server:
        anna = window(server.url, connected=False)
        shows(anna, "#state", "connected")
        anna.page.get_by_role("button", name="Ask").click()
        shows(anna, "#text", "(1)")
        anna.run("void socket.io.engine.close()")
        shows(anna, "#state", "away")
        shows(anna, "#state", "back")
        shows(anna, "#text", "(4)")
        later = window(server.url, connected=False)
        shows(later, "#text", "(4)")
        anna.page.get_by_role("button", name="Stop").click()
        for each in (anna, later):
            shows(each, "#state", "stopped")
        text = anna.page.locator("#text").inner_text()
        assert later.page.locator("#text").inner_text() == text
        assert re.sub(r"\(\d+\)", "#", text).startswith("to be or not to be # to be or not to be # to be or not")
        assert re.findall(r"\((\d+)\)", text)[:4] == ["1", "2", "3", "4"]


def test_a_django_signal_notifies_its_customer_alone(window: Windows, tmp_path: Path) -> None:
    with example("django_notifications", DATABASE=str(tmp_path / "db.sqlite3")) as server:
        anna, anna_too, berta = [window(server.url, connected=False) for _ in range(3)]
        anna.run("void socket.connect()")
        shows(anna, "#state", "log in first")
        for each, name in ((anna, "anna"), (anna_too, "anna"), (berta, "berta")):
            each.page.get_by_label("Name").fill(name)
            each.page.keyboard.press("Enter")
            shows(each, "#state", "connected")
        anna.page.get_by_label("Item").fill("tea")
        anna.page.keyboard.press("Enter")
        for each in (anna, anna_too):
            shows(each, "#log", "ordered: tea")
        assert berta.page.locator("#log li").count() == 0
        assert anna.run("socket.emitWithAck('orders')") == ["tea"]


def test_the_dashboard_moves(window: Windows) -> None:
    with example("dashboard") as server:
        anna, berta = window(server.url, connected=False), window(server.url, connected=False)
        for each in (anna, berta):
            shows(each, "#clients", "2")
            each.until(lambda each=each: int(each.page.locator("#updates").inner_text()) > 5, "too few updates")
            assert each.page.locator("#line").get_attribute("points")
            assert each.errors == []


def test_a_stroke_is_drawn_on_all_boards_in_its_order(window: Windows) -> None:
    with example("whiteboard") as server:
        anna, berta = window(server.url, connected=False), window(server.url, connected=False)
        for each in (anna, berta):
            shows(each, "#state", "connected")
        anna.page.mouse.move(20, 20)
        anna.page.mouse.down()
        for step in range(1, 30):
            anna.page.mouse.move(20 + 5 * step, 20 + 3 * step)
        anna.page.mouse.up()
        berta.until(lambda: berta.run("strokes.length") >= 29, "the stroke did not arrive")
        anna.until(lambda: anna.run("strokes.length") == berta.run("strokes.length"), "the boards differ")
        assert berta.run("strokes") == anna.run("strokes")
        assert [stroke[0] for stroke in berta.run("strokes")] == sorted(stroke[0] for stroke in berta.run("strokes"))
        later = window(server.url, connected=False)
        later.until(lambda: later.run("strokes.length") == anna.run("strokes.length"), "the past is missing")
        bad = anna.run("socket.emitWithAck('draw', [[1, 2, 'x', 4]])")
        assert "error" in bad


def test_a_private_message_reaches_all_windows_of_two_people(window: Windows) -> None:
    with example("private_messages") as server:
        windows = []
        for name in ("anna", "berta", "berta", "carla"):
            windows.append(window(server.url, connected=False))
            windows[-1].page.get_by_label("Name").fill(name)
            windows[-1].page.keyboard.press("Enter")
            windows[-1].page.locator("#form").wait_for()
        anna, berta, berta_too, carla = windows
        anna.page.get_by_label("To").select_option("berta")
        say(anna, "psst")
        for each in (anna, berta, berta_too):
            shows(each, "#log", "anna to berta: psst")
        assert carla.page.locator("#log li").count() == 0
        berta.run("void socket.disconnect()")
        assert anna.page.locator("#to option").all_inner_texts() == ["berta", "carla"]
        berta_too.run("void socket.disconnect()")
        anna.until(lambda: anna.page.locator("#to option").all_inner_texts() == ["carla"], "berta is still there")


@contextlib.contextmanager
def worker(redis: str) -> Iterator[subprocess.Popen[str]]:
    """A Celery worker of the example, with a pool that forks, as its README starts it."""
    argv = [sys.executable, "-m", "celery", "--app", "tasks", "worker", "--concurrency", "1", "--loglevel", "WARNING"]
    process = subprocess.Popen(
        argv,
        cwd=EXAMPLES / "celery_progress",
        env={**os.environ, "REDIS": redis},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        yield process
        process.terminate()
        process.communicate(timeout=20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_progress_of_a_celery_task_is_seen_by_all_who_watch(window: Windows) -> None:
    """With a real worker: as it goes on, in a window that comes later, after a reload, and when it fails."""
    with Broker() as broker, example("celery_progress", REDIS=broker.url) as server, worker(broker.url) as work:
        anna = window(server.url, connected=False)
        anna.page.get_by_label("Pictures").fill("12")
        anna.page.keyboard.press("Enter")
        shows(anna, "#state", "1 of 12")
        os.killpg(work.pid, signal.SIGSTOP)  # until others have come, however slow the machine is
        berta = window(anna.page.url, connected=False)
        anna.page.reload()
        for each in (anna, berta):
            shows(each, "#state", " of 12")
        os.killpg(work.pid, signal.SIGCONT)
        for each in (anna, berta):
            shows(each, "#state", "done: 12 pictures")
            assert each.run("bar.value === bar.max && bar.max === 12")
        shows(window(anna.page.url, connected=False), "#state", "done: 12 pictures")
        assert anna.run("socket.emitWithAck('start', 1000)") == {"error": "1 to 100 pictures, please"}

        later = window(f"{server.url}/#unlucky", connected=False)
        later.until(lambda: later.run("socket.emitWithAck('watch', 'unlucky')") == {}, "nobody answered")
        celery.Celery(broker=broker.url).send_task("tasks.resize", args=["many"], task_id="unlucky")
        shows(later, "#state", "failed: can only concatenate")
        assert later.errors == anna.errors == berta.errors == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_an_example_is_explained_in_few_lines_and_started_with_one(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 16
    assert text.count("\nshoal serve ") == 1
    assert f"tests/docs/{Path(__file__).name}" in text
