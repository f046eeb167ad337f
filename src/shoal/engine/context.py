"""What the sessions of an engine, and the lanes that carry them, share: options, counters, clock and tasks.

An engine makes one such object and hands it down; so a connection needs no engine. Nothing here knows a session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..fanout.outbox import Outbox, OutboxRules, OutboxStats
from ..settings import EngineSettings
from .home import Home
from .stats import EngineStats
from .tasks import Tasks
from .wheel import Wheel

__all__ = ["EngineContext", "OnceLog", "new_context"]

log: Final = logging.getLogger("shoal.engine")


class OnceLog:
    """Logs a warning the first time that something of its kind happens."""

    __slots__ = ("_logged",)

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def __call__(self, key: str, message: str, *args: Any) -> None:
        """Log ``message % args``, unless ``key`` has been logged."""
        if key not in self._logged:
            self._logged.add(key)
            log.warning(message + " (logged once; counted in the metrics)", *args)


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What all sessions of one engine share."""

    settings: EngineSettings
    stats: EngineStats
    outbox_rules: OutboxRules
    wheel: Wheel
    home: Home
    """The thread of its loop."""
    tasks: Tasks
    log_once: OnceLog
    settle: Callable[[], None]
    """Called before a session is closed in order: lays what this turn emitted to many into its outbox."""
    collect: Callable[[Outbox, bytes], None] | None
    """Lays bytes into a framed outbox, and writes it at the end of the turn, with all others. If anybody does."""


def new_context(
    settings: EngineSettings, settle: Callable[[], None], collect: Callable[[Outbox, bytes], None] | None = None
) -> EngineContext:
    """The context of a new engine."""
    home = Home()
    return EngineContext(
        settings,
        EngineStats(),
        OutboxRules(settings.max_outbox, settings.outbox_policy, OutboxStats()),
        Wheel(min(0.5, max(0.005, min(settings.ping_interval, settings.ping_timeout) / 20)), home),
        home,
        Tasks(),
        OnceLog(),
        settle,
        collect,
    )
