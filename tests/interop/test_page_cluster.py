"""The chat's page in real browser windows, through the balancer of `shoal up`: what a newcomer sees."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Browser
from tests.interop.browser import Window, Windows, chromium, window, windows
from tests.ports import free_ports
from tests.requirements import need
from tests.servers import ServerProcess, tracebacks

__all__ = ["chromium", "window"]  # fixtures

HELLO = "Hello! I'm client"
ENOUGH_WINDOWS = 8  # a round-robin balancer that also answers the pages' other requests has dealt two servers by then


class Cluster(ServerProcess):
    """`shoal up` as a real process."""

    def __init__(self, *arguments: str) -> None:
        port, *ports = free_ports(5)
        self.nodes = sorted(map(str, ports))
        argv = [sys.executable, "-m", "shoal", "up", "--ports", ",".join(self.nodes), "--port", str(port), *arguments]
        super().__init__(argv, port)

    def tells(self, line: str) -> bool:
        """Whether one of its processes has said exactly this."""
        return any(each.partition("| ")[2].rstrip() == line for each in self.log().splitlines())

    def kill_server(self, node: str) -> None:
        """End one server as a crash would."""
        for child in psutil.Process(self.pid).children(recursive=True):
            if any(each.status == "LISTEN" and each.laddr.port == int(node) for each in child.net_connections("inet")):
                child.kill()
                return
        raise LookupError(f"nobody listens on {node}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as up:
        yield up


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Cluster]:
    up = Cluster(*arguments)
    try:
        up.wait_until_up()
        wait_for_every_server(up)
        yield up
        log = up.log()
        up.stop()
        assert not tracebacks(log), log
    finally:
        up.close()


def wait_for_every_server(up: Cluster) -> None:
    deadline = time.monotonic() + 30.0
    while not all(up.tells(f"{node} is listening on port: {node}") for node in up.nodes):
        assert up.alive, up.log()
        assert time.monotonic() < deadline, up.log()
        time.sleep(0.05)


def node_of(window: Window) -> str:
    """The server that this window's page says it is connected to."""
    return window.page.locator("#state[data-state=connected]").inner_text().removeprefix("connected to ")


def on_two_servers(cluster: Cluster, window: Windows) -> tuple[Window, Window]:
    """Two windows that the balancer has given different servers."""
    first = window(cluster.url)
    for _ in range(ENOUGH_WINDOWS):
        other = window(cluster.url)
        if node_of(other) != node_of(first):
            return first, other
        other.page.close()
    pytest.fail(f"every window came to server {node_of(first)}")


@pytest.fixture(scope="module")
def pair(cluster: Cluster, chromium: Browser) -> Iterator[tuple[Window, Window]]:
    """Two windows on different servers, for tests that leave them connected."""
    with windows(chromium) as opener:
        yield on_two_servers(cluster, opener)


def test_a_message_crosses_servers_and_carries_the_name_of_its_senders_server(
    cluster: Cluster, pair: tuple[Window, Window]
) -> None:
    one, two = pair
    for sender in pair:
        sender.run("""ws.emit('chat', "Hello! I'm client")""")
        expected = f"{node_of(sender)}: {HELLO}"
        for each in (one, two):
            each.prints(expected)
            assert each.console.count(expected) == 1
    assert one.errors == two.errors == []
    assert one.console == two.console
    for line in (
        "new connection was made server {}",
        "Server {} join successfully to chat room!",
        "server {} received a message",
    ):
        for each in (one, two):
            assert cluster.tells(line.format(node_of(each))), cluster.log()


def test_what_is_typed_in_one_window_is_shown_in_the_other_with_the_colour_of_its_server(
    pair: tuple[Window, Window],
) -> None:
    one, two = pair
    one.page.get_by_label("Message", exact=True).fill("across the broker")
    one.page.get_by_role("button", name="Send").click()
    for each in (one, two):
        message = each.page.locator(".message", has_text="across the broker")
        message.wait_for()
        assert message.locator(".badge").inner_text() == node_of(one)
        card = each.page.locator(f".server[data-node='{node_of(one)}']")
        assert card.get_attribute("data-colour") == message.get_attribute("data-colour")


def test_the_page_shows_every_server_and_the_clients_of_each(cluster: Cluster, pair: tuple[Window, Window]) -> None:
    nodes = [node_of(each) for each in pair]
    expected = {node: f"{nodes.count(node)} client{'' if nodes.count(node) == 1 else 's'}" for node in cluster.nodes}
    for each in pair:
        each.until(lambda each=each: counts(each) == expected, f"expected {expected}, found {counts(each)}")
        assert each.page.locator(".server.here").get_attribute("data-node") == node_of(each)


def counts(window: Window) -> dict[str, str]:
    return dict(
        window.run(
            "[...document.querySelectorAll('.server')].map(each =>"
            " [each.dataset.node, each.querySelector('.count').textContent])"
        )
    )


def test_a_window_whose_server_dies_goes_on_with_another(cluster: Cluster, window: Windows) -> None:
    one, two = on_two_servers(cluster, window)
    one.run("void ws.emit('chat', 'before')")
    one.page.get_by_text("before", exact=True).wait_for()
    cluster.kill_server(node_of(one))
    one.page.wait_for_selector("#state:not([data-state=connected])")
    one.page.wait_for_selector("#state[data-state=connected]")
    one.run("void ws.emit('chat', 'I am back')")
    two.prints(f"{node_of(one)}: I am back")
    one.page.get_by_text(f"back, now on server {node_of(one)}").wait_for()


@pytest.mark.parametrize("balancer", ["haproxy", "nginx"])
def test_windows_come_to_the_servers_by_turns(balancer: str, window: Windows) -> None:
    """Each next window is on the next server, and the fifth where the first is, though each asks for files too; all of
    them upgrade."""
    need(balancer)
    with running("--balancer", balancer) as up:
        opened = [window(up.url) for _ in range(5)]
        first = up.nodes.index(node_of(opened[0]))
        assert [node_of(each) for each in opened] == [up.nodes[(first + turn) % 4] for turn in range(5)]
        for each in opened:
            each.until(lambda each=each: each.run(TRANSPORT) == "websocket", "the connection was never upgraded")
            assert each.errors == []


TRANSPORT = "ws.io.engine.transport.name"


def test_a_balancer_that_reads_no_session_ids(window: Windows) -> None:
    """The kernel deals out connections: pages begin with polling, upgrade, and hear each other all the same."""
    with running("--balancer", "kernel") as up:
        one, two = window(up.url), window(up.url)
        one.run("void ws.emit('chat', 'hello')")
        for each in (one, two):
            each.prints(f"{node_of(one)}: hello")
            each.page.wait_for_function(f"{TRANSPORT} === 'websocket'")
            assert each.errors == []
