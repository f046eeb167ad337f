"""Find the server in an ASGI application: it is one, stands in front of another one, or is mounted within it.

Looks at objects, calls nothing, and knows of other frameworks that they have ``routes`` and wrap each other in ``app``.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from .. import Engine, Server
from ..asgi.application import ASGIApp

__all__ = ["Found", "better_target", "describe", "find"]

DEEPEST: Final = 12  # middlewares and mounts within each other


@dataclass(frozen=True, slots=True)
class Found:
    """A server, or an engine, and how requests come to it."""

    server: Server | Engine
    mount: str
    """The path below which it is mounted; empty if it is not."""
    is_front: bool
    """Whether the ASGI server sees it first."""
    behind: Any
    """The application that gets what is not its own, as far as that is known."""

    @property
    def endpoint(self) -> str:
        """Where clients reach it."""
        path = self.server.settings.path
        return path if path.startswith(self.mount + "/") else self.mount + path


def find(app: Any) -> list[Found]:
    """The servers in an application, the outermost first."""
    found: dict[int, Found] = {}
    seen: set[int] = set()
    waiting: deque[tuple[Any, str, int]] = deque([(app, "", 0)])
    while waiting:
        thing, mount, depth = waiting.popleft()
        if id(thing) in seen or depth > DEEPEST:
            continue
        seen.add(id(thing))
        server = thing.server if isinstance(thing, ASGIApp) else thing
        if isinstance(server, Server | Engine):
            behind = thing.behind if isinstance(thing, ASGIApp) else None
            found.setdefault(id(server), Found(server, mount, depth == 0, behind))
            if behind is not None:
                waiting.append((behind, mount, depth + 1))
            continue
        for route in _routes(thing):
            path = getattr(route, "path", "")
            waiting.append((getattr(route, "app", None), mount + (path if isinstance(path, str) else ""), depth + 1))
        waiting.append((getattr(thing, "app", None), mount, depth + 1))
    return list(found.values())


def _routes(app: Any) -> list[Any]:
    routes = getattr(app, "routes", None)
    return [*routes] if isinstance(routes, list | tuple) else []


def better_target(app: Any, target: str) -> str | None:
    """Another name in the module of ``target`` that was probably meant.

    Where ``target`` is a server alone: that server in front of another application. Where ``target`` has no server: one
    that has.
    """
    module, _, attribute = target.partition(":")
    others = [(name, value) for name, value in vars(sys.modules[module]).items() if name != attribute]
    fits: list[str] = []
    if isinstance(app, Server):
        fronts = [(name, value) for name, value in others if isinstance(value, ASGIApp) and value.server is app]
        fits = [name for name, front in fronts if front.behind is not None]
    elif not find(app):
        fits = [name for name, value in others if isinstance(value, ASGIApp) and value.behind is app]
        fits += [name for name, value in others if isinstance(value, Server | Engine)]
    return f"{module}:{fits[0]}" if fits else None


def describe(app: Any) -> str:
    """What an application is: the function, or the class with the package that it is from."""
    if inspect.isfunction(app) or inspect.ismethod(app):
        return f"{app.__module__}.{app.__qualname__}"
    kind = type(app)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"
