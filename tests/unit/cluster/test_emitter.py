"""Emitting from a program that is no node: to everyone, to rooms, in a namespace; and it leaves nothing behind."""

from __future__ import annotations

import pytest
from tests.unit.cluster.nodes import cluster

from shoal import Server
from shoal.cluster.emitter import emit_once
from shoal.errors import ConfigurationError, PayloadError
from shoal.testing import async_test

BROKER = "memory://emitter"


@async_test
async def test_it_reaches_the_clients_of_every_node() -> None:
    """As an event of a server would; the program itself counts as no node."""
    servers = [Server(node=name, broker=BROKER) for name in ("a", "b")]
    for io in servers:
        io.of("/other")
    async with cluster(*servers) as nodes:
        one, two = await nodes[0].connect("x"), await nodes[1].connect("y")
        other = await nodes[1].connect("x", namespace="/other")
        await emit_once(BROKER, "all", 1, {"b": b"\x00"})
        await emit_once(BROKER, "x", rooms=["x"])
        await emit_once(BROKER, "x or y", rooms=["x", "y"])
        await emit_once(BROKER, "other", namespace="/other")
        await nodes.settle()
        assert one.received == [("all", 1, {"b": b"\x00"}), ("x",), ("x or y",)]
        assert two.received == [("all", 1, {"b": b"\x00"}), ("x or y",)]
        assert other.received == [("other",)]
        assert [list(node.link.peers.names().values()) for node in nodes] == [["b"], ["a"]]


@async_test
async def test_it_keeps_to_its_prefix() -> None:
    """Clusters that share a broker are told apart by it."""
    async with cluster(
        Server(broker=BROKER, channel_prefix="one"), Server(broker=BROKER, channel_prefix="two")
    ) as nodes:
        one, two = await nodes[0].connect(), await nodes[1].connect()
        await emit_once(BROKER, "x", prefix="two")
        await nodes.settle()
        assert (one.received, two.received) == ([], [("x",)])


@async_test
async def test_what_cannot_be_sent_is_an_error() -> None:
    """Of its own kind each: the value, or the URL."""
    with pytest.raises(PayloadError):
        await emit_once(BROKER, "x", object())
    with pytest.raises(ConfigurationError):
        await emit_once("gopher://nowhere", "x")
