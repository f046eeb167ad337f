"""Questions to every node, and what came back in time: partial answers with the names of the silent, never all or none.

What is asked, and who answers it, is registered from outside; here are only ids, deadlines and counting.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from ..errors import BrokerError
from ..protocol.values import as_json
from .messages import Reply, Request
from .peers import Peers

__all__ = ["ROSTER", "Answer", "Replies", "Requests", "pack", "unpack"]

log: Final = logging.getLogger("shoal.cluster")

Answer = Callable[[Any, float], Awaitable[Any]]
"""Answers one kind of request: takes its body and the seconds that there are, returns the reply's body."""

# Requests of other nodes that this one may work on at a time; beyond it they find no answer here and name this node.
MAX_AT_WORK: Final = 1_000

ROSTER: Final = "nodes"
"""What programs that are no nodes ask: which nodes there are. See :mod:`.survey`."""


@dataclass(slots=True)
class Replies:
    """What the other nodes answered."""

    bodies: list[tuple[str, Any]] = field(default_factory=list)
    """Name of the node, and its answer."""
    missing: list[str] = field(default_factory=list)
    """Names of the nodes that did not answer."""


def pack(body: Any) -> msgspec.Raw:
    """What an event may carry, a question may too."""
    return msgspec.Raw(msgspec.msgpack.encode(body, enc_hook=as_json))


def unpack(body: msgspec.Raw) -> Any:
    """A body is only skipped when its message is decoded: what is wrong with it shows here."""
    try:
        return msgspec.msgpack.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BrokerError(f"not a message of a node: {error}") from error


class _Pending:
    """A request that waits for answers."""

    def __init__(self, waiting: dict[str, str]) -> None:
        self.waiting = waiting
        self.replies = Replies()
        self.done = asyncio.get_running_loop().create_future()

    def settle(self, tag: str) -> str | None:
        name = self.waiting.pop(tag, None)
        if not self.waiting and not self.done.done():
            self.done.set_result(None)
        return name


class Requests:
    """Requests of this node, and its answers to those of others.

    Args:
        peers: Who is there to answer.
        send: Sends an envelope to all nodes.
        reply: Sends one to a node.
    """

    def __init__(self, peers: Peers, send: Callable[[Request], None], reply: Callable[[str, Reply], None]) -> None:
        self._peers = peers
        self._send = send
        self._reply = reply
        self._pending: dict[str, _Pending] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.answers: dict[str, Answer] = {ROSTER: self._roster}
        """By kind."""

    async def ask(self, kind: str, body: Any, timeout: float) -> Replies:
        """Ask every other node.

        Args:
            kind: What is asked.
            body: Anything that msgpack can hold.
            timeout: Seconds to wait.

        Returns:
            The answers that came, and the names of the nodes that kept silent.
        """
        waiting = self._peers.names()
        if not waiting:
            return Replies()
        pending = _Pending(waiting)
        identifier = secrets.token_urlsafe(9)
        self._pending[identifier] = pending
        try:
            self._send(Request(identifier, kind, pack(body), timeout))
            await asyncio.wait({pending.done}, timeout=timeout)
        finally:
            del self._pending[identifier]
        pending.replies.missing = sorted(pending.waiting.values())
        return pending.replies

    def notify(self, kind: str, body: Any) -> None:
        """Send every other node something that nobody answers."""
        self._send(Request("", kind, pack(body), 0.0))

    def reply_received(self, tag: str, reply: Reply) -> None:
        """A node answered. Late answers are ignored.

        Raises:
            BrokerError: It cannot be read. The node counts as silent.
        """
        pending = self._pending.get(reply.id)
        if pending is not None and tag in pending.waiting:
            name = pending.waiting[tag]
            pending.replies.bodies.append((name, unpack(reply.body)))
            pending.settle(tag)

    def node_left(self, tag: str) -> None:
        """A node that leaves will not answer, and its clients are gone with it."""
        for pending in list(self._pending.values()):
            pending.settle(tag)

    def request_received(self, tag: str, request: Request) -> None:
        """Another node asks."""
        answer = self.answers.get(request.kind)
        # A time that is no number would put the loop's timers out of order.
        if answer is None or len(self._tasks) >= MAX_AT_WORK or math.isnan(request.timeout):
            return
        task = asyncio.get_running_loop().create_task(self._work(answer, tag, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _roster(self, body: Any, timeout: float) -> dict[str, str]:
        """The names of all nodes by tag, this one's among them. It must not wait: see :mod:`.survey`."""
        return self._peers.everyone()

    async def _work(self, answer: Answer, tag: str, request: Request) -> None:
        try:
            body = await answer(unpack(request.body), request.timeout)
            if request.id:
                self._reply(tag, Reply(request.id, pack(body)))
        except BrokerError as error:
            log.warning("request %r of another node: %s", request.kind, error)
        except Exception:
            log.exception("request %r of another node failed", request.kind)

    async def close(self) -> None:
        """Give up what is at work."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
