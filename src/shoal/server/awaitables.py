"""What methods return that need not be awaited: what they do, an ``emit`` for example, is done when they return.

A coroutine that nobody awaits is a warning; these are not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, cast

__all__ = ["DONE", "SENT", "Later", "is_done"]


class _Done:
    """An awaitable that is done. Nothing is lost if nobody awaits it."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield

    def __repr__(self) -> str:
        return "<done: there is nothing to await>"


DONE: Final = _Done()

SENT: Final = cast(None, DONE)
"""What methods return that wait for nothing and by their types return ``None``, as ``emit``. Whoever writes
``await io.emit("x")``, as python-socketio wants it, is told by a type checker, and not by an error in the midst of a
handler. Were it an ``Awaitable`` by its type, some checkers would warn of every ``emit`` without ``await``, and it
could not be given where a function without a result is wanted."""


class Later:
    """An awaitable that runs ``wait`` only if it is awaited."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()


def is_done(result: Any) -> bool:
    """Whether it is one of these: what it stands for is done, and it is nobody's answer."""
    return isinstance(result, _Done | Later)
