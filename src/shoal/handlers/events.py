"""The events of the library: their names, what their handlers get, and names that were probably meant to be one.

Clients may name their own events as they like. A name that is one slip of the keyboard away from one of the library's,
or that belongs to another library or to the client, never happens here; nobody would notice but for the warning.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any, Final

from ..errors import ConfigurationError, EventWarning
from ..signatures import name_of, require_signature

__all__ = ["ALIASES", "ANY", "LIBRARY_EVENTS", "check_handler", "check_listener", "require_name"]

ANY: Final = "*"
"""Name under which the handler of events without a handler of their own is registered."""

ALIASES: Final = {"connection": "connect"}
"""Node's older name still works."""

LIBRARY_EVENTS: Final = frozenset(
    {"create_room", "delete_room", "error", "join_room", "leave_room", "new_namespace", "socket_expired"}
)
"""Events of the library itself, beside the coming and going of clients; a client cannot send them."""

# What handlers are called with. Those that may leave the reason out are called without it.
ARGUMENTS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "connect": (("socket",),),
    "disconnecting": (("socket", "reason"), ("socket",)),
    "disconnect": (("socket", "reason"), ("socket",)),
    "error": (("socket", "exception"),),
    "create_room": (("room",),),
    "delete_room": (("room",),),
    "join_room": (("room", "socket_id"),),
    "leave_room": (("room", "socket_id"),),
    "new_namespace": (("namespace",),),
    "socket_expired": (("socket_id", "rooms", "data"),),
}
# `socket_expired` is left out: its first argument is a socket's id, and people call that `sid`.
WITHOUT_SOCKET: Final = LIBRARY_EVENTS - {"error", "socket_expired"}

# Every event of clients that the documentation of all Socket.IO servers shows, too: `send()` emits it.
USUAL: Final = ("message",)
LIFECYCLE: Final = ("connect", "connection", "disconnect", "disconnecting")
TARGETS: Final = (*LIFECYCLE, *sorted(LIBRARY_EVENTS), *USUAL)
OF_THE_CLIENT: Final = "an event of the client, and never happens on a server"
FOREIGN: Final = {
    "connection_error": "an event of the engine: use io.engine.on('connection_error')",
    "initial_headers": "an event of the engine: use io.engine.on('initial_headers')",
    "connect_error": f"{OF_THE_CLIENT}; raise ConnectionRefused to cause it, or use io.engine.on('connection_error')",
    "connect_failed": OF_THE_CLIENT,
    "connect_timeout": OF_THE_CLIENT,
    "reconnect_attempt": OF_THE_CLIENT,
    "reconnect_error": OF_THE_CLIENT,
    "reconnect_failed": OF_THE_CLIENT,
    "disconnection": "no event: did you mean 'disconnect'?",
    "newListener": "an event of Node's EventEmitter, and never happens here",
    "removeListener": "an event of Node's EventEmitter, and never happens here",
    "__disconnect_final": "internal to python-socketio, and never happens here: use 'disconnect'",
}


def require_name(event: object) -> None:
    """Refuse what is no event's name: above all the function itself, of a decorator that lacks its parentheses.

    Raises:
        ConfigurationError: It is no text, or an empty one.
    """
    if not isinstance(event, str) or not event:
        what = f"the function {name_of(event)}" if callable(event) else repr(event)
        raise ConfigurationError(f"{what} is no event name: write @io.on('connect'), for instance")


def check_handler(event: str, function: Callable[..., Any]) -> None:
    """Look at what is registered for a namespace's event: its name, and what the function takes.

    Raises:
        ConfigurationError: The function cannot be called for this event.
    """
    event = ALIASES.get(event, event)
    wanted = ARGUMENTS.get(event, (("socket", "event"),) if event == ANY else (("socket",),))
    require_signature(function, f"the handler of {event!r}", *wanted, more=event not in ARGUMENTS)
    if event in WITHOUT_SOCKET and _first_parameter(function) in ("socket", "sid"):
        warn(
            f"{event!r} is an event of the library, whose handlers get ({', '.join(wanted[0])}); what clients send "
            "under that name reaches nobody: choose another one"
        )
    check_name(event)


def check_listener(event: str, function: Callable[..., Any]) -> None:
    """As :func:`check_handler`, for a function that one socket has registered: it is called without the socket.

    Raises:
        ConfigurationError: The function cannot be called for this event.
    """
    own = event in ("disconnect", "disconnecting", "error")
    require_signature(function, f"the listener of {event!r}", ARGUMENTS[event][0][1:] if own else (), more=not own)
    if ALIASES.get(event, event) == "connect":
        warn(f"{event!r} has happened when there is a socket: register its handler with io.on({event!r})")
    check_name(event)


def check_name(event: str) -> None:
    """Warn of an event's name that is probably a mistake."""
    if (doubt := doubt_about(event)) is not None:
        warn(doubt)


@functools.lru_cache(maxsize=1024)
def doubt_about(event: str) -> str | None:
    """What is probably wrong with an event's name."""
    if event in FOREIGN:
        return f"{event!r} is {FOREIGN[event]}"
    if event in TARGETS or event == ANY:
        return None
    for target in TARGETS:
        if is_slip(event, target) or (target in LIFECYCLE and event.lower() == target):
            return f"{event!r} is no event of the library: did you mean {target!r}?"
    return None


def is_slip(name: str, target: str) -> bool:
    """Whether ``name`` is ``target`` with one letter missing, doubled or wrong, one too many within, or two exchanged.

    What people do on purpose is no slip: a plural, a number, a prefix, a capital, another
    separator (``join-room``).
    """
    start = 0
    while start < min(len(name), len(target)) and name[start] == target[start]:
        start += 1
    left, right = name[start:], target[start:]
    if len(name) == len(target):
        exchanged = left[:2] == right[1::-1] and left[2:] == right[2:] and len(right) > 1
        if exchanged or not left:
            return exchanged
        return left[1:] == right[1:] and left[0].isalpha() and right[0].isalpha() and left[0].lower() != right[0]
    if len(name) == len(target) - 1:
        return left == right[1:] and right[0].isalpha()
    if len(name) == len(target) + 1 and left[1:] == right:
        within = 0 < start < len(target)
        return left[0].isalpha() and (within or left[0] in (target[0], target[-1]))
    return False


def warn(message: str, category: type[UserWarning] = EventWarning) -> None:
    """Warn where the application called Shoal."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "shoal":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _first_parameter(function: Callable[..., Any]) -> str | None:
    try:
        return next(iter(inspect.signature(function).parameters), None)
    except (TypeError, ValueError):
        return None
