"""The application behind the official JavaScript client's tests: one handler for each thing a scenario asks for.

Written with the public names alone. Heartbeat options come from the environment, so that a test can choose them.
"""

from __future__ import annotations

import asyncio
import collections
import os
import re
from datetime import UTC, datetime

from shoal import NO_ACK, AckTimeout, ConnectionRefused, Server

io = Server(node=os.environ.get("SUITE_NODE", "js"), broker=os.environ.get("SUITE_BROKER", "memory://"))
plain = io.of("/plain")
greeting = io.of("/greeting")
secret = io.of("/secret")
closed = io.of("/refuses-in-connect")
slow = io.of("/slow-to-accept")
sharp = io.of("/straße")
tenant = io.of(re.compile(r"^/tenant-\d+$"))

reasons: dict[str, str] = {}
attempts: collections.Counter[str] = collections.Counter()
busy: collections.Counter[str] = collections.Counter()


# What every namespace answers to.


def handlers_of_each(namespace):
    @namespace.on("where")
    def where(socket):
        return socket.namespace.name

    @namespace.on("handshake")
    def handshake(socket):
        shake = socket.handshake
        return {"auth": shake.auth, "query": dict(shake.query), "header": shake.headers.get("x-test")}

    @namespace.on("echo")
    def echo(socket, *args):
        return args

    @namespace.on("reflect")
    def reflect(socket, *args):
        socket.emit("reflected", *args)

    @namespace.on("join")
    async def join(socket, room):
        await socket.join(room)

    @namespace.on("tell-all")
    def tell_all(socket, *args):
        socket.emit("said", *args)
        socket.broadcast.emit("said", *args)


for each in (io, plain, greeting, secret, closed, slow, sharp, tenant):
    handlers_of_each(each)


# Who gets in.


@secret.use
async def only_with_the_token(socket):
    if socket.handshake.auth.get("token") != "secret":
        raise ConnectionRefused("not authorized", data={"retry": False})


@closed.on("connect")
async def refuse(socket):
    socket.emit("said", "never to be heard")
    raise ConnectionRefused("closed today")


@greeting.on("connect")
async def greet(socket):
    socket.emit("welcome", socket.id)
    await socket.join(f"room of {socket.id}")
    greeting.to(f"room of {socket.id}").emit("said", "to your room")
    socket.emit("welcome", "again")


@slow.on("connect")
async def accept_slowly(socket):
    await asyncio.sleep(0.05)
    socket.emit("accepted")


@io.on("disconnect")
async def remember_reason(socket, reason):
    reasons[socket.id] = reason


@io.on("reason-of")
def reason_of(socket, socket_id):
    return reasons.get(socket_id)


# Acks.


@io.on("id")
def own_id(socket):
    return socket.id


@io.on("nothing")
def nothing(socket):
    return None


@io.on("never")
def never(socket, *args):
    return NO_ACK


@io.on("third-time")
def third_time(socket, key):
    attempts[key] += 1
    return attempts[key] if attempts[key] >= 3 else NO_ACK


@io.on("ask")
async def ask(socket, *args):
    return await socket.call("question", *args, timeout=5.0)


@io.on("ask-concurrently", concurrent=True)
async def ask_concurrently(socket, *args):
    return await socket.call("question", *args, timeout=5.0)


@io.on("ask-in-vain")
async def ask_in_vain(socket):
    try:
        return await socket.call("nobody answers this", timeout=0.1)
    except AckTimeout:
        return "timed out"


@io.on("poll-room")
async def poll_room(socket, room, timeout):
    answers = await io.to(room).call("question", timeout=timeout)
    return {"responses": list(answers.responses), "missing": len(answers.missing)}


@io.on("dates")
def dates(socket):
    return {"at": [datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)]}


@io.on("raise")
def raise_on_purpose(socket):
    raise RuntimeError("on purpose")


@io.on("*")
def anything(socket, event, *args):
    return [event, *args]


# Order.


@io.on("take")
async def take(socket, milliseconds):
    socket.emit("started", milliseconds, busy[socket.id])
    busy[socket.id] += 1
    await asyncio.sleep(milliseconds / 1000)
    busy[socket.id] -= 1
    return milliseconds


@io.on("count-to")
def count_to(socket, end):
    for number in range(end):
        socket.emit("number", number)


@io.on("count-by-many-ways")
async def count_by_many_ways(socket, end):
    rooms = [f"{name} of {socket.id}" for name in ("one", "other")]
    for room in rooms:
        await socket.join(room)
    ways = [socket, io.to(rooms[0]), io.to(rooms[1]), io.to(rooms[0]).to(rooms[1]), io.to(socket.id)]
    for number in range(end):
        ways[number % len(ways)].emit("number", number)


# Rooms.


@io.on("leave")
async def leave(socket, room):
    await socket.leave(room)


@io.on("rooms")
def rooms_of(socket):
    return sorted(socket.rooms)


@io.on("tell")
def tell(socket, rooms, *args):
    target = io
    for room in rooms:
        target = target.to(room)
    target.emit("said", *args)


@io.on("tell-but")
def tell_but(socket, rooms, excluded, *args):
    target = io
    for room in rooms:
        target = target.to(room)
    for room in excluded:
        target = target.except_(room)
    target.emit("said", *args)


@io.on("tell-others")
def tell_others(socket, room, *args):
    socket.broadcast.to(room).emit("said", *args)


@io.on("say-volatile")
def say_volatile(socket, *args):
    socket.volatile.emit("said", *args)


@io.on("members")
async def members(socket, room):
    return [member.id for member in await io.to(room).fetch_sockets()]


@io.on("move")
async def move(socket, room, other):
    await io.in_(room).join(other)
    await io.in_(room).leave(room)


# Goodbye.


@io.on("kick")
async def kick(socket):
    await socket.disconnect()


@io.on("kick-out")
async def kick_out(socket):
    await socket.disconnect(close=True)
