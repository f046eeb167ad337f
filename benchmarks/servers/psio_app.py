"""The benchmark's server on python-socketio: `uvicorn psio_app:app`. The node's name comes from NODE_NAME, the
serializer from BENCH_PARSER."""

import asyncio
import os

import socketio

node = os.environ.get("NODE_NAME", "psio")
io = socketio.AsyncServer(async_mode="asgi", serializer=os.environ.get("BENCH_PARSER", "default"))
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


@io.on("bytes")
async def broadcast_bytes(sid, data):
    await io.emit("chat-bytes", data, room="chat")


@io.on("echo")
async def echo(sid, text):
    return text


@io.on("echo-async")
async def echo_async(sid, text):
    return text


@io.on("echo-turn")
async def echo_turn(sid, text):
    await asyncio.sleep(0)
    return text


@io.on("echo-future")
async def echo_future(sid, text):
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, text)
    return await future


@io.on("join")
async def join(sid, room):
    await io.enter_room(sid, room)
