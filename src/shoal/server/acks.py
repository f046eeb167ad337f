"""Questions to many sockets: emit and wait, fetch, move, send away; on this node, then on all others.

Each function does a thing to the sockets of this node that a selection names. ``Crowd`` asks the other nodes to do the
same and joins the answers. What is missing is named, never raised.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import NotConnected, ShoalError
from .ears import tell_one
from .handlers import as_args, as_value
from .remote import RemoteSocket, describe

if TYPE_CHECKING:
    from .namespace import Namespace
    from .server import Server

__all__ = ["Answers", "Crowd", "Selection", "SocketList", "register"]


@dataclass(slots=True)
class Answers:
    """Acknowledgements of many clients, or answers of many nodes."""

    responses: list[Any] = field(default_factory=list)
    """In the order in which they came, as far as that is known."""
    missing: list[str] = field(default_factory=list)
    """Ids of the sockets, and names of the nodes, that did not answer in time."""


class SocketList(list[RemoteSocket]):
    """Sockets of the whole cluster, and the names of the nodes that did not tell theirs.

    Args:
        sockets: Those that were found.
        missing: Names of silent nodes.
    """

    def __init__(self, sockets: Iterable[RemoteSocket] = (), missing: Iterable[str] = ()) -> None:
        super().__init__(sockets)
        self.missing = list(missing)


Selection = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Namespace, rooms, excluded rooms."""
Local = Callable[["Namespace", Selection, Any, float], Awaitable[Any]]


class Crowd:
    """The sockets of a selection, everywhere.

    Args:
        namespace: Where they are.
        rooms, excluded: As in a broadcast.
        local: Only those of this node.
    """

    def __init__(self, namespace: Namespace, rooms: tuple[str, ...], excluded: tuple[str, ...], local: bool) -> None:
        self._namespace = namespace
        self._selection: Selection = (namespace.name, rooms, excluded)
        self._link = None if local or self._is_here(rooms) else namespace.link

    def _is_here(self, rooms: tuple[str, ...]) -> bool:
        return len(rooms) == 1 and rooms[0] in self._namespace.rooms.by_id

    async def call(self, event: str, args: tuple[Any, ...], timeout: float) -> Answers:
        """Emit to all, wait for all."""
        self._namespace.encode_event(event, args)  # what cannot be sent is an error here, not at the others
        here, there, missing = await self._everywhere("call", [event, list(args)], timeout)
        answers = Answers()
        for responses, silent in (here, *there):
            answers.responses.extend(map(as_value, responses))
            answers.missing.extend(silent)
        answers.missing.extend(missing)
        return answers

    async def fetch(self, timeout: float) -> SocketList:
        """Describe all."""
        here, there, missing = await self._everywhere("fetch", None, timeout)
        found = [RemoteSocket(self._namespace, entry) for entries in (here, *there) for entry in entries]
        return SocketList(found, missing)

    async def order(self, kind: str, argument: Any, timeout: float) -> list[str]:
        """Let all ``join`` or ``leave`` rooms, or ``disconnect``. Returns the names of nodes that did not confirm."""
        return (await self._everywhere(kind, argument, timeout))[2]

    async def _everywhere(self, kind: str, argument: Any, timeout: float) -> tuple[Any, list[Any], list[str]]:
        work = LOCAL[kind](self._namespace, self._selection, argument, timeout)
        if self._link is None:
            return await work, [], []
        question = self._link.requests.ask(kind, [self._selection, argument], timeout)
        here, replies = await asyncio.gather(work, question)
        return here, [body for _, body in replies.bodies], replies.missing


def register(server: Server) -> None:
    """Let this node answer what others ask about its sockets."""
    assert server.link is not None

    def answer(local: Local) -> Callable[[Any, float], Awaitable[Any]]:
        async def work(body: Any, timeout: float) -> Any:
            (name, rooms, excluded), argument = body
            namespace = server.namespaces.by_name.get(name)
            if namespace is None:
                return NOTHING[local]
            # The asker's clock started earlier; a reply at the last moment would come too late.
            return await local(namespace, (name, tuple(rooms), tuple(excluded)), argument, timeout * 0.9)

        return work

    async def server_side(body: Any, timeout: float) -> Any:
        name, event, args = body
        namespace = server.namespaces.by_name.get(name)
        for handler in namespace.server_side.get(event) if namespace is not None else ():
            result = handler.function(*handler.convert(args))
            result = await result if inspect.isawaitable(result) else result
            if result is not None:
                return result
        return None

    for kind, local in LOCAL.items():
        server.link.requests.answers[kind] = answer(local)
    server.link.requests.answers["server_side"] = server_side


def _members(namespace: Namespace, selection: Selection) -> list[Any]:
    return list(namespace.rooms.select(selection[1], selection[2]))


async def _call(namespace: Namespace, selection: Selection, argument: Any, timeout: float) -> Any:
    event, args = argument
    waiting: dict[asyncio.Future[Any], tuple[Any, int]] = {}
    missing: list[str] = []
    for socket in _members(namespace, selection):
        try:
            future, ack_id = socket.expect_ack()
        except NotConnected:
            missing.append(socket.id)  # it is being accepted: it would not answer before that is done
            continue
        waiting[future] = socket, ack_id
        if socket in namespace.ears:
            tell_one(socket, event, args)
        text, attachments = namespace.encode_event(event, tuple(args), ack_id)
        namespace.ticker.send(socket, text, attachments)
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


async def _fetch(namespace: Namespace, selection: Selection, argument: Any, timeout: float) -> Any:
    return [describe(socket) for socket in _members(namespace, selection)]


async def _join(namespace: Namespace, selection: Selection, argument: Any, timeout: float) -> Any:
    for socket in _members(namespace, selection):
        try:
            await socket.join(*argument)
        except ShoalError as error:
            namespace.server.log.warning("socket %s cannot join: %s", socket.id, error)


async def _leave(namespace: Namespace, selection: Selection, argument: Any, timeout: float) -> Any:
    for socket in _members(namespace, selection):
        await socket.leave(*argument)
    if namespace.recovery is not None:
        for state in namespace.recovery.away_from(*selection):
            namespace.recovery.change_rooms(state, state.rooms.difference(argument))


async def _disconnect(namespace: Namespace, selection: Selection, argument: Any, timeout: float) -> Any:
    for socket in _members(namespace, selection):
        await socket.disconnect(bool(argument))
    if namespace.recovery is not None:
        for state in namespace.recovery.away_from(*selection):
            namespace.recovery.forget(state)


LOCAL: dict[str, Local] = {
    "call": _call,
    "fetch": _fetch,
    "join": _join,
    "leave": _leave,
    "disconnect": _disconnect,
}
NOTHING: dict[Local, Any] = {_call: ([], []), _fetch: [], _join: None, _leave: None, _disconnect: None}
