"""The public face of one namespace: its handlers, middleware, sockets and broadcasts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, TypeVar, cast

from ..adapter.base import Adapter
from ..adapter.sockets import Answers
from ..engine.home import snapshot
from ..handlers.events import require_name
from ..handlers.registry import Handler, Handlers
from ..signatures import require_signature
from .awaitables import SENT
from .broadcast import NamespaceBase
from .socket import Socket

__all__ = ["Namespace", "event", "register_methods"]

F = TypeVar("F", bound=Callable[..., Any])

EVENT_MARK: Final = "__shoal_event__"


def event(name: str, *, concurrent: bool = False, thread: bool = False) -> Callable[[F], F]:
    """Mark a method of a :class:`Namespace` subclass as the handler of an event whose name is no identifier.

    Args:
        name: The event's name.
        concurrent, thread: As for :meth:`Namespace.on`.
    """

    def mark(function: F) -> F:
        setattr(function, EVENT_MARK, (name, concurrent, thread))
        return function

    return mark


class Namespace(NamespaceBase):
    """One namespace: a channel of its own over the same connections.

    Made by ``io.of("/name")``. It has the same ``on``, ``use``, ``emit`` and ``to`` as the server, whose namespace is
    ``/``. A subclass may hold its handlers as methods::

        class Chat(Namespace):
            async def on_connect(self, socket):
                await socket.join("chat")

            @event("chat-message")
            def chat_message(self, socket, text):
                self.to("chat").emit("chat-message", text)

        io.of("/chat", Chat)

    Args:
        name: With its slash.
        adapter: Its rooms and its way to other nodes.
        handlers: Where its handlers stand; children of a dynamic namespace share those of their parent.
    """

    def __init__(self, name: str, adapter: Adapter, handlers: Handlers) -> None:
        self.name = name
        self._adapter = adapter
        self._handlers = handlers

    def __repr__(self) -> str:
        return f"<namespace {self.name}, {len(self._adapter.rooms.by_id)} sockets>"

    def on(self, event: str, *, concurrent: bool = False, thread: bool = False) -> Callable[[F], F]:
        """A decorator that registers a handler for an event of every socket.

        Events of the library: ``connect`` (socket), ``disconnecting`` and ``disconnect`` (socket, reason), ``*``
        (socket, event, \\*args) for events without a handler; ``create_room``, ``delete_room`` (room), ``join_room``,
        ``leave_room`` (room, socket id), which are plain functions; ``new_namespace`` (namespace), a plain one too,
        in ``/`` alone; ``socket_expired`` (socket id, rooms, data), once in the cluster for each client that lost its
        connection and has not come back to its state in time, or could not; ``error`` (socket, exception) for what the
        middleware of :meth:`.socket.Socket.use` raised, and for the packet that broke the protocol and ends the
        connection.

        Args:
            event: The event's name.
            concurrent: The handler, a coroutine function or in a thread, does not hold up its client's next event.
            thread: The handler, a plain function that may block, is called in a thread of a pool (``handler_threads``).
                Whatever need not be awaited may be called there, as ``emit`` and ``socket.join``.

        Raises:
            ConfigurationError: ``event`` is no name. When the function is registered: it cannot be called with what it
                will get.

        Warns:
            EventWarning: The name is probably a mistake: no client's event, and none of the library.
        """
        require_name(event)

        def register(function: F) -> F:
            call = self._adapter.context.threads.wrap(function) if thread else None
            self._handlers.add(event, function, concurrent, call)
            return function

        return register

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Forget a handler, or all of an event."""
        self._handlers.remove(event, function)

    def on_server(self, event: str) -> Callable[[F], F]:
        """A decorator that registers a handler of what other servers send: ``function(*args)``, plain or async.

        What it returns is the answer to :meth:`server_side_call`.
        """
        require_name(event)

        def register(function: F) -> F:
            self._handlers.server_side.add(event, function, leading=0)
            return function

        return register

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Send an event to the other servers of the cluster. Never waits. May be called from any thread."""
        home = self._adapter.home
        if get_ident() != home.thread and home.move(self.server_side_emit, event, *snapshot(args)):
            return SENT
        self._adapter.server_side_emit(event, args)
        return SENT

    async def server_side_call(self, event: str, *args: Any, timeout: float | None = None) -> Answers:
        """Ask the other servers of the cluster.

        Args:
            event: The event's name.
            args: Anything that msgpack can hold.
            timeout: Seconds to wait; without it the option ``request_timeout``.

        Returns:
            ``responses``, and ``missing``: the names of nodes that did not answer in time.
        """
        default = self._adapter.context.settings.request_timeout
        return await self._adapter.server_side_call(event, args, default if timeout is None else timeout)

    def use(self, function: F) -> F:
        """Register middleware: called with each new socket, in order; raises to refuse it."""
        require_signature(function, "middleware", ("socket",))
        self._handlers.middleware.append(Handler(function))
        return function

    @property
    def sockets(self) -> dict[str, Socket]:
        """Sockets of this node, by id. A copy."""
        return cast(dict[str, Socket], dict(self._adapter.rooms.by_id))


def register_methods(namespace: Namespace) -> None:
    """Register the methods of a subclass: ``on_NAME`` for the event NAME, and those marked with :func:`event`."""
    for name, function in inspect.getmembers(type(namespace), inspect.isfunction):
        if hasattr(Namespace, name):
            continue
        mark = getattr(function, EVENT_MARK, None)
        if mark is not None:
            event, concurrent, thread = mark
            namespace.on(event, concurrent=concurrent, thread=thread)(getattr(namespace, name))
        elif name.startswith("on_"):
            namespace.on(name.removeprefix("on_"))(getattr(namespace, name))
