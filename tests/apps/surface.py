"""The application behind docs/compatibility.md: whatever of the server API has not been shown by another application.

Written with the public names alone. What the server sees and no client is told (reasons, engine events, room events)
is noted, and can be asked for.
"""

from __future__ import annotations

import asyncio
import collections
import enum
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from tests.internals import sites

from shoal import Engine, Namespace, RoomRefused, Server, event

io = Server()
notes: dict[str, list[Any]] = collections.defaultdict(list)
gone: dict[str, list[Any]] = collections.defaultdict(list)


@io.on("echo")
def echo(socket, *args):
    return args


@io.on("noted")
def noted(socket, name):
    return notes[name]


@io.on("gone")
def why_it_left(socket, socket_id):
    return gone[socket_id]


# ---- the engine


@io.engine.on("connection_error")
def on_connection_error(refusal, request):
    notes["connection_error"].append([refusal.code, refusal.message, request.headers.get("x-test")])


@io.engine.on("initial_headers")
def on_initial_headers(headers, request):
    headers["X-Initial"] = "once"


@io.engine.on("headers")
def on_headers(headers, request):
    headers["X-Each"] = "always"


@io.allow_request
async def allow_request(request):
    await asyncio.sleep(0)
    return 'not "today"' if request.headers.get("x-test") == "banned" else None


@io.on("engine")
def engine(socket):
    return {"clients": io.engine.clients_count, "sockets": len(io.sockets), "mine": socket.id in io.sockets}


@io.on("end")
async def end(socket):
    """End the server. It can be used again, since it has no broker."""
    ending.append(asyncio.ensure_future(io.close()))


ending: list[asyncio.Future[None]] = []


# ---- a socket


@io.use
def ask(socket):
    notes["asked"].append(socket.id)


@io.on("connect")
async def connect(socket):
    asked = socket.handshake.query.get("do", "")
    if asked == "listen":
        listen(socket)
    elif asked == "guard":
        guard(socket)
    if not socket.handshake.query.get("quiet"):
        await socket.join("hall")
    socket.conn.on("upgrade", lambda name: notes[f"upgrade {socket.id}"].append(name))
    socket.conn.on("close", lambda reason: notes[f"close {socket.id}"].append(reason))
    socket.data["since"] = len(notes)


def listen(socket):
    """Handlers of this socket alone, and ears for everything."""
    heard = notes[f"heard {socket.id}"]
    socket.on_any(lambda name, *args: heard.append(["in", name, *args]))
    socket.on_any_outgoing(lambda name, *args: heard.append(["out", name, *args]))

    @socket.on("own")
    async def own(*args):
        await asyncio.sleep(0)
        socket.emit("answer", *args)
        return [*args, "acknowledged"]

    @socket.once("once")
    def once(value):
        return f"once {value}"

    @socket.on("deaf")
    def deaf():
        socket.off("own", own)
        socket.off_any()
        socket.off_any_outgoing()


def guard(socket):
    """Middleware for each event."""

    @socket.use
    async def only_what_is_allowed(name, *args):
        await asyncio.sleep(0)
        if "forbidden" in args:
            raise PermissionError(f"{name} is not for you")

    @socket.on("error")
    def tell(error):
        socket.emit("refused", str(error))


@io.on("error")
def on_error(socket, error):
    notes["errors"].append(str(error))


@io.on("describe")
def describe(socket):
    shake = socket.handshake
    return {
        "id": socket.id,
        "rooms": sorted(socket.rooms),
        "connected": socket.connected,
        "recovered": socket.recovered,
        "namespace": socket.namespace.name,
        "data": socket.data,
        "transport": socket.conn.transport,
        "buffered": socket.conn.buffered,
        "headers": {name: shake.headers.get(name) for name in ("user-agent", "x-test", "host")},
        "query": shake.query,
        "auth": shake.auth,
        "address": shake.address,
        "secure": shake.secure,
        "url": shake.url,
        "time": shake.time,
        "issued": shake.issued,
    }


