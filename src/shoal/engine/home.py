"""The thread that an engine lives in, and the way there from any other one.

Sessions, rooms and outboxes belong to the event loop's thread, and asyncio forbids all others to schedule there. So
what an application may call from anywhere asks first whether it is at home, which costs 30 ns, and else moves the whole
call.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final

__all__ = ["Home", "snapshot"]

log: Final = logging.getLogger("shoal.engine")


class Home:
    """Where calls belong. Known once the engine has been used on a loop.

    Example::

        if get_ident() != home.thread and home.move(self.send, data):
            return
    """

    __slots__ = ("_loop", "thread")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.thread: int = 0
        """Its identity, as :func:`threading.get_ident` tells it."""

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """This is the thread, and ``loop`` runs in it."""
        self._loop = loop
        self.thread = get_ident()

    def move(self, function: Callable[..., object], *args: Any) -> bool:
        """Call a function soon, in the right thread: those of one thread in their order.

        Returns:
            Whether there is a loop to do it. If not, nothing runs that could be disturbed.
        """
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(_call, function, args)
        except RuntimeError:  # it is closed
            return False
        return True


def _call(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        function(*args)
    except Exception:
        log.exception("a call from another thread failed")


def snapshot(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments as they are now: whoever moves a call may change them before it happens."""
    try:
        return copy.deepcopy(args)
    except Exception:  # noqa: BLE001 - a memoryview, or an application's own class: it is taken as it is
        return args
