"""An application with types, as one whose author runs mypy or pyright writes it: both find nothing to say.

``tests/test_types.py`` runs them over this file, and nothing runs the file.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import assert_type

from shoal import Broadcast, ConnectionRefused, Engine, Namespace, Server, Socket, SocketList, event
from shoal.engine.connection import Connection
from shoal.http.request import Request
from shoal.options import ServerOptions

OPTIONS: ServerOptions = {"node": "1111", "ping_interval": 25, "transports": ["websocket"]}

io = Server(broker="memory://", cors_origins=["https://example.org"], max_payload=1_000, trusted_proxies="*")
other = Server(**OPTIONS)


@dataclass
class Message:
    text: str


@io.use
async def authenticate(socket: Socket) -> None:
    if socket.handshake.auth.get("token") != "secret":
        raise ConnectionRefused("not authorized", data={"retry": False})


@io.allow_request
def allow(request: Request) -> str | None:
    return None if request.path else "no"


@io.on("connect")
async def connect(socket: Socket) -> None:
    await socket.join("chat")

    @socket.on("later")
    def later(number: int) -> int:
        return number

    assert_type(later(1), int)

    @socket.once("once")
    async def once(number: int) -> int:
        return number

    assert_type(await once(1), int)
    assert_type(socket.on("later", later)(2), int)

    @socket.on_any
    def seen(name: str, *args: object) -> int:
        return len(args)

    assert_type(seen("a"), int)

    @socket.conn.on("close")
    def closed(reason: str) -> bool:
        return bool(reason)

    assert_type(closed("x"), bool)


@io.on("chat", concurrent=True)
async def chat(socket: Socket, message: Message) -> str:
    socket.emit("hello", 1, b"two")
    assert_type(io.to("a").except_("b").volatile, Broadcast)
    io.to("chat").emit("chat-message", f"{io.node}: {message.text}")
    assert_type(await io.fetch_sockets(), SocketList)
    return message.text


@io.on("disconnect")
def gone(socket: Socket, reason: str) -> None: ...


@io.on_server("ping")
def ping(text: str) -> str:
    return text


class Chat(Namespace):
    async def on_connect(self, socket: Socket) -> None:
        await socket.join("chat")

    @event("chat-message")
    def chat_message(self, socket: Socket, text: str) -> int:
        self.to("chat").emit("chat-message", text)
        return len(text)


io.of("/chat", Chat)
io.of(re.compile(r"^/tenant-\d+$")).on("x")(gone)

engine = Engine(path="/engine.io/", ping_interval=0.3)


@engine.on("message")
def echo(session: Connection, data: str | bytes) -> int:
    session.send(data)
    return len(data)


async def main(socket: Socket, session: Connection) -> None:
    """What is decorated keeps its type."""
    assert_type(await chat(socket, Message("x")), str)
    assert_type(ping("x"), str)
    assert_type(echo(session, b""), int)
    assert_type(allow(socket.handshake.request), str | None)
    async with asyncio.TaskGroup() as group:
        group.create_task(connect(socket))


if __name__ == "__main__":
    io.run(host="127.0.0.1", port=8000, log_level="info", ssl_certfile=None)
