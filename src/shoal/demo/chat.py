"""What the chat does: everybody is in one room, and gets what anybody sends there, behind the name of a server.

It knows events and their arguments. It refuses to know the page, and trusts no argument: a client can send anything.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from shoal import Server, Socket

from .presence import Presence
from .traces import Traces, now

__all__ = ["MAX_TEXT", "ROOM", "WATCHERS", "open_chat"]

ROOM = "chat"
WATCHERS = "watchers"
"""The room of those who draw the picture. Clients that only chat are not told who is where."""
MAX_TEXT = 2_000
"""Characters of one message. A long paragraph; the page's input stops there too."""
DOT = re.compile(r"[A-Za-z0-9_-]{1,16}")


def open_chat(io: Server) -> Presence:
    """Register the chat's handlers on a server.

    Args:
        io: The server. Its ``node`` is the name that its clients' messages carry.

    Returns:
        The presence of this node, to be published to the room while the server runs (:meth:`Presence.publishing`).
    """

    def tell(event: str, content: dict[str, object]) -> None:
        # Volatile: who comes back to a log of messages needs no picture of what was.
        io.to(WATCHERS).volatile.emit(event, content)

    def clients() -> tuple[int, Iterator[str]]:
        sockets = io.sockets
        return len(sockets), map(dot_of, sockets.values())

    presence = Presence(io.node, clients, lambda report: tell("presence", report))
    traces = Traces(io.node, lambda trace: io.server_side_emit("passing", trace), tell)

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        print_line(f"new connection was made server {io.node}")
        await socket.join(ROOM)
        print_line(f"Server {io.node} join successfully to chat room!")
        presence.changed()
        socket.emit("welcome", {**presence.summary(), "id": socket.id, "dot": dot_of(socket)})

    @io.on("disconnect")
    def gone(socket: Socket, reason: str) -> None:
        presence.changed()

    @io.on("chat")
    def chat(socket: Socket, text: object = None, *rest: object) -> dict[str, object]:
        if error := fault_of(text):
            return {"ok": False, "error": error}
        print_line(f"server {io.node} received a message")
        io.to(ROOM).emit("chat-message", f"{io.node}: {text}")
        if traces.is_due:
            traces.sent(dot_of(socket), str(text))
        return {"ok": True}

    @io.on("watch")
    async def watch(socket: Socket, *rest: object) -> None:
        if WATCHERS in socket.rooms:
            return  # who asks again, or has come back, is told with the next reports
        await socket.join(WATCHERS)
        presence.changed()
        io.server_side_emit("report")

    @io.on("clock")
    def clock(socket: Socket, *rest: object) -> float:
        return now()

    @io.on_server("report")
    def report() -> None:
        presence.changed()

    @io.on_server("passing")
    def passing(trace: object) -> None:
        traces.came(trace)

    @io.on("echo")
    def echo(socket: Socket, *args: object) -> tuple[object, ...]:
        return args  # for `shoal bench --mode echo`

    return presence


def dot_of(socket: Socket) -> str:
    """What pages call a client: the name that it chose, which it has on any server, or the end of its id."""
    name = socket.handshake.auth.get("dot")
    return name if isinstance(name, str) and DOT.fullmatch(name) else socket.id[-8:]


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
