"""How a node learns where it is reached, and which other node a request belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.engine.context import new_context
from shoal.engine.forwarder import Forwarder
from shoal.engine.hop import PassedRequest
from shoal.engine.peer_connection import ForwardLimits
from shoal.http.request import Request
from shoal.settings import EngineSettings
from shoal.testing import async_test

LIMITS = ForwardLimits(10, 1000, 1.0, 2.0)
KEY = b"k" * 16


class Node:
    """A node called `HERE00`, what it tells the others, and what those have told."""

    def __init__(self, learns: bool = True) -> None:
        self.context = new_context(EngineSettings(), lambda: None)
        self.told: list[str] = []
        self.others: dict[str, tuple[str, bytes]] = {}
        self.forwarder = Forwarder(self.context, "HERE00")
        self.forwarder.join(self.others.get, self.told.append if learns else None, LIMITS)

    def owner(self, sid: str) -> Any:
        return self.forwarder.owner(asked(sid))


def asked(sid: str, method: str = "GET") -> Request:
    query = b"EIO=4&transport=polling&sid=" + sid.encode()
    return Request(method, "/socket.io/", query, b"\r\n", "203.0.113.7", False)


# ---- this node's address


@pytest.mark.parametrize(
    ("local", "told"),
    [
        (("10.0.0.1", 8000), "10.0.0.1:8000"),
        (["10.0.0.1", 8000], "10.0.0.1:8000"),
        (("fd00::1", 8000, 0, 0), "[fd00::1]:8000"),
        (("fe80::1%eth0", 8000, 0, 2), "[fe80::1%eth0]:8000"),
    ],
)
def test_the_first_connection_says_where(local: Any, told: str) -> None:
    """Sockets' names and those of ASGI's scopes, IPv4 and IPv6; then it is known."""
    node = Node()
    node.forwarder.reached_at(local)
    assert node.told == [told]
    assert not node.forwarder.learning


@pytest.mark.parametrize(
    "local",
    [("0.0.0.0", 8000), ("::", 8000, 0, 0), ("/run/shoal.sock", None), "/run/shoal.sock", "", None, (), ("x",)],
)
def test_what_says_nothing_is_passed_over(local: Any) -> None:
    """The address of all of a machine's addresses, a Unix socket, nothing: the next connection may know more."""
    node = Node()
    node.forwarder.reached_at(local)
    assert node.told == []
    assert node.forwarder.learning


def test_another_machine_knows_better_than_loopback() -> None:
    """A health check from this machine is told to the others, until somebody comes from elsewhere."""
    node = Node()
    for local in [("127.0.0.1", 8000), ("127.0.0.1", 8000), ("10.0.0.1", 8000), ("127.0.0.1", 8000)]:
        if node.forwarder.learning:
            node.forwarder.reached_at(local)
    assert node.told == ["127.0.0.1:8000", "10.0.0.1:8000"]


def test_a_port_of_its_own_is_preferred_to_one_that_it_shares() -> None:
    """A listener at all addresses says the port, the first connection the address, whatever port that came to."""
    node = Node()
    node.forwarder.listens_at(("0.0.0.0", 8001))
    assert node.told == []
    assert node.forwarder.learning
    node.forwarder.reached_at(("10.0.0.1", 80))
    assert node.told == ["10.0.0.1:8001"]
    assert not node.forwarder.learning


def test_a_listener_at_one_address_is_the_answer() -> None:
    """Loopback too: nobody reaches it elsewhere."""
    node = Node()
    node.forwarder.listens_at(("127.0.0.1", 8001))
    assert node.told == ["127.0.0.1:8001"]
    assert not node.forwarder.learning


def test_a_listener_with_tls_says_so() -> None:
    node = Node()
    node.forwarder.listens_at(("10.0.0.1", 8001), secure=True)
    assert node.told == ["https://10.0.0.1:8001"]


def test_who_was_told_its_address_learns_none() -> None:
    node = Node(learns=False)
    assert not node.forwarder.learning
    node.forwarder.reached_at(("10.0.0.1", 8000))
    node.forwarder.listens_at(("10.0.0.1", 8000))
    assert not node.forwarder.learning


# ---- other nodes


@async_test
async def test_a_session_belongs_to_the_node_in_its_id() -> None:
    """With a node's name in front or without; not this node's own, and not one of a node that nobody knows."""
    node = Node()
    node.others["OTHER0"] = ("10.0.0.2:8000", KEY)
    peer = node.owner("n2.OTHER0xxxxxxxxxxxxxxxx")
    assert peer is not None
    assert peer.key == KEY
    assert node.owner("OTHER0yyyyyyyyyyyyyyyy") is peer
    for sid in ["n1.HERE00xxxx", "NOBODYxxxx", "", ".", "OTHER"]:
        assert node.owner(sid) is None


@async_test
async def test_some_requests_go_nowhere() -> None:
    """Those that were passed on already, of other methods, without a session, or that fit no request line."""
    node = Node()
    node.others["OTHER0"] = ("10.0.0.2:8000", KEY)
    request = asked("OTHER0xxx")
    passed = PassedRequest(request, b"\r\n", "", False, b"")
    without = Request("GET", "/", b"EIO=4&transport=polling", b"\r\n", "", False)
    spaced = Request("GET", "/", request.query_string + b"&x= \r\nx: y", b"\r\n", "", False)
    for each in [passed, asked("OTHER0xxx", "PUT"), without, spaced]:
        assert node.forwarder.owner(each) is None
        assert await node.forwarder.locate(each) is None
        assert not node.forwarder.is_elsewhere(each)
    assert node.forwarder.owner(request) is not None


@async_test
async def test_a_node_that_moves_or_leaves() -> None:
    """Another address or another key is another peer; of one that has left nothing is kept, asked for or not."""
    node = Node()
    node.others["OTHER0"] = ("10.0.0.2:8000", KEY)
    first = node.owner("OTHER0xxx")
    node.others["OTHER0"] = ("10.0.0.3:8000", KEY)
    second = node.owner("OTHER0xxx")
    node.others["OTHER0"] = ("10.0.0.3:8000", b"another key")
    third = node.owner("OTHER0xxx")
    assert len({id(first), id(second), id(third)}) == 3
    assert third.key == b"another key"
    del node.others["OTHER0"]
    assert node.owner("OTHER0xxx") is None
    for number in range(100):  # processes that come and go, each with a tag of its own
        node.others.clear()
        node.others[f"{number:06}"] = ("10.0.0.4:8000", KEY)
        assert node.owner(f"{number:06}xxx") is not None
    assert len(node.forwarder._peers) == 1


@async_test
async def test_an_address_that_is_none_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What another node tells may be anything."""
    node = Node()
    node.others["OTHER0"] = ("no address", KEY)
    assert node.owner("OTHER0xxx") is None
    assert node.owner("OTHER0xxx") is None
    assert len(caplog.records) == 1


@async_test
async def test_an_address_that_comes_a_moment_later_is_waited_for() -> None:
    """A node that has just started has told its name first. A second later it is given up, and that is logged."""
    node = Node()
    node.others["OTHER0"] = ("", KEY)
    assert node.forwarder.owner(asked("OTHER0xxx")) is None
    assert node.forwarder.is_elsewhere(asked("OTHER0xxx"))
    task = node.context.tasks.spawn(node.forwarder.locate(asked("OTHER0xxx")))
    assert await task is None
    later = node.context.tasks.spawn(node.forwarder.locate(asked("OTHER0xxx")))
    node.others["OTHER0"] = ("10.0.0.2:8000", KEY)
    assert await later is not None
