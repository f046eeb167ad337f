"""What methods return that need not be awaited: what they do is done when they return.

A coroutine that nobody awaits is a warning; these are not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

__all__ = ["DONE", "Later"]


class _Done:
    """An awaitable that is done. Nothing is lost if nobody awaits it."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


DONE: Final = _Done()


class Later:
    """An awaitable that runs ``wait`` only if it is awaited."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()
