"""Questions of a program that is no node, to every node: partial answers, with the names of the silent.

Such a program announces itself to nobody, and hears no announcements. So it asks two things in one message, of which
the first is who is there: each node names all that it knows of, before it answers the second.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import BrokerError
from .messages import Reply, Request
from .requests import ROSTER, Replies, pack, unpack

__all__ = ["Surveys"]


class _Survey:
    """One question, and what came back so far."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        """Of all nodes that any node knows of, by tag."""
        self.answers: dict[str, Any] = {}
        """By tag."""
        self.done = asyncio.get_running_loop().create_future()

    def add_names(self, tag: str, body: Any) -> None:
        """A node says which nodes there are.

        Raises:
            BrokerError: It does not.
        """
        try:
            self.names.update(msgspec.convert(body, dict[str, str]))
        except msgspec.ValidationError as error:
            raise BrokerError(f"not a list of nodes: {error}") from error
        self._settle()

    def add_answer(self, tag: str, body: Any) -> None:
        """A node has answered."""
        self.answers[tag] = body
        self._settle()

    def _settle(self) -> None:
        if self.names and self.names.keys() <= self.answers.keys() and not self.done.done():
            self.done.set_result(None)

    @property
    def replies(self) -> Replies:
        bodies = [(self.names.get(tag, tag), body) for tag, body in self.answers.items()]
        return Replies(bodies, sorted(name for tag, name in self.names.items() if tag not in self.answers))


class Surveys:
    """The questions that one program has asked.

    Args:
        send: Sends requests to all nodes, in one message.
    """

    def __init__(self, send: Callable[[list[Request]], None]) -> None:
        self._send = send
        self._pending: dict[str, Callable[[str, Any], None]] = {}

    async def ask(self, kind: str, body: Any, timeout: float) -> Replies:
        """Ask every node.

        Args:
            kind: What is asked.
            body: Anything that msgpack can hold.
            timeout: Seconds to wait.

        Returns:
            The answers that came, and the names of the nodes that kept silent.

        Raises:
            BrokerError: No node has answered, so that none can be named either.
        """
        survey = _Survey()
        first, second = secrets.token_urlsafe(9), secrets.token_urlsafe(9)
        self._pending.update({first: survey.add_names, second: survey.add_answer})
        try:
            self._send([Request(first, ROSTER, pack(None), timeout), Request(second, kind, pack(body), timeout)])
            await asyncio.wait({survey.done}, timeout=timeout)
        finally:
            del self._pending[first], self._pending[second]
        if not survey.names and not survey.answers:
            raise BrokerError(f"no server of the cluster has answered within {timeout:g} s")
        return survey.replies

    def reply_received(self, tag: str, reply: Reply) -> None:
        """A node answered. Late answers are ignored.

        Raises:
            BrokerError: It cannot be read. The node counts as silent.
        """
        take = self._pending.get(reply.id)
        if take is not None:
            take(tag, unpack(reply.body))
