"""Which clients this node has, published to all pages: often enough to be up to date, seldom enough to be cheap.

Pages forget a node that has been silent for three periods, so the report is repeated; a thousand clients that
arrive within a second cost a few reports, not a thousand. The module knows a function to publish with, and no server.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable

__all__ = ["Presence"]

PERIOD = 2.0
"""Seconds between reports while nothing changes. A dead node is off the page after three of them."""
PAUSE = 0.3
"""Least seconds between two reports, however much changes."""
MOST_DOTS = 60
"""Clients that a report names. A page draws no more of one server; the rest it counts."""


class Presence:
    """What one node reports of its clients, and the task that publishes it.

    Args:
        node: The node's name.
        clients: Returns the clients that the node has now: how many, and what a page may call their dots.
        publish: Called with a :meth:`report`. It must not wait.
        period: Seconds between reports while nothing changes.
        pause: Least seconds between two reports.
    """

    def __init__(
        self,
        node: str,
        clients: Callable[[], tuple[int, Iterable[str]]],
        publish: Callable[[dict[str, object]], None],
        *,
        period: float = PERIOD,
        pause: float = PAUSE,
    ) -> None:
        self._node = node
        self._clients = clients
        self._publish = publish
        self._period = period
        self._pause = pause
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """A client came or went: publish soon."""
        self._changed.set()

    def summary(self) -> dict[str, object]:
        """The node, how many clients it has, and within how many seconds it will report again."""
        return {"node": self._node, "clients": self._clients()[0], "every": self._period}

    def report(self) -> dict[str, object]:
        """The summary, and the names of the clients' dots."""
        return {**self.summary(), "dots": list(itertools.islice(self._clients()[1], MOST_DOTS))}

    def gone(self, node: str) -> None:
        """Tell the pages that a node has no clients, and that no report will follow (``every`` is 0)."""
        self._publish({"node": node, "clients": 0, "dots": [], "every": 0})

    @contextlib.asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publish while the block runs. At its end, publish once that no report will follow (``every`` is 0)."""
        self._changed = asyncio.Event()
        task = asyncio.create_task(self._keep_publishing(), name="shoal-demo-presence")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self.gone(self._node)

    async def _keep_publishing(self) -> None:
        while True:
            self._changed.clear()
            self._publish(self.report())
            await asyncio.sleep(self._pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period - self._pause):
                    await self._changed.wait()
