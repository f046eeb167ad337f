"""Mistakes that would be silent are told where a handler is registered: names that never happen, wrong signatures."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal import ConfigurationError, Engine, EventWarning, Namespace, Server, Socket, event
from shoal.handlers.events import LIFECYCLE, TARGETS, doubt_about, is_slip
from shoal.protocol.socketio import RESERVED_EVENTS
from shoal.testing import TestServer, async_test


def plain(socket: Any, *args: Any) -> None: ...


def line() -> int:
    """The caller's."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


# ---- names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("disconect", "disconnect"),
        ("diconnect", "disconnect"),
        ("disconnetc", "disconnect"),
        ("disconnnect", "disconnect"),
        ("disconnectt", "disconnect"),
        ("Disconnect", "disconnect"),
        ("DISCONNECT", "disconnect"),
        ("conect", "connect"),
        ("connext", "connect"),
        ("conection", "connection"),
        ("mesage", "message"),
        ("messgae", "message"),
        ("eror", "error"),
        ("disconecting", "disconnecting"),
        ("socket_expird", "socket_expired"),
        ("jion_room", "join_room"),
    ],
)
def test_a_slip_warns_of_what_was_meant(name: str, meant: str) -> None:
    """The name is one letter away from an event that there is."""
    with pytest.warns(EventWarning, match=re.escape(f"'{name}' is no event of the library: did you mean '{meant}'?")):
        Server().on(name)(plain)


@pytest.mark.parametrize("name", TARGETS)
def test_names_of_the_library_do_not_warn(name: str) -> None:
    assert doubt_about(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "chat",
        "chat-message",
        "message",
        "messages",
        "Message",
        "pmessage",
        "message2",
        "errors",
        "connects",
        "connected",
        "connections",
        "disconnected",
        "disconnects",
        "reconnect",
        "collect",
        "room",
        "join-room",
        "join room",
        "joinRoom",
        "join_rooms",
        "leave-room",
        "leave:room",
        "create-room",
        "headers",
        "ping",
        "é",
    ],
)
def test_names_that_people_give_do_not_warn(name: str) -> None:
    """Plurals, numbers, other separators, and words that have nothing to do with ours."""
    Server().on(name)(plain)  # a warning is an error here


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("connection_error", r"io\.engine\.on\('connection_error'\)"),
        ("connect_error", "an event of the client"),
        ("reconnect_attempt", "an event of the client"),
        ("newListener", "EventEmitter"),
        ("disconnection", "did you mean 'disconnect'"),
        ("__disconnect_final", "use 'disconnect'"),
    ],
)
def test_names_of_other_libraries_warn(name: str, hint: str) -> None:
    """They mean something with Node's server, its client or python-socketio, and nothing here."""
    with pytest.warns(EventWarning, match=hint):
        Server().on(name)(plain)


def test_every_name_that_no_client_can_send_is_known() -> None:
    """It is an event of ours, or warns."""
    assert [name for name in RESERVED_EVENTS if name not in LIFECYCLE and doubt_about(name) is None] == []


@pytest.mark.parametrize("name", ["join_room", "leave_room", "create_room", "new_namespace"])
def test_a_clients_event_of_a_name_that_is_the_librarys_warns(name: str) -> None:
    """Whoever writes a handler of rooms with a socket wants an event that clients send; it would never come."""

    def handler(socket: Any, room: str = "") -> None: ...

    with pytest.warns(EventWarning, match=f"{name!r} is an event of the library, .* choose another one"):
        Server().on(name)(handler)


def test_the_warning_points_at_the_application() -> None:
    """At the line of the decorator, whatever the way."""

    class Chat(Namespace):
        def on_disconect(self, socket: Socket) -> None: ...

    io = Server()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = line() + 1
        io.on("conect")(plain)
        io.of("/a").on("conect")(plain)
        io.of("/b", Chat)
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, first + n) for n in range(3)]
    assert {warning.category for warning in caught} == {EventWarning}


@async_test
async def test_one_sockets_listeners_are_looked_at_too() -> None:
    """``socket.on('connect')`` never happens: the socket is there because it has connected."""
    io = Server()
    seen: list[warnings.WarningMessage] = []

    @io.on("connect")
    def connect(socket: Socket) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            socket.on("connect", lambda: None)
            socket.once("disconect", lambda reason: None)
            socket.on("anything", lambda: None)
        seen.extend(caught)
        with pytest.raises(ConfigurationError, match=r"it is called as <lambda>\(reason\)"):
            socket.on("disconnect", lambda: None)
        with pytest.raises(ConfigurationError, match="cannot be a listener of all events"):
            socket.on_any(lambda: None)
        with pytest.raises(ConfigurationError, match="cannot be middleware of a socket"):
            socket.use(lambda: None)

    async with TestServer(io) as server:
        await server.connect()
    assert [str(warning.message)[:60] for warning in seen] == [
        "'connect' has happened when there is a socket: register its ",
        "'disconect' is no event of the library: did you mean 'discon",
    ]
    assert {warning.filename for warning in seen} == {__file__}


def distance_one(name: str, target: str) -> bool:
    """The plain twin of what a slip may be at most: one edit, or two neighbours exchanged."""
    letters = sorted({*name, *target})
    edits = {target[:i] + target[i + 1 :] for i in range(len(target))}
    edits |= {target[:i] + c + target[i + 1 :] for i in range(len(target)) for c in letters}
    edits |= {target[:i] + c + target[i:] for i in range(len(target) + 1) for c in letters}
    edits |= {target[:i] + target[i : i + 2][::-1] + target[i + 2 :] for i in range(len(target) - 1)}
    return name in edits


