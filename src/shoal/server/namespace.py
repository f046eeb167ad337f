"""The handlers, middleware and sockets of one namespace; and the table of namespaces, dynamic ones included.

Children of a dynamic namespace share the handlers of their parent, and have rooms of their own.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import ConfigurationError, PayloadError, RoomRefused
from ..fanout.rooms import Rooms
from ..protocol.socketio import EVENT, RESERVED_EVENTS
from .acks import Answers
from .broadcast import Broadcasting
from .handlers import Handler, HandlerTable
from .socket import Socket

if TYPE_CHECKING:
    from ..cluster.link import Link
    from .server import Server

__all__ = ["Namespace", "Namespaces", "event"]

F = TypeVar("F", bound=Callable[..., Any])
Matcher = str | re.Pattern[str] | Callable[..., Any]

# Events of the library itself; a client cannot send them. Node's older name of the first still works.
ALIASES: Final = {"connection": "connect"}
LIBRARY_EVENTS: Final = frozenset({"create_room", "delete_room", "error", "join_room", "leave_room", "new_namespace"})


EVENT_MARK: Final = "__shoal_event__"


def event(name: str, *, concurrent: bool = False) -> Callable[[F], F]:
    """Mark a method of a :class:`Namespace` subclass as the handler of an event whose name is no identifier.

    Args:
        name: The event's name.
        concurrent: As for :meth:`Namespace.on`.
    """

    def mark(function: F) -> F:
        setattr(function, EVENT_MARK, (ALIASES.get(name, name), concurrent))
        return function

    return mark


class Namespace(Broadcasting):
    """One namespace: a channel of its own over the same connections.

    Made by ``io.of("/name")``. It has the same ``on``, ``use``, ``emit`` and ``to`` as the server, whose namespace is
    ``/``. A subclass may hold its handlers as methods::

        class Chat(Namespace):
            async def on_connect(self, socket):
                await socket.join("chat")

            @event("chat-message")
            def said(self, socket, text):
                self.to("chat").emit("chat-message", text)

        io.of("/chat", Chat)

    Args:
        server: The server.
        name: With its slash.
        parent: The dynamic namespace that this one came from.
    """

    def __init__(self, server: Server, name: str, parent: Namespace | None = None) -> None:
        self.name = name
        self.server = server
        self.parent = parent
        self.handlers: HandlerTable = parent.handlers if parent is not None else HandlerTable()
        self.middleware: list[Handler] = parent.middleware if parent is not None else []
        self.library_handlers: HandlerTable = parent.library_handlers if parent is not None else HandlerTable()
        self.server_side: HandlerTable = parent.server_side if parent is not None else HandlerTable()
        self.rooms: Rooms[Socket] = Rooms(server.ticker.before_change)
        self.ears: set[Socket] = set()
        """Sockets that listen to all that goes out."""
        # What a socket needs at each event stands here, one step away.
        self.ticker = server.ticker
        self.runners = server.runners
        self.settings = server.settings
        self.stats = server.stats
        self.recovery = server.recovery
        self.encode = server.encode
        if parent is None:
            self._register_methods()

    def __repr__(self) -> str:
        return f"<namespace {self.name}, {len(self.rooms.by_id)} sockets>"

    def _register_methods(self) -> None:
        """Register the methods of a subclass: ``on_NAME`` for the event NAME, and those marked with :func:`event`."""
        for name, function in inspect.getmembers(type(self), inspect.isfunction):
            if hasattr(Namespace, name):
                continue
            mark = getattr(function, EVENT_MARK, None)
            if mark is not None:
                self._table(mark[0]).add(mark[0], getattr(self, name), mark[1])
            elif name.startswith("on_"):
                event_name = name.removeprefix("on_")
                self._table(event_name).add(ALIASES.get(event_name, event_name), getattr(self, name))

    # ---- for applications

    def on(self, event: str, *, concurrent: bool = False) -> Callable[[F], F]:
        """A decorator that registers a handler for an event of every socket.

        Events of the library: ``connect`` (socket), ``disconnecting`` and ``disconnect`` (socket, reason), ``*``
        (socket, event, \\*args) for events without a handler; ``create_room``, ``delete_room`` (room), ``join_room``,
        ``leave_room`` (room, socket id), which are plain functions; ``new_namespace``
        (namespace), a plain function too, told to ``/`` alone; ``error`` (socket, exception) for what the middleware of
        :meth:`.socket.Socket.use` raised, and for the packet that broke the protocol and ends the connection.

        Args:
            event: The event's name.
            concurrent: The handler, a coroutine function, does not hold up its client's next event.
        """
        return self._table(event).decorator(ALIASES.get(event, event), concurrent)

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Forget a handler, or all of an event."""
        self._table(event).remove(ALIASES.get(event, event), function)

    def _table(self, event: str) -> HandlerTable:
        """Where an event's handlers stand: the library's own apart, where no client's event is looked up."""
        return self.library_handlers if event in LIBRARY_EVENTS else self.handlers

    def on_server(self, event: str) -> Callable[[F], F]:
        """A decorator that registers a handler of what other servers say: ``function(*args)``, plain or async.

        What it returns is the answer to :meth:`server_side_call`.
        """

        def register(function: F) -> F:
            self.server_side.add(event, function, leading=0)
            return function

        return register

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Say something to the other servers of the cluster. Never waits."""
        if self.link is not None:
            self.link.requests.tell("server_side", [self.name, event, list(args)])

    async def server_side_call(self, event: str, *args: Any, timeout: float | None = None) -> Answers:
        """Ask the other servers of the cluster.

        Args:
            event: The event's name.
            args: Anything that msgpack can hold.
            timeout: Seconds to wait; without it the option ``request_timeout``.

        Returns:
            ``responses``, and ``missing``: the names of nodes that did not answer in time.
        """
        if self.link is None:
            return Answers()
        patience = self.settings.request_timeout if timeout is None else timeout
        replies = await self.link.requests.ask("server_side", [self.name, event, list(args)], patience)
        return Answers([body for _, body in replies.bodies], replies.missing)

    def use(self, function: F) -> F:
        """Register middleware: called with each new socket, in order; raises to refuse it."""
        self.middleware.append(Handler(function))
        return function

    @property
    def sockets(self) -> dict[str, Socket]:
        """Sockets of this node, by id. A copy."""
        return dict(self.rooms.by_id)

    def _home(self) -> Namespace:
        return self

    # ---- for sockets and broadcasts

    @property
    def link(self) -> Link | None:
        """The link to other nodes, if there are any."""
        return self.server.link

    @property
    def has_goodbye(self) -> bool:
        """Whether anybody wants to know that a socket leaves."""
        return "disconnect" in self.handlers.events or "disconnecting" in self.handlers.events

    def connect_handlers(self) -> list[Handler]:
        return self.handlers.get("connect")

    def encode_event(
        self, event: str, args: tuple[Any, ...], ack_id: int | None = None
    ) -> tuple[bytes, Sequence[bytes]]:
        """An event as bytes.

        Raises:
            PayloadError: The name is reserved, or an argument has no JSON form.
        """
        if event in RESERVED_EVENTS:
            raise PayloadError(f"{event!r} is a reserved event name")
        if self.recovery is not None and ack_id is None:
            # The official client takes any last text for an offset: what is not remembered has the one before.
            args = (*args, self.recovery.offset)
        return self.encode(EVENT, self.name, [event, *args], ack_id)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task that the server owns."""
        self.server.engine.spawn(work)

    def enter(self, socket: Socket) -> None:
        """A socket passed the middleware."""
        self.rooms.enter(socket)

    def enter_again(self, socket: Socket, rooms: Iterable[str]) -> set[str]:
        """A socket comes back to its rooms. Returns those that it is the first in, for :meth:`tell_of_rooms`."""
        self.rooms.enter(socket)
        return {room for room in rooms if self.rooms.join(socket, room)}

    def tell_of_rooms(self, socket: Socket, rooms: Iterable[str], created: Collection[str]) -> None:
        """Tell the listeners of rooms where a socket is now."""
        for room in rooms:
            if room in created:
                self.tell("create_room", room)
            if room in socket.joined:  # unless a listener has sent it away
                self.tell("join_room", room, socket.id)

    def put(self, socket: Socket, room: str) -> bool:
        """Put a socket into a room. Returns whether messages of other nodes are sure to reach it there.

        Raises:
            RoomRefused: Too many rooms, or the name is another socket's id.
        """
        if room not in socket.joined and room != socket.id:
            if len(socket.joined) >= self.settings.max_rooms:
                self._refuse_room("in as many rooms as are allowed")
            is_elsewhere = self.link is not None and self.link.is_elsewhere(room)
            is_away = self.recovery is not None and self.recovery.is_away(room)
            if is_elsewhere or is_away or self.rooms.by_id.get(room, socket) is not socket:
                self._refuse_room("a room must not be named like the id of another socket")
            first = self.rooms.join(socket, room)
            if first:
                self.tell("create_room", room)
                if self.link is not None:
                    self.link.open_room(self.name, room)
            self.tell("join_room", room, socket.id)
        return self.link is None or self.link.is_confirmed(self.name, room)

    def _refuse_room(self, reason: str) -> None:
        self.stats.rooms_refused += 1
        raise RoomRefused(reason)

    async def confirm(self, rooms: list[str]) -> None:
        """Wait until the broker confirmed these rooms' channels, or the time for it is over."""
        if self.link is not None:
            await self.link.confirm(self.name, rooms, self.settings.subscribe_timeout)

    def take(self, socket: Socket, room: str) -> None:
        """Take a socket out of a room."""
        if room in socket.joined:
            emptied = self.rooms.leave(socket, room)
            self.tell("leave_room", room, socket.id)
            if emptied:
                self._emptied(room)

    def exit(self, socket: Socket) -> None:
        """Take a socket out of everything."""
        rooms = list(socket.joined) if self.library_handlers.events else ()
        emptied = self.rooms.exit(socket)
        self.ears.discard(socket)
        for room in rooms:
            self.tell("leave_room", room, socket.id)
        for room in emptied:
            self._emptied(room)
        if self.parent is not None and not self.rooms.by_id:
            self.server.namespaces.emptied(self)

    def _emptied(self, room: str) -> None:
        self.tell("delete_room", room)
        if self.link is not None:
            self.link.close_room(self.name, room)

    def tell(self, event: str, *args: Any) -> None:
        """Call the plain functions that listen to an event of the library."""
        for handler in self.library_handlers.events.get(event, ()):
            try:
                handler.function(*args)
            except Exception:
                self.stats.handler_errors += 1
                self.server.log.exception("handler of %r failed", event)


