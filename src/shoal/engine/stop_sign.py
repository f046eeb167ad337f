"""Sees that the ASGI server was told to stop, before it waits for the requests that are under way.

A waiting poll is such a request. uvicorn, Hypercorn and Granian end the lifespan only when all of them are answered,
which a poll is at the next ping, 25 s later; and none of them tells an application earlier. What all of them have is a
handler of SIGINT and SIGTERM. It is called as ever, and this module's before it. Where no server has set one, none is
set here. Hypercorn's workers hear of the end from their parent, and not by a signal; what it gives an application as
``send`` knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

__all__ = ["StopSign"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
# uvicorn looks every 0.1 s whether it shall stop, and takes requests until then: who comes meanwhile is told, too.
AGAIN: Final = 0.1
# A signal may have meant something else; the lifespan ends long before.
TIMES: Final = 100


class StopSign:
    """Calls ``on_stop`` from the first signal on, until :meth:`forget`.

    Args:
        on_stop: What is to be done. It is called again and again.
    """

    __slots__ = ("_before", "_listener", "_loop", "_on_stop", "_timer", "_times")

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._times = 0

    def watch(self) -> None:
        """Begin, on the running loop. Signals are heard in the main thread only."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            before = signal.getsignal(number)
            if callable(before) and before != self._handle and not _is_pythons(before):
                self._before[number] = before
                _set(number, self._handle)

    def listen(self, send: Any) -> None:
        """Listen to the server whose ``send`` this is, if it can be heard that way."""
        if self._listener is None and self._loop is not None:
            ended = getattr(getattr(getattr(send, "__self__", None), "context", None), "terminated", None)
            if inspect.iscoroutinefunction(getattr(ended, "wait", None)):
                self._listener = self._loop.create_task(self._listen(ended))

    async def _listen(self, ended: Any) -> None:
        await ended.wait()
        self._stop()

    def forget(self) -> None:
        """End, and give the signals back, unless somebody has taken them since."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._listener is not None:
            self._listener.cancel()
            self._listener = None
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                _set(number, before)
        self._times = 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, without a lifespan
                self._loop.call_soon_threadsafe(self._stop)
        self._before[number](number, frame)

    def _stop(self) -> None:
        if self._timer is None:
            self._tell()

    def _tell(self) -> None:
        self._timer = None
        if self._loop is not None and self._times < TIMES:
            self._times += 1
            self._on_stop()
            self._timer = self._loop.call_later(AGAIN, self._tell)


def _is_pythons(handler: Any) -> bool:
    """Whether nobody has set a handler: Python's own raises KeyboardInterrupt, that of ``asyncio.run`` cancels."""
    runner = isinstance(handler, functools.partial) and getattr(handler.func, "__qualname__", "") == "Runner._on_sigint"
    return runner or handler is signal.default_int_handler


def _set(number: int, handler: Callable[[int, FrameType | None], Any]) -> None:
    signal.signal(number, handler)
    # As loops do that have a handler of their own: a system call is not interrupted.
    signal.siginterrupt(number, False)
