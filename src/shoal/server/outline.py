"""What a server or an engine has been told to do, as plain data: its namespaces, their handlers, and where those stand.

For people and programs that look at an application. It runs nothing, and judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..engine.base import BaseEngine
from ..handlers.registry import ANY, Handler, Handlers, HandlerTable, is_async
from ..signatures import name_of, place_of
from .namespaces import Matcher, Site
from .server import Server

__all__ = ["Function", "NamespaceOutline", "outline", "outline_engine"]


@dataclass(frozen=True, slots=True)
class Function:
    """One function that an application has registered."""

    event: str
    """What it is called for; ``middleware`` and ``allow_request`` for those."""
    function: str
    file: str | None
    line: int | None
    is_async: bool
    concurrent: bool = False
    thread: bool = False


@dataclass(frozen=True, slots=True)
class NamespaceOutline:
    """One namespace, or a dynamic one."""

    name: str
    """Of a dynamic one its pattern, or the name of the function that says which names are its."""
    dynamic: bool
    kind: str
    """The name of its class."""
    middleware: tuple[Function, ...]
    handlers: tuple[Function, ...]
    """Of what clients send, of their coming and going, and of the library's other events."""
    server_handlers: tuple[Function, ...]
    """Of what other servers send."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been registered here."""
        return not (self.middleware or self.handlers or self.server_handlers)


def outline(server: Server) -> list[NamespaceOutline]:
    """The namespaces of a server: ``/``, the others in the order in which they were made, then the dynamic ones."""
    namespaces = server._namespaces
    named = [_namespace(name, False, site) for name, site in namespaces.by_name.items() if not site.is_child]
    return named + [_namespace(_shown(matcher), True, site) for matcher, site in namespaces.dynamic]


def outline_engine(engine: BaseEngine[Any]) -> list[Function]:
    """What is registered for handshakes and for an engine's own events."""
    found = [_described(event, each) for event, several in engine.listeners.functions().items() for each in several]
    allow = engine.allow_request
    return found if allow is None else [_described("allow_request", allow), *found]


def _namespace(name: str, dynamic: bool, site: Site) -> NamespaceOutline:
    handlers: Handlers = site.handlers
    return NamespaceOutline(
        name,
        dynamic,
        type(site.namespace).__name__,
        tuple(_handler("middleware", each) for each in handlers.middleware),
        (*_table(handlers.incoming), *_table(handlers.library)),
        tuple(_table(handlers.server_side)),
    )


def _table(table: HandlerTable) -> Iterator[Function]:
    tables: Iterable[tuple[str, list[Handler]]] = (*table.events.items(), (ANY, table.any))
    return (_handler(event, each) for event, several in tables for each in several)


def _handler(event: str, handler: Handler) -> Function:
    thread = handler.function is not handler.registered
    return _described(event, handler.registered, handler.concurrent, thread)


def _described(event: str, function: Any, concurrent: bool = False, thread: bool = False) -> Function:
    file, line = place_of(function) or (None, None)
    return Function(event, name_of(function), file, line, is_async(function), concurrent, thread)


def _shown(matcher: Matcher) -> str:
    if isinstance(matcher, re.Pattern):
        return matcher.pattern
    return matcher if isinstance(matcher, str) else name_of(matcher)
