"""The picture on the demo's page: who is where, the way of a message at measured times, a server that is killed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from tests.interop.browser import DESKTOP, PHONE, Window, Windows, chromium, window
from tests.interop.test_page import FAINT_TEXTS
from tests.interop.test_page_cluster import Cluster, counts, node_of, running
from tests.ports import free_port
from tests.requirements import need
from tests.servers import ServerProcess

__all__ = ["chromium", "window"]  # fixtures

CROWD = 20
STOPPED = 0.4  # seconds


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Four servers whose broker keeps what is said."""
    need("haproxy")
    with running("--balancer", "haproxy", "--broker-mode", "streams") as up:
        yield up


def dots(window: Window) -> dict[str, int]:
    """How many clients are drawn at each server; those without one at ""."""
    return dict(window.run(DOTS))


DOTS = """() => {
  const drawn = new Map([...document.querySelectorAll(".server")].map((each) => [each.dataset.node, 0]));
  for (const dot of document.querySelectorAll("#fishes .dot:not(.hidden)")) {
    drawn.set(dot.dataset.node, (drawn.get(dot.dataset.node) ?? 0) + 1);
  }
  return [...drawn];
}"""


def add_crowd(window: Window, nodes: list[str]) -> None:
    """Press the button for 20 more clients, and wait until the servers have told of all of them."""
    window.page.get_by_role("button", name="Add 20 clients").click()
    window.until(lambda: sum(dots(window).get(node, 0) for node in nodes) > CROWD, f"not there: {dots(window)}")


def took(window: Window) -> dict[str, str]:
    """The times that stand at the servers."""
    return dict(
        window.run(
            "[...document.querySelectorAll('.server')].map(each => [each.dataset.node,"
            " each.querySelector('.took').textContent])"
        )
    )


def watch_drawings(window: Window) -> None:
    """Note each message that is drawn from now on, as "from>to"."""
    window.run("""void (window.drawn = [], new MutationObserver((all) => all.forEach((each) => each.addedNodes.forEach(
        (node) => node.dataset.to && window.drawn.push(`${node.dataset.from}>${node.dataset.to}`)
    ))).observe(document.getElementById("ways"), { childList: true }))""")


def test_every_client_is_a_dot_at_its_server(cluster: Cluster, window: Windows) -> None:
    """As many as the servers count, whether they are this page's or another window's, and they leave again."""
    one, two = window(cluster.url), window(cluster.url)
    add_crowd(one, cluster.nodes)
    for each in (one, two):
        each.until(lambda each=each: sum(dots(each).values()) == CROWD + 2, f"drawn: {dots(each)}")
        each.until(
            lambda each=each: {node: int(text.split()[0]) for node, text in counts(each).items()} == dots(each),
            f"drawn: {dots(each)}, counted: {counts(each)}",
        )
        assert sorted(dots(each)) == cluster.nodes
        assert each.page.locator("#fishes .you").get_attribute("data-node") == node_of(each)
    assert one.page.locator("#fishes .own").count() == CROWD + 1
    assert two.page.locator("#fishes .own").count() == 1
    one.page.get_by_role("button", name="Remove").click()
    for each in (one, two):
        each.until(lambda each=each: sum(dots(each).values()) == 2, f"still there: {dots(each)}")
        assert each.errors == []
    assert one.console == two.console == ["ws connected"]


def test_the_way_of_a_message_is_drawn_and_timed(cluster: Cluster, window: Windows) -> None:
    """From its sender to its server, from there to the broker, and from there to each other server."""
    one, two = window(cluster.url), window(cluster.url)
    for each in (one, two):
        each.until(lambda each=each: len(counts(each)) == 4, "a server is missing")
        watch_drawings(each)
    one.run("""ws.emit('chat', "Hello! I'm client")""")
    here = node_of(one)
    others = [node for node in cluster.nodes if node != here]
    sender = one.page.locator("#fishes .you").get_attribute("data-dot")
    for each in (one, two):
        each.until(lambda each=each: all(took(each).values()), f"times are missing: {took(each)}")
        assert all(re.fullmatch(r"\+\d+(\.\d)? ms", took(each)[node]) for node in others), took(each)
    assert re.fullmatch(r"\d+(\.\d)? ms", took(one)[here])  # how long it took to get there, as this page knows
    # The way to its server is drawn where it was measured: on the sender's page.
    for each, first in ((one, [f"{sender}>{here}"]), (two, [])):
        expected = sorted([*first, f"{here}>broker", *(f"broker>{node}" for node in others)])
        each.until(lambda each=each: len(each.run("drawn")) >= 4, "nothing was drawn")
        assert sorted(each.run("drawn")) == expected
        assert re.search(r"through the broker to the other 3 servers in .* ms", reading(each)), reading(each)
    assert one.errors == two.errors == []


