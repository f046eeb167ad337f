"""Where an application's function is at the moment: the lines of a stack that are not Shoal's own.

For the log, when something takes too long. Nothing here is called while all goes well.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any, Final

__all__ = ["coroutine_frames", "event_of", "find", "thread_frames", "written"]

# Shoal's functions that call handlers, and where each has the event. `accept` calls middleware and connect handlers.
CALLERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "_call_plain": lambda variables: variables["data"][0],
    "_work": lambda variables: variables["data"][0] if variables.get("handler") is not None else None,
    "_handle": lambda variables: variables.get("event"),
    "_finish": lambda variables: variables.get("event"),
    "_call_error_handlers": lambda variables: "error",
    "_call_disconnect_handlers": lambda variables: variables.get("event"),
    "accept": lambda variables: "connect",
    "answer_server": lambda variables: variables.get("event"),
    "notify": lambda variables: variables.get("event"),
}


def thread_frames(frame: FrameType | None) -> list[FrameType]:
    """The frames of a running thread, the outermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def coroutine_frames(coroutine: Any) -> list[FrameType]:
    """The frames of a coroutine that waits, the outermost first, as far as what it awaits is written in Python."""
    frames = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        frames.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return frames


def find(coroutines: Iterable[Any], code: CodeType, owner: object) -> list[FrameType]:
    """The frames of the coroutine in which a method of ``owner`` is under way, from that method on. May be none."""
    for coroutine in coroutines:
        frames = coroutine_frames(coroutine)
        for number, frame in enumerate(frames):
            if frame.f_code is code and frame.f_locals.get("self") is owner:
                return frames[number:]
    return []


def event_of(frames: list[FrameType]) -> tuple[str, list[FrameType]] | None:
    """The event that is being handled, and the frames below Shoal's own; ``None`` if no handler is at work."""
    for number, frame in enumerate(frames):
        caller = CALLERS.get(frame.f_code.co_name)
        event = None if caller is None or not _is_ours(frame) else caller(frame.f_locals)
        if event is not None:
            return str(event), _below_ours(frames[number:])
    return None


def written(frames: list[FrameType]) -> str:
    """Frames as a traceback shows them; Shoal's own are left out at the beginning."""
    lines = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in _below_ours(frames))
    return "".join(lines.format()).rstrip()


def _below_ours(frames: list[FrameType]) -> list[FrameType]:
    for number, frame in enumerate(frames):
        if not _is_ours(frame):
            return frames[number:]
    return []


def _is_ours(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.startswith("shoal.") and not name.startswith("shoal.demo")
