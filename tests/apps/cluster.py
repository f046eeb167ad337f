"""One node of a cluster under test. Name, broker and port come from the environment that `shoal up` gives."""

from __future__ import annotations

from tests.internals import link

from shoal import Server

io = Server()


@io.on("connect")
def connect(socket):
    socket.emit("welcome", io.node)


@io.on("join")
async def join(socket, room):
    await socket.join(room)


@io.on("leave")
async def leave(socket, room):
    await socket.leave(room)


@io.on("tell")
def tell(socket, room, text):
    io.to(room).emit("said", io.node, text)


@io.on("tell-all")
def tell_all(socket, text):
    io.emit("said", io.node, text)


@io.on("tell-others")
def tell_others(socket, room, *args):
    socket.broadcast.to(room).emit("said", io.node, *args)


@io.on("heard")
def heard(socket):
    """How many messages of other nodes have reached this one."""
    return link(io).received


@io.on("members")
async def members(socket, room):
    return sorted(member.id for member in await io.to(room).fetch_sockets())


@io.on("ask")
async def ask(socket, room):
    answers = await io.to(room).call("question", timeout=10.0)
    return {"responses": list(answers.responses), "missing": len(answers.missing)}


@io.on("move")
async def move(socket, room, other):
    await io.in_(room).join(other)
    await io.in_(room).leave(room)


@io.on("end")
async def end(socket, room):
    await io.in_(room).disconnect()


@io.on("refused")
def refused(socket):
    """How many requests this node has refused, by code."""
    return {str(code): count for code, count in io.engine.refused.items()}


@io.on("forwarded")
def forwarded(socket):
    """How many requests of other nodes' sessions came to this one, and how many of them were in vain."""
    stats = io.engine.stats
    return [stats.forwarded, stats.forward_refused + stats.forward_timeouts + stats.forward_failures]


@io.on("node")
def node(socket):
    """The name of this node."""
    return io.node


@io.on("address")
def address(socket):
    """Where the client is, as the server sees it."""
    return socket.handshake.address