def reading(window: Window) -> str:
    return str(window.page.locator("#reading").inner_text())


def test_the_times_are_those_that_it_took(cluster: Cluster, window: Windows) -> None:
    """With a broker that stands still for a while every other server is that much later."""
    one = window(cluster.url)
    one.until(lambda: len(counts(one)) == 4, "a server is missing")
    broker = next(
        each for each in psutil.Process(cluster.pid).children() if re.search("redis|valkey", " ".join(each.cmdline()))
    )
    began = time.monotonic()
    broker.suspend()
    try:
        one.run("void ws.emit('chat', 'slowly')")
        one.page.wait_for_timeout(STOPPED * 1000)
    finally:
        broker.resume()
        most = time.monotonic() - began
    here = node_of(one)
    one.until(lambda: all(took(one).values()), f"times are missing: {took(one)}")
    for node, text in took(one).items():
        if node != here:
            assert STOPPED * 900 < float(text.removesuffix(" ms")) < most * 1000 + 1000, took(one)


def test_clients_of_a_killed_server_go_to_the_others_and_miss_nothing(cluster: Cluster, window: Windows) -> None:
    """Killed with the button while they talk: all are drawn elsewhere, get all once, and the server comes back."""
    one = window(cluster.url)
    add_crowd(one, cluster.nodes)
    victim = max((node for node in cluster.nodes if node != node_of(one)), key=lambda node: dots(one)[node])
    one.page.get_by_role("button", name="Let them talk").click()
    one.until(lambda: proof(one)["messages"] >= 2, "nobody talks")
    one.page.get_by_role("button", name=f"Kill server {victim}").click()
    card = one.page.locator(f".server[data-node='{victim}']")
    one.page.locator(f".server.down[data-node='{victim}']").wait_for()
    assert "down" in card.inner_text()
    assert one.page.get_by_role("status").all_inner_texts()[-1] == f"Server {victim} is down."
    one.until(lambda: dots(one)[victim] == 0 and sum(dots(one).values()) == CROWD + 1, f"lost: {dots(one)}")
    one.until(lambda: not dots(one).get(""), f"still without a server: {dots(one)}")
    one.page.locator(".note", has_text=re.compile("back, with the .*message.* that they missed")).wait_for()
    one.page.get_by_text(f"server {victim} is back", exact=True).wait_for()
    one.page.locator(f".server:not(.down)[data-node='{victim}']").wait_for()
    one.page.get_by_role("button", name="Let them talk").click()
    one.until(lambda: proof(one)["had"] == proof(one)["expected"], f"something is missing: {proof(one)}")
    found = proof(one)
    assert found["twice"] == 0
    assert found["messages"] >= 5
    assert found["expected"] == found["messages"] * (CROWD + 1)
    assert one.errors == []


def proof(window: Window) -> dict[str, int]:
    data = window.run("({...document.getElementById('proof').dataset})")
    return {name: int(data.get(name, 0)) for name in ("messages", "expected", "had", "twice")}


def test_a_page_may_kill_its_own_server_with_the_keyboard_and_goes_on_with_another(
    cluster: Cluster, window: Windows
) -> None:
    one, two = window(cluster.url), window(cluster.url)
    one.page.get_by_role("button", name=f"Kill server {node_of(one)}").wait_for()
    one.until(lambda: one.page.locator(".kill").count() == 4, "a button is missing")
    reached: list[str] = []
    while f"Kill server {node_of(one)}" not in reached:
        one.page.keyboard.press("Tab")
        reached.append(one.run("document.activeElement.ariaLabel"))
        assert len(reached) < 10, reached
    assert one.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    before = node_of(one)
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("#state:not([data-state=connected])")
    two.page.wait_for_selector("#state[data-state=connected]")  # it may have had the same one
    two.run("text => void ws.emit('chat', text)", said := "said while that one was away, or soon after")
    one.page.wait_for_selector("#state[data-state=connected]")
    assert node_of(one) != before
    one.page.get_by_text(f"lost server {before}: reconnecting").wait_for()  # though nobody had said anything
    one.page.get_by_text(f"back, now on server {node_of(one)}, with ").wait_for()
    one.page.locator(".bubble p", has_text=said).wait_for()
    assert one.run("document.activeElement.ariaLabel") == f"Kill server {before}"
    assert one.errors == []


def test_who_wants_no_motion_gets_the_times_and_nothing_that_moves(cluster: Cluster, window: Windows) -> None:
    one = window(cluster.url, reduced_motion="reduce")
    one.until(lambda: len(counts(one)) >= 3, "a server is missing")
    watch_drawings(one)
    one.run("void ws.emit('chat', 'calmly')")
    one.until(lambda: sum(map(bool, took(one).values())) >= 3, f"times are missing: {took(one)}")
    assert one.run("drawn") == []
    assert one.run("document.getAnimations().length") == 0
    assert "through the broker" in reading(one)
    assert "slower" not in reading(one)
    assert one.page.locator(".server.lit").count() >= 3


