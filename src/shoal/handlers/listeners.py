"""What one socket has of its own beside its namespace's handlers: listeners of one event or of all, and middleware.

Most sockets have none of it, and then no such object. Listeners here get the event's arguments without the socket, as
Node's ``socket.on`` does: it was there when they were made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

from ..signatures import require_signature
from .events import check_listener, require_name
from .registry import Handler

__all__ = ["Listeners", "Listening", "never_concurrent"]

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)


class Listeners:
    """Listeners and middleware of one socket."""

    __slots__ = ("_any", "_any_outgoing", "_listeners", "_middleware", "_once")

    def __init__(self) -> None:
        self._listeners: dict[str, list[Handler]] = {}
        self._once: set[Handler] = set()
        self._middleware: list[Function] = []
        self._any: list[Function] = []
        self._any_outgoing: list[Function] = []

    def on(self, event: str, function: Function | None, *, concurrent: bool = False) -> Any:
        """Register a listener, or return a decorator that does."""
        require_name(event)
        if function is None:
            return lambda decorated: self.on(event, decorated, concurrent=concurrent)
        check_listener(event, function)
        handler = Handler(function, leading=0, concurrent=concurrent)
        self._listeners[event] = [*self._listeners.get(event, ()), handler]
        return function

    def once(self, event: str, function: Function | None) -> Any:
        """Register a listener for one event."""
        require_name(event)
        if function is None:
            return lambda decorated: self.once(event, decorated)
        self.on(event, function)
        self._once.add(self._listeners[event][-1])
        return function

    def off(self, event: str, function: Function | None) -> None:
        """Forget a listener, or all of an event."""
        for handler in self._listeners.get(event, ()):
            if function is None or handler.function == function:
                self._forget(event, handler)

    def _forget(self, event: str, handler: Handler) -> None:
        self._once.discard(handler)
        left = [other for other in self._listeners[event] if other is not handler]
        if left:
            self._listeners[event] = left
        else:
            del self._listeners[event]

    def use(self, function: F) -> F:
        require_signature(function, "middleware of a socket", ("event",), more=True)
        self._middleware.append(function)
        return function

    def on_any(self, function: F) -> F:
        require_signature(function, "a listener of all events", ("event",), more=True)
        self._any.append(function)
        return function

    def off_any(self, function: Function | None) -> None:
        self._any = [other for other in self._any if function is not None and other != function]

    def on_any_outgoing(self, function: F) -> F:
        require_signature(function, "a listener of all outgoing events", ("event",), more=True)
        self._any_outgoing.append(function)
        return function

    def off_any_outgoing(self, function: Function | None) -> None:
        self._any_outgoing = [other for other in self._any_outgoing if function is not None and other != function]

    def notify_outgoing(self, event: str, args: Any) -> None:
        """Call the listeners of outgoing events, which are plain functions."""
        for function in tuple(self._any_outgoing):
            function(event, *args)

    async def notify_any(self, event: str, args: Any) -> None:
        """Call the listeners of all incoming events."""
        await self._each(self._any, event, args)

    async def run_middleware(self, event: str, args: Any) -> None:
        """Call the middleware, which raises to stop the event."""
        await self._each(self._middleware, event, args)

    async def _each(self, functions: list[Function], event: str, args: Any) -> None:
        for function in tuple(functions):
            result = function(event, *args)
            if inspect.isawaitable(result):
                await result

    async def handle(
        self,
        event: str,
        args: Any,
        acknowledge: Callable[[Any], None],
        run_concurrently: Callable[[Coroutine[Any, Any, None]], bool],
    ) -> bool:
        """Call the listeners of an event; concurrent ones by ``run_concurrently``, if it takes them. Was there one?"""
        listeners = self._listeners.get(event)
        if listeners is None:
            return False
        for handler in listeners:
            if handler in self._once:
                self._forget(event, handler)
            work = _call(handler, args, acknowledge)
            if not (handler.concurrent and handler.is_async and run_concurrently(work)):
                await work
        return True


async def _call(handler: Handler, args: Any, acknowledge: Callable[[Any], None]) -> None:
    result = handler.function(*handler.convert(args))
    if inspect.isawaitable(result):
        result = await result
    acknowledge(result)


def never_concurrent(work: Coroutine[Any, Any, None]) -> bool:
    """Takes nothing: listeners of the library's own events are called one after another."""
    return False


class Listening:
    """The part of a socket that registers listeners of its own."""

    __slots__ = ("_listeners",)

    _listeners: Listeners | None
    """Most sockets need none."""

    @overload
    def on(self, event: str, function: None = None, *, concurrent: bool = False) -> Callable[[F], F]: ...

    @overload
    def on(self, event: str, function: F, *, concurrent: bool = False) -> F: ...

    def on(self, event: str, function: Callable[..., Any] | None = None, *, concurrent: bool = False) -> Any:
        """Register a handler for this socket alone; its arguments are the event's, without the socket.

        Called with an event only, it is a decorator.
        """
        return self._own_listeners().on(event, function, concurrent=concurrent)

    @overload
    def once(self, event: str, function: None = None) -> Callable[[F], F]: ...

    @overload
    def once(self, event: str, function: F) -> F: ...

    def once(self, event: str, function: Callable[..., Any] | None = None) -> Any:
        """As :meth:`on`, for the next event only."""
        return self._own_listeners().once(event, function)

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Forget a handler that :meth:`on` or :meth:`once` registered, or all of an event."""
        if self._listeners is not None:
            self._listeners.off(event, function)

    def use(self, function: F) -> F:
        """Middleware for each incoming event: called with ``(event, *args)``; raises to stop the event.

        What it raises is given to the handlers of ``error``; without one it is logged.
        """
        return self._own_listeners().use(function)

    def on_any(self, function: F) -> F:
        """Call ``function(event, *args)`` for each incoming event, before its handlers."""
        return self._own_listeners().on_any(function)

    def off_any(self, function: Callable[..., Any] | None = None) -> None:
        """Forget what :meth:`on_any` registered."""
        if self._listeners is not None:
            self._listeners.off_any(function)

    def off_any_outgoing(self, function: Callable[..., Any] | None = None) -> None:
        """Forget what ``on_any_outgoing`` registered."""
        if self._listeners is not None:
            self._listeners.off_any_outgoing(function)

    def _own_listeners(self) -> Listeners:
        if self._listeners is None:
            self._listeners = Listeners()
        return self._listeners
