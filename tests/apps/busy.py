"""The application behind the tests under full load: rooms to talk in, and what the server holds for a client."""

from __future__ import annotations

from dataclasses import asdict

from shoal import Server

io = Server(node="busy", broker="memory://")


@io.on("join")
async def join(socket, room):
    await socket.join(room)


@io.on("say")
def say(socket, room, speaker, number, padding=""):
    io.to(room).emit("said", speaker, number, padding)


@io.on("echo")
def echo(socket, *args):
    return args


@io.on("buffered")
def buffered(socket, socket_id):
    """Bytes that wait for a client, -1 if it is not there any more."""
    return io.sockets[socket_id].conn.buffered if socket_id in io.sockets else -1


@io.on("counters")
def counters(socket):
    return {"outbox": asdict(io.engine.outbox_stats), "engine": asdict(io.engine.stats)}
