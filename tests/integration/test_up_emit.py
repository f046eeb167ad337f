"""`shoal emit` speaks to the clients of a running cluster through its broker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster_process import Up
from tests.requirements import need
from websockets.sync.client import connect


def emit(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shoal", "emit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_an_event_from_outside_reaches_a_room_and_only_that_room(tmp_path: Path) -> None:
    need("redis-server", "valkey-server")
    up = Up(tmp_path, 1, "--balancer", "kernel")
    try:
        up.wait_until_up()
        found = re.search(r"redis://\S+", "\n".join(up.lines("up")))
        assert found is not None
        with connect(f"ws://127.0.0.1:{up.port}/socket.io/?EIO=4&transport=websocket", proxy=None) as client:
            client.send("40")
            up.wait_for(up.ports[0], f"Server {up.ports[0]} join successfully to chat room!")
            for room, text in (("elsewhere", "not for you"), ("chat", "the shop closes")):
                done = emit("chat-message", text, '{"at": [6, null]}', "--room", room, "--broker", found[0])
                assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            heard = [str(client.recv(timeout=5))]
            while "chat-message" not in heard[-1]:
                heard.append(str(client.recv(timeout=5)))
        assert heard[-1] == '42["chat-message","the shop closes",{"at":[6,null]}]'
        assert up.stop() == 0
    finally:
        up.kill()


@pytest.mark.parametrize(
    ("url", "words"), [("redis://127.0.0.1:1", "cannot reach the broker"), ("carrier-pigeon://x", "carrier-pigeon")]
)
def test_a_broker_that_cannot_be_used_is_one_clear_line(url: str, words: str) -> None:
    done = emit("x", "--broker", url, "--timeout", "0.3")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("shoal: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
