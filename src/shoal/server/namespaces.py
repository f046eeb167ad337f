"""The namespaces of a server: by name, and dynamic ones by what they match.

Children of a dynamic namespace share the handlers of their parent, and have rooms of their own.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..adapter.backend import Backend
from ..adapter.base import Adapter
from ..adapter.sockets import ClientState
from ..engine.ids import new_socket_id
from ..errors import ConfigurationError
from ..handlers.registry import Handlers
from .lifecycle import Owner
from .namespace import Namespace, register_methods
from .socket import Socket

__all__ = ["Matcher", "Namespaces", "Site"]

Matcher = str | re.Pattern[str] | Callable[..., Any]


@dataclass(slots=True, eq=False)
class Site:
    """A namespace with what the application does not see of it. It makes the namespace's sockets."""

    namespace: Namespace
    adapter: Adapter
    handlers: Handlers
    is_child: bool = False
    """Whether it came from a dynamic namespace, and may be forgotten when it is empty."""
    entering: int = 0
    """Clients that are being let in."""

    def make_socket(self, owner: Owner, auth: dict[str, Any] | None, state: ClientState | None = None) -> Socket:
        """A socket for a client; with a state, the one that the client comes back to."""
        sid = new_socket_id(self.adapter.context.tag) if state is None else state.sid
        return Socket(self.namespace, self.adapter, self.handlers, owner, sid, auth, state)


class Namespaces:
    """The namespaces of a server.

    Args:
        backend: Makes their adapters.
        cleanup: Whether a child of a dynamic namespace is forgotten when its last socket leaves.
    """

    def __init__(self, backend: Backend[Any], cleanup: bool) -> None:
        self._backend = backend
        self._cleanup = cleanup
        self.by_name: dict[str, Site] = {}
        self.dynamic: list[tuple[Matcher, Site]] = []

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
            return self._named(matcher if matcher.startswith("/") else f"/{matcher}", kind)
        for known, site in self.dynamic:
            if known == matcher:
                return site.namespace
        handlers = Handlers()
        adapter = Adapter(self._backend.context, "*", handlers, _nothing)  # a pattern has no sockets of its own
        parent = Site(kind("*", adapter, handlers), adapter, handlers)
        register_methods(parent.namespace)
        self.dynamic.append((matcher, parent))
        return parent.namespace

    def _named(self, name: str, kind: type[Namespace]) -> Namespace:
        if "," in name:
            raise ConfigurationError(f"namespace {name!r}: a comma ends the name on the wire")
        found = (self.by_name.get(name) or self._make(name, kind)).namespace
        if not isinstance(found, kind):
            raise ConfigurationError(f"namespace {name!r} exists already, as a {type(found).__name__}")
        return found

    def _make(self, name: str, kind: type[Namespace]) -> Site:
        """A namespace, under the dynamic one whose pattern its name matches: it must have that one's middleware."""
        if kind is Namespace:
            for matcher, parent in self.dynamic:
                if isinstance(matcher, re.Pattern) and matcher.search(name):
                    return self._add(name, type(parent.namespace), parent.handlers, True)
        site = self._add(name, kind, Handlers(), False)
        register_methods(site.namespace)
        return site

    async def find(self, name: str, auth: Any) -> Site | None:
        """The namespace that a client wants to enter; a child of a dynamic one is made on the way."""
        site = self.by_name.get(name)
        if site is not None or not self.dynamic or not name.isprintable():
            return site  # a control character: Python's "$" matches before a line's end, JavaScript's does not
        for matcher, parent in self.dynamic:
            if isinstance(matcher, re.Pattern):
                matches = matcher.search(name) is not None
            else:
                assert not isinstance(matcher, str)
                answer = matcher(name, {} if auth is None else auth)
                matches = bool(await answer if inspect.isawaitable(answer) else answer)
            if matches:
                return self.by_name.get(name) or self._add(name, type(parent.namespace), parent.handlers, True)
        return None

    def _add(self, name: str, kind: type[Namespace], handlers: Handlers, is_child: bool) -> Site:
        adapter = self._backend.open(name, handlers, lambda: self.forget_if_empty(site))
        site = Site(kind(name, adapter, handlers), adapter, handlers, is_child)
        self.by_name[name] = site
        self.by_name["/"].adapter.notify("new_namespace", site.namespace)
        return site

    def forget_if_empty(self, site: Site) -> None:
        """Forget the child of a dynamic namespace in which nobody is."""
        name = site.namespace.name
        is_empty = not site.entering and not site.adapter.rooms.by_id
        if self._cleanup and site.is_child and is_empty and self.by_name.get(name) is site:
            del self.by_name[name]
            self._backend.close_adapter(name)


def _nothing() -> None:
    """A dynamic namespace has no sockets that could leave."""
