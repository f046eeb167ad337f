"""What the chat does: everybody is in one room, and gets what anybody sends there, behind the name of a server.

It knows events and their arguments. It refuses to know the page, and trusts no argument: a client can send anything.
"""

from __future__ import annotations

import sys

from shoal import Server, Socket

from .presence import Presence

__all__ = ["MAX_TEXT", "ROOM", "open_chat"]

ROOM = "chat"
MAX_TEXT = 2_000
"""Characters of one message. A long paragraph; the page's input stops there too."""


def open_chat(io: Server) -> Presence:
    """Register the chat's handlers on a server.

    Args:
        io: The server. Its ``node`` is the name that its clients' messages carry.

    Returns:
        The presence of this node, to be published to the room while the server runs (:meth:`Presence.publishing`).
    """
    presence = Presence(io.node, lambda: len(io.sockets), lambda report: io.to(ROOM).emit("presence", report))

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        print_line(f"new connection was made server {io.node}")
        await socket.join(ROOM)
        print_line(f"Server {io.node} join successfully to chat room!")
        presence.changed()
        socket.emit("welcome", {**presence.report(), "id": socket.id})

    @io.on("disconnect")
    def gone(socket: Socket, reason: str) -> None:
        presence.changed()

    @io.on("chat")
    def chat(socket: Socket, text: object = None, *rest: object) -> dict[str, object]:
        if error := fault_of(text):
            return {"ok": False, "error": error}
        print_line(f"server {io.node} received a message")
        io.to(ROOM).emit("chat-message", f"{io.node}: {text}")
        return {"ok": True}

    @io.on("echo")
    def echo(socket: Socket, *args: object) -> tuple[object, ...]:
        return args  # for `shoal bench --mode echo`

    return presence


def fault_of(text: object) -> str | None:
    """What is wrong with the text of a message, or None."""
    if not isinstance(text, str):
        return "the text must be a string"
    if not text:
        return "the text is empty"
    if len(text) > MAX_TEXT:
        return f"the text must have at most {MAX_TEXT} characters"
    return None


def print_line(line: str) -> None:
    """Write one bare line to standard output, at once: a supervisor puts the process's name before it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
