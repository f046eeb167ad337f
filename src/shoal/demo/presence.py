"""How many clients this node has, told to all pages often enough to be believed and seldom enough to be cheap.

Pages forget a node that has been silent for three periods, so the news is repeated; a thousand clients that arrive
within a second cost a few tellings, not a thousand. The module knows a way to tell, and no server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

__all__ = ["Presence"]

PERIOD = 2.0
"""Seconds between tellings while nothing changes. A dead node is off the page after three of them."""
PAUSE = 0.3
"""Least seconds between two tellings, however much changes."""


class Presence:
    """What one node tells of its clients, and the task that tells it.

    Args:
        node: The node's name.
        count: Says how many clients the node has now.
        tell: Called with what to tell, see :meth:`report`. It must not wait.
        period: Seconds between tellings while nothing changes.
        pause: Least seconds between two tellings.
    """

    def __init__(
        self,
        node: str,
        count: Callable[[], int],
        tell: Callable[[dict[str, object]], None],
        *,
        period: float = PERIOD,
        pause: float = PAUSE,
    ) -> None:
        self._node = node
        self._count = count
        self._tell = tell
        self._period = period
        self._pause = pause
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """A client came or went: tell soon."""
        self._changed.set()

    def report(self) -> dict[str, object]:
        """What there is to tell: the node, how many clients it has, and within how many seconds it will tell again."""
        return {"node": self._node, "clients": self._count(), "every": self._period}

    @contextlib.asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Tell while the block runs. At its end, tell once that this node will not tell again (``every`` is 0)."""
        self._changed = asyncio.Event()
        task = asyncio.create_task(self._keep_telling(), name="shoal-demo-presence")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._tell({"node": self._node, "clients": 0, "every": 0})

    async def _keep_telling(self) -> None:
        while True:
            self._changed.clear()
            self._tell(self.report())
            await asyncio.sleep(self._pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period - self._pause):
                    await self._changed.wait()
