"""Mistakes that a type checker must find: each line that ends in a comment with `error`, and no other.

``tests/test_types.py`` runs mypy over this file, and nothing runs the file.
"""

from __future__ import annotations

from shoal import Engine, Server, Socket

Server(max_paylod=1_000)  # error: call-arg
Server(max_payload="big")  # error: arg-type
Server(parser="xml")  # error: arg-type
Server(cors_origins=7)  # error: arg-type
Engine(broker="memory://")  # error: call-arg

io = Server(max_payload=1_000)
io.run(prt=8000)  # error: call-arg
io.run(port="8000")  # error: arg-type
Engine().run(ssl_cert="x")  # error: call-arg


@io.on("chat")
def chat(socket: Socket, text: str) -> int:
    @socket.on("later")
    def later(number: int) -> int:
        return number

    later("x")  # error: arg-type
    socket.emit(1)  # error: arg-type
    return len(text)


@io.on(7)  # error: arg-type
def number(socket: Socket) -> None: ...


def use(socket: Socket) -> str:
    return chat(socket, "x")  # error: return-value


async def wait() -> None:
    await io.emit("x")  # error: func-returns-value, misc
