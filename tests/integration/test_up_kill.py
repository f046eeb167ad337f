"""Killing a server of `shoal up`: a key in its terminal does it, and so does the page's request; nothing else does."""

from __future__ import annotations

import http.client
import json
import os
import pty
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster_process import START, Up, is_alive, until
from tests.requirements import need

BACK = "it comes back in 4 s"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    need("redis-server", "valkey-server")
    need("haproxy")
    up = Up(tmp_path_factory.mktemp("up"), 2, "--balancer", "haproxy")
    try:
        yield up.wait_until_up()
        assert up.stop() == 0
        assert up.err.read_text() == ""
    finally:
        up.kill()


def ask(up: Up, node: object, method: str = "POST", **headers: str | None) -> tuple[int, dict[str, object]]:
    """Ask as the page does, with some headers otherwise; None leaves one out."""
    site = f"127.0.0.1:{up.port}"
    wanted = {"Host": site, "Origin": f"http://{site}", "X-Shoal-Page": "1"}
    wanted |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=10)
    try:
        connection.putrequest(method, f"/controls/kill/{node}", skip_host=True)
        for name, value in wanted.items():
            if value is not None:
                connection.putheader(name, value)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        assert "access-control-allow-origin" not in answer.headers
        body = answer.read()
        return answer.status, json.loads(body) if body else {}
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        ({"Origin": "http://evil.example"}, "POST", 403),
        ({"Origin": None}, "POST", 403),
        ({"Origin": "http://evil.example", "Host": "evil.example"}, "POST", 403),  # its name points to 127.0.0.1
        ({"X_Shoal_Page": None}, "POST", 403),
        ({"X_Forwarded_For": "192.0.2.7"}, "POST", 403),
        ({}, "GET", 405),
        ({}, "OPTIONS", 405),  # what a browser asks before another site may send the header
    ],
)
def test_a_request_that_is_not_the_pages_kills_nobody(
    cluster: Up, headers: dict[str, str | None], method: str, status: int
) -> None:
    pids = [cluster.server(port).pid for port in cluster.ports]
    assert ask(cluster, cluster.ports[0], method, **headers)[0] == status
    assert [cluster.server(port).pid for port in cluster.ports] == pids
    assert BACK not in cluster.log


@pytest.mark.parametrize("node", ["9999", "broker", "haproxy", "up", "", "..", "1111%0akill%202222", "%00", "x" * 300])
def test_a_name_that_is_no_servers_kills_nobody(cluster: Up, node: str) -> None:
    assert ask(cluster, node) == (404, {"ok": False, "error": "there is no such server"})
    assert cluster.broker.is_running()
    assert BACK not in cluster.log


def test_the_port_that_servers_ask_at_wants_their_secret(cluster: Up) -> None:
    setting = cluster.server(cluster.ports[0]).environ()["SHOAL_DEMO_CONTROL"]
    who, port, secret = setting.split(":")
    assert who == "local"
    for words, answer in [
        (f"{secret[:-1]}x kill {cluster.ports[0]}", b"refused\n"),
        (f"kill {cluster.ports[0]}", b"refused\n"),
        ("", b"refused\n"),
        (f"{secret} stop {cluster.ports[0]}", b"unknown\n"),
        (f"{secret} kill", b"unknown\n"),
        (f"{secret} kill {'1' * 9000}", b""),
    ]:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as asking:
            asking.sendall(f"{words}\n".encode())
            assert asking.makefile("rb").readline() == answer
    assert secret not in cluster.log
    assert all(secret not in " ".join(process.cmdline()) for process in cluster.family if is_alive(process))
    assert BACK not in cluster.log


def test_the_page_is_told_that_it_may(cluster: Up) -> None:
    assert json.loads(cluster.get("/controls")[1]) == {"kill": True}


def test_a_server_that_the_page_kills_is_dead_and_can_be_killed_once(cluster: Up) -> None:
    """That it comes back shows on the page. The last test with this cluster: those before need both servers."""
    victim = cluster.ports[0]
    process = cluster.server(victim)
    assert ask(cluster, victim) == (200, {"ok": True})
    assert ask(cluster, victim)[0] == 409
    cluster.wait_for("up", f"the page kills {victim}; {BACK}")
    until(lambda: not is_alive(process), 5, "it is dead")
    assert f"{victim} died" not in cluster.log


def test_a_key_in_the_terminal_kills_a_server_and_ctrl_c_ends_it_all(tmp_path: Path) -> None:
    """The page may not here, and says so. The terminal is left as it was."""
    need("redis-server", "valkey-server")
    master, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    up = Up(tmp_path, 2, "--balancer", "kernel", "--no-kill-button", terminal=terminal)
    try:
        up.wait_until_up()
        one, two = up.ports
        assert f"  kill      keys 1 for {one}, 2 for {two}" in up.lines("up")
        first, second = up.server(one), up.server(two)
        assert json.loads(up.get("/controls")[1]) == {"kill": False}
        assert ask(up, one)[0] == 403
        os.write(master, b"x3\x1b[A")  # no key of ours, no such server, an arrow
        os.write(master, b"?")
        up.wait_for("up", f"keys 1 for {one}, 2 for {two}")
        os.write(master, b"2")
        up.wait_for("up", f"key 2 kills {two}; {BACK}")
        until(lambda: not is_alive(second), 5, "it is dead")
        os.write(master, b"2")
        up.wait_for("up", f"key 2: {two} is down already")
        assert is_alive(first)
        assert not termios.tcgetattr(terminal)[3] & termios.ECHO
        os.write(master, b"\x03")
        assert up.process.wait(START) == 0
        up.assert_nothing_left()
        assert termios.tcgetattr(terminal) == before
        assert up.err.read_text() == ""
    finally:
        up.kill()
        os.close(master)
        os.close(terminal)
