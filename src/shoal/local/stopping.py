"""The end of a command that runs processes: signals ask for it, and whatever is under way can be given up for it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import ShoalError

__all__ = ["Stopping"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """Whether it is to stop. Belongs to the loop that runs."""

    def __init__(self) -> None:
        self.asked: asyncio.Event = asyncio.Event()
        self.on_second: Callable[[], None] | None = None
        """Called when it is asked for again: nobody wants to wait."""

    def handle_signals(self) -> None:
        """Let SIGINT, SIGTERM and SIGHUP ask for it. A SIGHUP that is ignored stays so: `nohup` has started this."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self.ask)

    def ask(self) -> None:
        """Stop."""
        if self.asked.is_set() and self.on_second is not None:
            self.on_second()
        self.asked.set()

    async def wait(self) -> None:
        """Return when it is asked for."""
        await self.asked.wait()

    async def unless_stopped(self, work: Awaitable[None], failed: asyncio.Future[str] | None = None) -> bool:
        """Do ``work``; false if the stop came first.

        Raises:
            ShoalError: A failure came first, as ``failed``.
        """
        task, stop = asyncio.ensure_future(work), asyncio.create_task(self.wait())
        try:
            await asyncio.wait({task, stop, *((failed,) if failed else ())}, return_when=asyncio.FIRST_COMPLETED)
            if failed is not None and failed.done():
                raise ShoalError(failed.result())
            if not task.done():
                return False
            task.result()
            return not self.asked.is_set()
        finally:
            for waiter in (task, stop):
                waiter.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)
