"""The benchmark's server on python-socketio: `uvicorn psio_app:app`. The node's name comes from NODE_NAME."""

import os

import socketio

node = os.environ.get("NODE_NAME", "psio")
io = socketio.AsyncServer(async_mode="asgi")
app = socketio.ASGIApp(io)


@io.event
async def connect(sid, environ):
    await io.enter_room(sid, "chat")


@io.on("chat")
async def chat(sid, text):
    await io.emit("chat-message", f"{node}: {text}", room="chat")


@io.on("say")
async def say(sid, room, text):
    await io.emit("chat-message", f"{node}: {text}", room=room)


@io.on("echo")
async def echo(sid, text):
    return text


@io.on("join")
async def join(sid, room):
    await io.enter_room(sid, room)
