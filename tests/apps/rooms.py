"""A node of a cluster under faults: it acknowledges what it was told once the broker has it.

With `redis://`, whose broker confirms nothing, it acknowledges what it has emitted.
"""

from __future__ import annotations

import os

from shoal import BrokerError, Server

io = Server()
CONFIRMS = os.environ.get("SHOAL_BROKER", "").partition("://")[0].endswith("+streams")
PATIENCE = 4.0  # seconds; the clients wait for longer


@io.on("connect")
async def connect(socket):
    if not socket.recovered:
        await socket.join(*socket.handshake.auth["rooms"])
        socket.emit("joined")


@io.on("say")
async def say(socket, room, *args):
    if not CONFIRMS:
        io.to(room).emit("said", room, *args)
        return True
    try:
        await io.to(room).emit_confirmed("said", room, *args, timeout=PATIENCE)
    except BrokerError:
        return False
    return True
