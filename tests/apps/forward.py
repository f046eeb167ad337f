"""One node of a cluster whose clients' requests come to any node: `io` tells what it was asked by whom, and `plain` has
no listeners, so that requests may take the short cut."""

from __future__ import annotations

from shoal import Server
from shoal.http.request import trusted_address

io = Server()
plain = Server()
polls: list[list[object]] = []
left: list[str] = []


@io.engine.on("headers")
def asked(headers, request):
    """Of each request: the client's address, and what a proxy or another node may have added."""
    headers["x-node"] = io.node
    polls.append([trusted_address(request, io.settings.trusted_proxies), "shoal-hop" in request.headers])


@io.on("polls")
def seen(socket):
    return polls


@io.on("echo")
@plain.on("echo")
def echo(socket, *args):
    return args


@plain.on("say")
def say(socket, text):
    plain.emit("said", text)


@plain.on("burst")
def burst(socket, count, size):
    for number in range(count):
        socket.emit("part", number, "x" * size)


@plain.on("counts")
def counts(socket):
    stats = plain.engine.stats
    return [stats.forwarded, stats.forward_refused, stats.forward_timeouts, stats.forward_failures]


@plain.on("disconnect")
def gone(socket, reason):
    left.append(reason)


@plain.on("left")
def reasons(socket):
    """Why sockets of this node have gone."""
    return left