@given(st.text("conet_x1", max_size=9), st.sampled_from(["connect", "con_x", "ot"]))
def test_a_slip_is_one_edit(name: str, target: str) -> None:
    if is_slip(name, target) and name != target:
        assert distance_one(name, target)


@given(st.data())
def test_each_missing_wrong_or_exchanged_letter_is_a_slip(data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(["connect", "disconnect", "message", "error"]))
    at = data.draw(st.integers(0, len(target) - 2))
    assert is_slip(target[:at] + target[at + 1 :], target)
    assert is_slip(target[:at] + "q" + target[at + 1 :], target)
    assert is_slip(target[: at + 1] + "q" + target[at + 1 :], target)
    exchanged = target[:at] + target[at + 1] + target[at] + target[at + 2 :]
    assert exchanged == target or is_slip(exchanged, target)


# ---- signatures


@pytest.mark.parametrize(
    ("name", "function", "call"),
    [
        ("connect", lambda: None, "<lambda>(socket)"),
        ("connection", lambda sid, environ: None, "<lambda>(socket)"),
        ("disconnect", lambda: None, "<lambda>(socket, reason) or <lambda>(socket)"),
        ("disconnect", lambda a, b, c: None, "<lambda>(socket, reason) or <lambda>(socket)"),
        ("disconnecting", lambda a, b, c: None, "<lambda>(socket, reason) or <lambda>(socket)"),
        ("chat", lambda: None, "<lambda>(socket, ...)"),
        ("*", lambda socket: None, "<lambda>(socket, event, ...)"),
        ("error", lambda error: None, "<lambda>(socket, exception)"),
        ("create_room", lambda: None, "<lambda>(room)"),
        ("leave_room", lambda room: None, "<lambda>(room, socket_id)"),
        ("socket_expired", lambda sid: None, "<lambda>(socket_id, rooms, data)"),
    ],
)
def test_a_handler_that_cannot_be_called_is_refused(name: str, function: Callable[..., Any], call: str) -> None:
    """When it is registered, with the signature that is wanted; nothing is registered."""
    io = Server()
    with pytest.raises(ConfigurationError, match=re.escape(f"it is called as {call}") + "$"):
        io.on(name)(function)
    assert not io._root._handlers.incoming.events
    assert not io._root._handlers.library.events


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("connect", lambda socket, *more: None),
        ("disconnect", lambda socket: None),
        ("disconnect", lambda socket, reason: None),
        ("disconnect", lambda *args: None),
        ("chat", lambda socket: None),
        ("chat", lambda socket, a, b, c=1: None),
        ("*", lambda socket, event: None),
        ("*", lambda socket, event, first: None),
        ("join_room", lambda room, sid: None),
        ("new_namespace", lambda namespace: None),
        ("socket_expired", lambda sid, rooms, data: None),
    ],
)
def test_a_handler_that_can_be_called_is_not(name: str, function: Callable[..., Any]) -> None:
    assert Server().on(name)(function) is function


def test_methods_of_a_namespace_are_looked_at() -> None:
    class Chat(Namespace):
        @event("chat-message")
        def chat_message(self) -> None: ...

    with pytest.raises(ConfigurationError, match=r"chat_message\(\) .*it is called as chat_message\(socket, \.\.\.\)"):
        Server().of("/chat", Chat)


def test_middleware_and_who_decides_about_handshakes_are_looked_at() -> None:
    io = Server()
    with pytest.raises(ConfigurationError, match=r"cannot be middleware: it is called as <lambda>\(socket\)"):
        io.use(lambda: None)
    with pytest.raises(ConfigurationError, match=r"cannot be allow_request: it is called as <lambda>\(request\)"):
        io.allow_request(lambda: None)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("connect", "(session)"),
        ("message", "(session, data)"),
        ("disconnect", "(session, reason)"),
        ("connection_error", "(refusal, request)"),
        ("headers", "(headers, request)"),
    ],
)
def test_handlers_of_an_engine_are_looked_at(name: str, call: str) -> None:
    engine = Engine()
    with pytest.raises(ConfigurationError, match=re.escape(f"it is called as <lambda>{call}")):
        engine.on(name)(lambda: None)
    assert name not in engine.listeners


def test_a_decorator_that_lacks_its_event_is_refused_where_it_stands() -> None:
    """It would take the function for the name, and register nothing."""
    io = Server()

    def chat(socket: Any, text: str) -> None: ...

    for register in (io.on, io.of("/admin").on, io.on_server):
        with pytest.raises(ConfigurationError, match=r"the function chat is no event name: write @io\.on\('connect'\)"):
            register(cast(str, chat))
    with pytest.raises(ConfigurationError, match="3 is no event name"):
        io.on(cast(str, 3))


@async_test
async def test_a_listener_that_lacks_its_event_is_refused_too() -> None:
    io = Server()
    async with TestServer(io) as server:
        client = await server.connect()
        socket = io.sockets[client.id]
        for register in (socket.on, socket.once):
            with pytest.raises(ConfigurationError, match="is no event name"):
                register(cast(str, lambda text: None))
