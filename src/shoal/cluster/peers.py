"""Which other nodes there are. Each announces itself every few seconds; one that misses three is gone.

A node announces itself at once to a newcomer, which so knows everybody after one round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from .messages import Hello

__all__ = ["Peers"]

HELLO_INTERVAL: Final = 2.0
# Two hellos may be late or lost before a node counts as gone.
PEER_TIMEOUT: Final = 3 * HELLO_INTERVAL
# A node whose link is up has asked everybody. Their answers come within one round trip, where none of them is busy.
ANSWERS_TIMEOUT: Final = 0.5


class Peers:
    """The other nodes of the cluster.

    Args:
        tag: This node's.
        hello: What this node sends.
        send: Sends it to all.
    """

    def __init__(self, tag: str, hello: Hello, send: Callable[[Hello], None]) -> None:
        self._tag = tag
        self.hello: Hello = hello
        self._send = send
        self._seen: dict[str, tuple[Hello, float]] = {}
        self._up = False
        self._up_since = 0.0
        self._task: asyncio.Task[None] | None = None

    def names(self) -> dict[str, str]:
        """Names of the nodes that are there, by tag."""
        self._forget_silent()
        return {tag: hello.node for tag, (hello, _) in self._seen.items()}

    def everyone(self) -> dict[str, str]:
        """As :meth:`names`, and this node."""
        return {**self.names(), self._tag: self.hello.node}

    def find(self, tag: str) -> Hello | None:
        """What the node with this tag has told about itself; ``None`` if there is none."""
        seen = self._seen.get(tag)
        return None if seen is None else seen[0]

    def introduce(self, hello: Hello) -> None:
        """Tell the others this from now on; at once, if they have been told anything."""
        self.hello = hello
        if self._task is not None:
            self.announce()

    def expects_more(self) -> bool:
        """Whether the link is up for so short a time that there may be nodes that have not answered yet."""
        return self._up and asyncio.get_running_loop().time() - self._up_since < ANSWERS_TIMEOUT

    def knows(self, tag: str) -> bool:
        """Whether a node with this tag has been received, and has not been silent for too long."""
        return tag in self._seen

    def _forget_silent(self) -> None:
        if self._up:
            oldest = asyncio.get_running_loop().time() - PEER_TIMEOUT
            self._seen = {tag: entry for tag, entry in self._seen.items() if entry[1] >= oldest}

    def link_changed(self, up: bool) -> None:
        """While the link is down nobody can be received, and nobody counts as gone; then each has its time anew."""
        self._forget_silent()
        self._up = up
        if up:
            now = self._up_since = asyncio.get_running_loop().time()
            self._seen = {tag: (hello, now) for tag, (hello, _) in self._seen.items()}
            self.announce()

    def hello_received(self, tag: str, hello: Hello) -> None:
        """A node announced itself."""
        if not tag:
            return  # a program that is no node
        newcomer = tag not in self._seen
        self._seen[tag] = hello, asyncio.get_running_loop().time()
        if newcomer:
            self.announce()

    def node_left(self, tag: str) -> None:
        """A node leaves in order."""
        self._seen.pop(tag, None)

    def announce(self) -> None:
        """Announce this node now."""
        self._send(self.hello)

    def start(self) -> None:
        """Announce this node from now on."""
        self._task = asyncio.get_running_loop().create_task(self._announce_regularly())

    async def close(self) -> None:
        """Announce it no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _announce_regularly(self) -> None:
        while True:
            self.announce()
            self._forget_silent()
            await asyncio.sleep(HELLO_INTERVAL)