class Namespaces:
    """The namespaces of a server, by name; dynamic ones by what they match."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.by_name: dict[str, Namespace] = {}
        self._dynamic: list[tuple[Matcher, Namespace]] = []

    def of(self, matcher: Matcher, kind: type[Namespace] = Namespace) -> Namespace:
        """The namespace of a name, made if it does not exist; or a dynamic one.

        Args:
            matcher: A name; a pattern that is searched for in the name, so anchor it; or a function of ``(name,
                auth)``, plain or async, that says whether a name is its.
            kind: A subclass of :class:`Namespace` with handlers as methods. It must come first: a namespace that
                exists keeps its kind.

        Raises:
            ConfigurationError: The name cannot be one, or exists as another kind.
        """
        if isinstance(matcher, str):
            name = matcher if matcher.startswith("/") else f"/{matcher}"
            if "," in name:
                raise ConfigurationError(f"namespace {name!r}: a comma ends the name on the wire")
            found = self.by_name.get(name) or self._add(self._make(name, kind))
            if not isinstance(found, kind):
                raise ConfigurationError(f"namespace {name!r} exists already, as a {type(found).__name__}")
            return found
        for known, namespace in self._dynamic:
            if known == matcher:
                return namespace
        parent = kind(self._server, "*")
        self._dynamic.append((matcher, parent))
        return parent

    def _make(self, name: str, kind: type[Namespace]) -> Namespace:
        """A namespace, under the dynamic one whose pattern its name matches: it must have that one's middleware."""
        if kind is Namespace:
            for matcher, parent in self._dynamic:
                if isinstance(matcher, re.Pattern) and matcher.search(name):
                    return type(parent)(self._server, name, parent)
        return kind(self._server, name)

    async def find(self, name: str, auth: Any) -> Namespace | None:
        """The namespace that a client wants to enter; a child of a dynamic one is made on the way."""
        namespace = self.by_name.get(name)
        if namespace is not None or not self._dynamic or not name.isprintable():
            return namespace  # a control character: Python's "$" matches before a line's end, JavaScript's does not
        for matcher, parent in self._dynamic:
            if isinstance(matcher, re.Pattern):
                matches = matcher.search(name) is not None
            else:
                assert not isinstance(matcher, str)
                answer = matcher(name, {} if auth is None else auth)
                matches = bool(await answer if inspect.isawaitable(answer) else answer)
            if matches:
                return self.by_name.get(name) or self._add(type(parent)(self._server, name, parent))
        return None

    def _add(self, namespace: Namespace) -> Namespace:
        self.by_name[namespace.name] = namespace
        self.by_name["/"].tell("new_namespace", namespace)
        if self._server.link is not None:
            self._server.link.open_namespace(namespace.name)
        return namespace

    def emptied(self, namespace: Namespace) -> None:
        """The last socket of a dynamic namespace's child left."""
        if self._server.settings.cleanup_empty_namespaces and self.by_name.get(namespace.name) is namespace:
            del self.by_name[namespace.name]
            if self._server.link is not None:
                self._server.link.close_namespace(namespace.name)
