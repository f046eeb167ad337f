"""The benchmark's server on Shoal.

`python shoal_app.py PORT` runs it with the fast lane; `uvicorn shoal_app:io` runs the same as a plain ASGI application.
The node's name, the broker and the parser come from SHOAL_NODE, SHOAL_BROKER and SHOAL_PARSER. BENCH_TLS names a
folder with cert.pem and key.pem.
"""

import asyncio
import os
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


@io.on("bytes")
def broadcast_bytes(socket, data):
    io.to("chat").emit("chat-bytes", data)


@io.on("echo")
def echo(socket, text):
    return text


@io.on("echo-async")
async def echo_async(socket, text):
    return text


@io.on("echo-turn")
async def echo_turn(socket, text):
    await asyncio.sleep(0)
    return text


@io.on("echo-future")
async def echo_future(socket, text):
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, text)
    return await future


@io.on("join")
async def join(socket, room):
    await socket.join(room)


if __name__ == "__main__":
    tls = os.environ.get("BENCH_TLS")
    files = {"ssl_certfile": f"{tls}/cert.pem", "ssl_keyfile": f"{tls}/key.pem"} if tls else {}
    io.run(host="127.0.0.1", port=int(sys.argv[1]), **files)
