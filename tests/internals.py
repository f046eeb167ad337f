"""Where a server keeps what only its own tests look at. Nothing else in the tests reaches behind its public names."""

from __future__ import annotations

from typing import Any

from shoal import Namespace, Server
from shoal.adapter.backend import PubSub, Recovering, Streams
from shoal.adapter.recovery import Recovery
from shoal.adapter.stream_states import StreamStates
from shoal.bus.base import LogBus
from shoal.cluster.link import Link
from shoal.fanout.rooms import Rooms
from shoal.fanout.ticker import Ticker
from shoal.handlers.registry import Handlers
from shoal.handlers.runners import Runners
from shoal.server.client import Client
from shoal.server.namespaces import Site


def clients(io: Server) -> set[Client]:
    """Its connections."""
    return {session.receiver for session in io.engine.sessions.values() if isinstance(session.receiver, Client)}


def sites(io: Server) -> dict[str, Site]:
    """Its namespaces, by name."""
    return io._namespaces.by_name


def handlers(namespace: Namespace) -> Handlers:
    """What is registered in a namespace."""
    return namespace._handlers


def rooms(namespace: Namespace | Server) -> Rooms[Any]:
    """Who is in which room of a namespace."""
    return namespace._adapter.rooms


def outgoing(namespace: Namespace) -> set[Any]:
    """Sockets with listeners of outgoing events."""
    return namespace._adapter.outgoing


def ticker(io: Server) -> Ticker:
    """What collects the events of a turn."""
    return io._context.ticker


def runners(io: Server) -> Runners:
    """What awaits its coroutines."""
    return io._context.runners


def link(io: Server) -> Link:
    """Its link to other nodes."""
    assert isinstance(io._backend, PubSub)
    return io._backend.link


def log_bus(io: Server) -> LogBus:
    """What it keeps its messages with."""
    assert isinstance(io._backend, Streams)
    return io._backend.link.log_bus


def recovery(io: Server) -> Recovery:
    """Its clients' states."""
    assert isinstance(io._backend, Recovering)
    return io._backend.recovery


def stream_states_of(io: Server) -> StreamStates:
    """What its clients may come back to."""
    assert isinstance(io._backend, Streams)
    assert io._backend.states is not None
    return io._backend.states