@io.on("remember")
def remember(socket, value):
    socket.data = value


@io.on("send")
def send(socket, *args):
    socket.send(*args)


@io.on("send-to-all")
def send_to_all(socket, *args):
    io.send(*args)


@io.on("compressed")
def compressed(socket, text):
    socket.compress(False).emit("text", text)
    io.compress(False).to(socket.id).emit("text", text)
    io.to(socket.id).compress(True).emit("text", text)


@io.on("kick")
async def kick(socket, close):
    await socket.disconnect(close)


@io.on("disconnecting")
def disconnecting(socket, reason):
    gone[socket.id].append(["disconnecting", reason, sorted(socket.rooms - {socket.id}), socket.connected])


@io.on("disconnect")
async def disconnect(socket, reason):
    gone[socket.id].append(["disconnect", reason, sorted(socket.rooms), socket.connected])


@io.on("overflow")
def overflow(socket):
    for _ in range(200):
        socket.emit("text", "x" * 50_000)


# ---- many sockets


@io.on("join")
async def join(socket, *rooms):
    await socket.join(*rooms)


@io.on("leave")
async def leave(socket, room):
    await socket.leave(room)


@io.on("say")
def say(socket, how, rooms, excluded, *args):
    """Emit `said` in one of the ways that there are."""
    targets = {
        "all": io.to(*rooms).except_(*excluded) if rooms else io.except_(*excluded),
        "in": io.in_(rooms).except_(excluded),
        "others": socket.broadcast.to(*rooms).except_(*excluded),
        "to": socket.to(*rooms).except_(*excluded),
        "except": socket.except_(*excluded),
        "local": io.local.to(*rooms),
        "local others": socket.local.to(*rooms),
        "volatile": io.volatile.to(*rooms),
        "volatile local": io.to(*rooms).local.volatile,
    }
    targets[how].emit("said", *args)


@io.on("call")
async def call(socket, rooms, timeout):
    answers = await io.to(*rooms).timeout(timeout).call("question", "?")
    return {"responses": sorted(answers.responses), "missing": answers.missing}


@io.on("call-one")
async def call_one(socket, room):
    answers = await io.to(room).call("question", "?")
    return {"responses": answers.responses, "missing": answers.missing}


