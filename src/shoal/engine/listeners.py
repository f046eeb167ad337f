"""Functions that an application has registered for the events of an engine, and how they are called.

Which events there are, and when one happens, is not known here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import Any, Final, TypeVar

from ..errors import ConfigurationError
from ..signatures import require_signature
from .tasks import Tasks, is_cancelled

__all__ = ["Listeners"]

log: Final = logging.getLogger("shoal.engine")

Handler = Callable[..., Any]
F = TypeVar("F", bound=Handler)


class Listeners:
    """Handlers by event.

    Args:
        events: The names that there are, each with what its handlers are called with.
        tasks: Run the coroutines of :meth:`notify`.
    """

    __slots__ = ("_events", "_tasks", "by_event")

    def __init__(self, events: Mapping[str, tuple[str, ...]], tasks: Tasks) -> None:
        self._events = events
        self._tasks = tasks
        self.by_event: dict[str, list[Handler]] = {}
        """The handlers. The dict stays the same."""

    def __bool__(self) -> bool:
        """Whether any event has a handler."""
        return bool(self.by_event)

    def functions(self) -> dict[str, list[Handler]]:
        """The handlers by event. A copy."""
        return {event: [*found] for event, found in self.by_event.items()}

    def __contains__(self, event: str) -> bool:
        """Whether an event has a handler."""
        return event in self.by_event

    def on(self, event: str) -> Callable[[F], F]:
        """A decorator that registers a handler.

        Raises:
            ConfigurationError: There is no such event, or the handler cannot be called for it.
        """
        if event not in self._events:
            raise ConfigurationError(f"unknown event {event!r}; the events are {', '.join(self._events)}")

        def register(handler: F) -> F:
            require_signature(handler, f"the handler of {event!r}", self._events[event])
            self.by_event.setdefault(event, []).append(handler)
            return handler

        return register

    def off(self, event: str, handler: Handler | None = None) -> None:
        """Forget a handler, or all of an event."""
        left = [other for other in self.by_event.get(event, ()) if handler is not None and other != handler]
        if left:
            self.by_event[event] = left
        else:
            self.by_event.pop(event, None)

    def notify(self, event: str, *args: Any) -> None:
        """Call the handlers of an event. One that raises is logged; coroutines run each in a task."""
        for work in self.call(event, *args):
            self._tasks.spawn(work)

    def call(self, event: str, *args: Any) -> list[Coroutine[Any, Any, Any]]:
        """Call the handlers of an event; returns the coroutines that are to be awaited for those who are async."""
        works: list[Coroutine[Any, Any, Any]] = []
        for handler in self.by_event.get(event, ()):
            try:
                result = copy_context().run(handler, *args)  # what it sets is not for the next client
                if inspect.iscoroutine(result):
                    works.append(result)
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                log.exception("a listener of %r failed", event)
        return works
