"""Register handlers and call them. Signatures are looked at once, at registration.

A handler is a plain function or a coroutine function. Arguments that are annotated with a model are converted and
validated. This module calls; it does not know when, nor what becomes of the result.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from ..errors import ConfigurationError, ShoalError
from .arguments import Converter, converters_of, reason_of
from .events import ALIASES, ANY, LIBRARY_EVENTS, check_handler, require_name

__all__ = ["ANY", "NO_ACK", "BadArguments", "Handler", "HandlerTable", "Handlers", "as_args", "as_value", "is_async"]

F = TypeVar("F", bound=Callable[..., Any])


NO_HANDLERS: Final[list[Any]] = []


class _NoAck:
    """Type of :data:`NO_ACK`."""

    def __repr__(self) -> str:
        return "NO_ACK"


NO_ACK: Final = _NoAck()
"""Returned by a handler that does not want its client's acknowledgement to be sent."""


def as_args(value: Any) -> list[Any]:
    """What a handler returned as an acknowledgement's arguments: none for ``None``, several for a tuple, else one."""
    return [] if value is None else list(value) if type(value) is tuple else [value]


def as_value(args: list[Any]) -> Any:
    """The reverse of :func:`as_args`: what the one who asked gets."""
    return args[0] if len(args) == 1 else tuple(args) if args else None


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a function is a coroutine function, or an object that is called like one."""
    return inspect.iscoroutinefunction(function if inspect.isroutine(function) else type(function).__call__)


class BadArguments(ShoalError):
    """An event came with arguments that its handler does not take."""


class Handler:
    """One function that is called for an event.

    Args:
        function: Plain or async.
        leading: How many arguments come before the event's own: the socket, for ``*`` the event's name too.
        concurrent: A coroutine function that does not hold up its client's next event.
        call: What is called in its place: a coroutine function that takes and gives the same.
    """

    __slots__ = ("concurrent", "converters", "function", "is_async", "maximum", "minimum", "registered")

    def __init__(
        self,
        function: Callable[..., Any],
        leading: int = 1,
        concurrent: bool = False,
        call: Callable[..., Any] | None = None,
    ) -> None:
        if not callable(function):
            raise ConfigurationError(f"{function!r} is no function")
        self.registered: Callable[..., Any] = function
        """The application's own."""
        self.function: Callable[..., Any] = function if call is None else call
        """What is called."""
        self.concurrent: bool = concurrent
        self.is_async: bool = is_async(self.function)
        self.minimum: int
        self.maximum: int
        self.converters: list[Converter | None]
        self.minimum, self.maximum, self.converters = _inspect(function, leading)
        """How many arguments of the event it takes, and what each is converted with; empty if none is."""

    def __repr__(self) -> str:
        return getattr(self.registered, "__qualname__", repr(self.function))

    def convert(self, args: Sequence[Any]) -> Sequence[Any]:
        """Check the number of an event's arguments, and convert those that have a type.

        Raises:
            BadArguments: Too few, too many, or of the wrong shape.
        """
        count = len(args)
        if not self.minimum <= count <= self.maximum:
            raise BadArguments(f"{self!r} does not take {count} arguments")
        if not self.converters:
            return args
        try:
            return [
                converter(arg) if converter is not None else arg
                for arg, converter in zip(args, self.converters, strict=False)
            ] + list(args[len(self.converters) :])
        except ValueError as error:  # msgspec's and pydantic's validation errors both are
            raise BadArguments(reason_of(error)) from error


def _inspect(function: Callable[..., Any], leading: int) -> tuple[int, int, list[Converter | None]]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin that does not tell
        return 0, sys.maxsize, []
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    endless = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    maximum = sys.maxsize if endless else max(0, len(positional) - leading)
    return max(0, required - leading), maximum, converters_of(function, positional[leading:])


class HandlerTable:
    """Handlers by event. Several of one event are called in the order they were registered."""

    __slots__ = ("any", "events", "single")

    def __init__(self) -> None:
        self.events: dict[str, list[Handler]] = {}
        self.single: dict[str, Handler] = {}
        """Of events that have one handler, if it holds up the client's next event."""
        self.any: list[Handler] = []
        """Called for events that have no handler of their own."""

    def add(
        self,
        event: str,
        function: Callable[..., Any],
        concurrent: bool = False,
        leading: int = 1,
        call: Callable[..., Any] | None = None,
    ) -> None:
        """Register a function for an event; ``leading`` arguments come before the event's own."""
        require_name(event)
        # New lists, not longer ones: an event may be walking over the old one.
        if event == ANY:
            self.any = [*self.any, Handler(function, leading + 1, concurrent, call)]
        else:
            self._set(event, [*self.events.get(event, ()), Handler(function, leading, concurrent, call)])

    def remove(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Forget a function of an event, or all of them. What is not registered is ignored."""
        left = [h for h in self.get(event) if function is not None and h.registered != function]
        if event == ANY:
            self.any = left
        else:
            self._set(event, left)

    def _set(self, event: str, handlers: list[Handler]) -> None:
        self.events.pop(event, None)
        self.single.pop(event, None)
        if handlers:
            self.events[event] = handlers
        if len(handlers) == 1 and not (handlers[0].concurrent and handlers[0].is_async):
            self.single[event] = handlers[0]

    def get(self, event: str) -> list[Handler]:
        """Handlers of one event. Not to be changed."""
        return self.any if event == ANY else self.events.get(event, NO_HANDLERS)

    def decorator(self, event: str, concurrent: bool = False) -> Callable[[F], F]:
        """A decorator that registers what it decorates."""

        def register(function: F) -> F:
            self.add(event, function, concurrent)
            return function

        return register


class Handlers:
    """All handlers of one namespace. Children of a dynamic namespace share those of their parent."""

    __slots__ = ("incoming", "library", "middleware", "server_side")

    def __init__(self) -> None:
        self.incoming: HandlerTable = HandlerTable()
        """Of what clients send, and of their coming and going."""
        self.library: HandlerTable = HandlerTable()
        """Of the library's other events, apart: no client's event is looked up here."""
        self.middleware: list[Handler] = []
        """Called with each new socket, in order."""
        self.server_side: HandlerTable = HandlerTable()
        """Of what other servers send."""

    def table(self, event: str) -> HandlerTable:
        """Where an event's handlers stand."""
        return self.library if event in LIBRARY_EVENTS else self.incoming

    def add(
        self,
        event: str,
        function: Callable[..., Any],
        concurrent: bool = False,
        call: Callable[..., Any] | None = None,
    ) -> None:
        """Register a function for an event of clients or of the library, and what is called in its place.

        Raises:
            ConfigurationError: It cannot be called for this event.
        """
        if isinstance(event, str):
            check_handler(event, function)
        self.table(event).add(ALIASES.get(event, event), function, concurrent, call=call)

    def remove(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Forget a function of an event, or all of them."""
        self.table(event).remove(ALIASES.get(event, event), function)

    @property
    def has_disconnect_handlers(self) -> bool:
        """Whether any handler wants to know that a socket leaves."""
        return "disconnect" in self.incoming.events or "disconnecting" in self.incoming.events