@io.on("now")
def now(socket):
    return datetime(2020, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@io.on("fetch")
async def fetch(socket, *rooms):
    found = await io.in_(*rooms).fetch_sockets()
    return {
        "missing": found.missing,
        "found": sorted(
            (
                {
                    "id": member.id,
                    "node": member.node,
                    "rooms": sorted(member.rooms),
                    "data": member.data,
                    "auth": member.handshake.auth,
                    "address": member.handshake.address,
                }
                for member in found
            ),
            key=lambda member: member["id"],
        ),
    }


@io.on("order")
async def order(socket, what, rooms, argument):
    """Move or end many sockets."""
    target = io.in_(*rooms)
    if what == "join":
        return {"missing": await target.join(argument)}
    if what == "leave":
        return {"missing": await target.leave(argument)}
    return {"missing": await target.disconnect(argument)}


@io.on("through-afar")
async def through_afar(socket, room):
    """Do something to sockets by way of their description."""
    for member in await io.in_(room).fetch_sockets():
        member.emit("said", "through its description")
        await member.join("from afar")
        await member.leave(room)


for name in ("create_room", "delete_room", "join_room", "leave_room"):

    @io.on(name)
    def on_room(room, *socket_id, name=name):
        if room.startswith("noted"):
            notes["rooms"].append([name, room, *socket_id])


# ---- the other servers


@io.on_server("status")
async def status(question):
    notes["asked by a server"].append(question)
    await asyncio.sleep(0)
    return f"{question} {io.node}"


@io.on("tell-servers")
def tell_servers(socket, question):
    io.server_side_emit("status", question)


@io.on("ask-servers")
async def ask_servers(socket, question):
    answers = await io.server_side_call("status", question, timeout=5.0)
    return {"responses": answers.responses, "missing": answers.missing}


@io.on("node")
def node(socket):
    return io.node


# ---- typed events


class Order(msgspec.Struct):
    item: str
    count: int


@dataclass
class Place:
    x: float
    y: float = 0.0


class Colour(enum.Enum):
    RED = "red"


@io.on("values")
def values(socket):
    return {
        "naive": datetime(2020, 1, 2, 3, 4, 5),
        "day": date(2020, 1, 2),
        "uuid": uuid.UUID(int=1),
        "decimal": Decimal("1.10"),
        "enum": Colour.RED,
        "dataclass": Place(1.5),
        "struct": Order("tea", 2),
        "set": {1},
        "tuple": (1, 2),
    }


@io.on("order-item")
def order_item(socket, wanted: Order):
    return f"{wanted.count} of {wanted.item}"


@io.on("go-to")
def go_to(socket, place: Place):
    return [place.x, place.y]


@io.on("enter-a-room-of")
async def enter_a_room_of(socket, socket_id):
    try:
        await socket.join(socket_id)
    except RoomRefused as refused:
        return str(refused)


# ---- namespaces


class Chat(Namespace):
    """Handlers as methods."""

    async def on_connect(self, socket):
        await socket.join("chat")
        socket.emit("welcome", self.name)

    @event("chat-message")
    def said(self, socket, text):
        self.to("chat").emit("chat-message", text)
        return len(text)

    def on_disconnect(self, socket, reason):
        notes["left chat"].append(reason)


io.of("/chat", Chat)


async def knows(name, auth):
    await asyncio.sleep(0)
    return name.startswith("/for-") and auth.get("to") == name.removeprefix("/for-")


by_function = io.of(knows)
by_pattern = io.of(re.compile(r"^/tenant-\d+$"))
for dynamic in (by_function, by_pattern):

    @dynamic.on("where")
    def where(socket):
        return socket.namespace.name


@io.on("new_namespace")
def on_new_namespace(namespace):
    notes["new namespaces"].append(namespace.name)


@io.on("namespaces")
def namespaces(socket):
    return sorted(sites(io))


# ---- the server in front of another application, and behind one


async def page(scope: Any, receive: Any, send: Any) -> None:
    """The other application."""
    if scope["type"] != "http":
        raise RuntimeError("there is HTTP alone")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello from " + scope["path"].encode()})


in_front = io.asgi(page)


class Guard:
    """ASGI middleware as any framework has it: nobody passes without the word, and each answer has a header of its."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" and b"word=friend" not in scope["query_string"]:
            await self._refuse(scope, receive, send)
        else:
            await self._app(scope, receive, self._marked(send))

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"say the word"})

    def _marked(self, send: Any) -> Any:
        async def marked(message: Any) -> None:
            if message["type"] in {"http.response.start", "websocket.accept"}:
                message = {**message, "headers": [*message.get("headers", ()), (b"x-guard", b"passed")]}
            await send(message)

        return marked


guarded = Guard(io)


# ---- Engine.IO alone

engine_alone = Engine()
last_words: dict[str, str] = {}


@engine_alone.on("connect")
def on_session(session):
    session.send(f"welcome {session.transport}")


@engine_alone.on("message")
async def on_message(session, data):
    await asyncio.sleep(0)
    if data == "who am I":
        session.send(f"{session.id} {session.transport} {engine_alone.clients_count}")
    elif data == "send me away":
        session.close()
    elif isinstance(data, str) and data.startswith("why did it leave: "):
        session.send(last_words.get(data.removeprefix("why did it leave: "), "it did not"))
    else:
        session.send(data)


@engine_alone.on("disconnect")
def on_session_end(session, reason):
    last_words[session.id] = reason
