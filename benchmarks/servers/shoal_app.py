"""The benchmark's server on Shoal.

`python shoal_app.py PORT` runs it with the fast lane; `uvicorn shoal_app:io` runs the same as a plain ASGI application.
The node's name and the broker come from SHOAL_NODE and SHOAL_BROKER.
"""

import sys

from shoal import Server

io = Server()


@io.on("connect")
async def connect(socket):
    await socket.join("chat")


@io.on("chat")
def chat(socket, text):
    io.to("chat").emit("chat-message", f"{io.node}: {text}")


@io.on("say")
def say(socket, room, text):
    io.to(room).emit("chat-message", f"{io.node}: {text}")


@io.on("echo")
def echo(socket, text):
    return text


@io.on("join")
async def join(socket, room):
    await socket.join(room)


if __name__ == "__main__":
    io.run(host="127.0.0.1", port=int(sys.argv[1]))