@pytest.fixture(scope="module")
def alone() -> Iterator[ServerProcess]:
    """One server whose page has the buttons, though nobody is there to do what they say."""
    port = free_port()
    argv = [sys.executable, "-m", "shoal", "serve", "shoal.demo:app", "--port", str(port)]
    server = ServerProcess(argv, port, {"SHOAL_NODE": "1111", "SHOAL_DEMO_CONTROL": f"local:1:{'x' * 32}"})
    try:
        server.wait_until_up()
        yield server
        server.stop()
    finally:
        server.close()


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_one_to_eight_servers_have_room_without_overlaps(alone: ServerProcess, window: Windows, device: str) -> None:
    """The others are reports that the page is given: of 7 clients each, but 5,000 of one."""
    one = window(alone.url, **(PHONE if device == "phone" else DESKTOP))
    one.page.get_by_role("button", name="Kill server 1111").wait_for()
    for count in (1, 2, 3, 4, 5, 8):
        one.run(REPORT, count)
        assert one.page.locator(".server .kill").count() == count
        one.until(lambda count=count: drawn_still(one) == count, f"{count} servers: {drawn_still(one)}")
    assert "+4" in one.page.locator(".server[data-node='2222']").inner_text()  # of 5,000, most are a number
    assert one.run(FAINT_TEXTS) == []
    assert one.run("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert one.run("document.documentElement.scrollHeight <= innerHeight"), "the input is below the screen"
    assert one.errors == []


def drawn_still(window: Window) -> int | list[str]:
    """How many servers have their clients in their pools, or what overlaps."""
    window.run("document.getAnimations().forEach(each => each.finish())")
    found: int | list[str] = window.run(OVERLAPS)
    return found


def test_a_kill_that_nobody_hears_is_complained_of(alone: ServerProcess, window: Windows) -> None:
    one = window(alone.url)
    one.page.get_by_role("button", name="Kill server 1111").click()
    one.page.get_by_role("alert").get_by_text("Server 1111 was not killed: nobody is there to kill it.").wait_for()
    assert node_of(one) == "1111"


REPORT = """(count) => {
  const [tell] = ws.listeners("presence");
  const dots = (node) => Array.from({ length: 7 }, (_, index) => `${node}-${index}`);
  for (let number = 2; number <= count; number += 1) {
    const node = String(1111 * number);
    tell({ node, clients: number === 2 ? 5000 : 7, dots: dots(node), every: 3600 });
  }
}"""

# What must not touch what; and each fish must be in its pool. A pixel is for rounding.
OVERLAPS = """() => {
  const named = (selector, inside = document) => [...inside.querySelectorAll(selector)]
    .filter((each) => each.checkVisibility())
    .map((each) => [each.textContent || selector, each.getBoundingClientRect()]);
  const touch = (one, other) => one.left < other.right - 1 && other.left < one.right - 1
    && one.top < other.bottom - 1 && other.top < one.bottom - 1;
  const found = [];
  const apart = (all) => all.forEach(([name, box], index) => {
    if (!box.width || !box.height) found.push(`${name} has no room`);
    for (const [other, its] of all.slice(index + 1)) if (touch(box, its)) found.push(`${name} and ${other}`);
  });
  apart(["#door", "#broker", ".card", ".tools", ".reading", "main"].flatMap((each) => named(each)));
  document.querySelectorAll(".took").forEach((each) => { each.textContent = "+12.3 ms"; });
  apart(["#broker", ".card", ".took"].flatMap((each) => named(each)));
  apart([...named("#door"), ...named(".you-are-here"), ...named("#broker"), ...named(".tools > *")]);
  for (const card of document.querySelectorAll(".card")) {
    apart([...named(".name", card), ...named(".count", card), ...named(".kill", card), ...named(".pool", card)]);
    const pool = card.querySelector(".pool").getBoundingClientRect();
    const { node } = card.parentNode.dataset;
    const shoal = [...document.querySelectorAll(`#fishes .dot[data-node="${node}"]:not(.hidden) use`)];
    if (!shoal.length) found.push(`nobody at ${node}`);
    for (const fish of shoal) {
      const box = fish.getBoundingClientRect();
      const across = box.left > pool.left - 3 && box.right < pool.right + 3;
      if (!across || box.top < pool.top - 3 || box.bottom > pool.bottom + 3) found.push(`a fish outside ${node}`);
    }
  }
  return found.length ? found : document.querySelectorAll(".card").length;
}"""
