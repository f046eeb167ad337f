"""One node of a cluster whose clients' requests come to any node. It tells what it was asked by whom."""

from __future__ import annotations

from shoal import Server
from shoal.http.request import trusted_address

io = Server()
polls: list[list[object]] = []


@io.engine.on("headers")
def asked(headers, request):
    """Of each request: the client's address, and what a proxy or another node may have added."""
    headers["x-node"] = io.node
    polls.append([trusted_address(request, io.settings.trusted_proxies), "shoal-hop" in request.headers])


@io.on("echo")
def echo(socket, *args):
    return args


@io.on("say")
def say(socket, text):
    io.emit("said", text)


@io.on("where")
def where(socket):
    return io.node


@io.on("polls")
def seen(socket):
    return polls


@io.on("counts")
def counts(socket):
    stats = io.engine.stats
    return [stats.forwarded, stats.forward_refused, stats.forward_timeouts, stats.forward_failures]


plain = Server()  # without listeners, so that requests may take the short cut


@plain.on("echo")
def plain_echo(socket, *args):
    return args


@plain.on("say")
def plain_say(socket, text):
    plain.emit("said", text)


@plain.on("burst")
def burst(socket, count, size):
    for number in range(count):
        socket.emit("part", number, "x" * size)


@plain.on("counts")
def plain_counts(socket):
    stats = plain.engine.stats
    return [stats.forwarded, stats.forward_refused, stats.forward_timeouts, stats.forward_failures]


left: list[str] = []


@plain.on("disconnect")
def plain_disconnect(socket, reason):
    left.append(reason)


@plain.on("left")
def plain_left(socket):
    """Why sockets of this node have gone."""
    return left
