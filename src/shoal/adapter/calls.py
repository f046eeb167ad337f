"""What can be done to the sockets of this node that a selection names: ask, describe, move, disconnect.

Other nodes ask for the same; :mod:`.pubsub` joins the answers. What is missing is named, never raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from ..errors import NotConnected, ShoalError
from ..handlers.registry import as_args
from .context import Context
from .sockets import LocalSocket

__all__ = ["ACTIONS", "NOTHING", "Action"]

log: Final = logging.getLogger("shoal.server")

Encode = Callable[[str, Sequence[Any], int], tuple[bytes, Sequence[bytes]]]


async def call(context: Context, encode: Encode, sockets: list[LocalSocket], argument: Any, timeout: float) -> Any:
    """Emit an event with an acknowledgement to each; what they answered, and the ids of those who did not."""
    event, args = argument
    waiting: dict[asyncio.Future[Any], tuple[LocalSocket, int]] = {}
    missing: list[str] = []
    for socket in sockets:
        try:
            future, ack_id = socket.expect_ack()
        except NotConnected:
            missing.append(socket.id)  # it is being accepted: it would not answer before that is done
            continue
        waiting[future] = socket, ack_id
        socket.notify_outgoing(event, args)
        context.ticker.send(socket, *encode(event, tuple(args), ack_id))
    if not waiting:
        return [], missing
    order: list[Any] = []
    for future in waiting:
        future.add_done_callback(order.append)
    try:
        await asyncio.wait(waiting, timeout=timeout)
        await asyncio.sleep(0)  # the callbacks of the last ones
        answered = [future for future in order if not future.cancelled() and future.exception() is None]
    finally:
        for socket, ack_id in waiting.values():
            socket.forget_ack(ack_id)
    missing += [waiting[future][0].id for future in waiting.keys() - set(answered)]
    # As arguments: between nodes a tuple would become a list.
    return [as_args(future.result()) for future in answered], missing


async def fetch(context: Context, encode: Encode, sockets: list[LocalSocket], argument: Any, timeout: float) -> Any:
    """Describe each."""
    return [socket.describe() for socket in sockets]


async def join(context: Context, encode: Encode, sockets: list[LocalSocket], argument: Any, timeout: float) -> None:
    """Put each into rooms."""
    for socket in sockets:
        try:
            await socket.join(*argument)
        except ShoalError as error:
            log.warning("socket %s cannot join: %s", socket.id, error)


async def leave(context: Context, encode: Encode, sockets: list[LocalSocket], argument: Any, timeout: float) -> None:
    """Take each out of rooms."""
    for socket in sockets:
        await socket.leave(*argument)


async def disconnect(
    context: Context, encode: Encode, sockets: list[LocalSocket], argument: Any, timeout: float
) -> None:
    """Disconnect each; with a true argument, its connection too."""
    for socket in sockets:
        await socket.disconnect(bool(argument))


Action = Callable[[Context, Encode, list[LocalSocket], Any, float], Awaitable[Any]]

ACTIONS: Final[dict[str, Action]] = {
    "call": call,
    "fetch": fetch,
    "join": join,
    "leave": leave,
    "disconnect": disconnect,
}
NOTHING: Final[dict[str, Any]] = {"call": ([], []), "fetch": [], "join": None, "leave": None, "disconnect": None}
"""What each gives where a namespace has no socket."""
