"""A command that runs processes is asked to stop by signals, and gives up what is under way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from shoal.errors import ShoalError
from shoal.local.stopping import SIGNALS, Stopping


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of signals are what they were before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_for_the_stop_and_a_second_one_is_told(number: int) -> None:
    async def main() -> list[str]:
        stopping, told = Stopping(), []
        stopping.on_second = lambda: told.append("second")
        stopping.handle_signals()
        os.kill(os.getpid(), number)
        assert not await stopping.unless_stopped(asyncio.sleep(60))
        assert told == []
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            while not told:
                await asyncio.sleep(0.01)
        return told

    assert asyncio.run(main()) == ["second"]


def test_a_terminal_that_is_closed_is_nothing_to_what_nohup_has_started() -> None:
    async def main() -> bool:
        stopping = Stopping()
        stopping.handle_signals()
        os.kill(os.getpid(), signal.SIGHUP)
        return await stopping.unless_stopped(asyncio.sleep(0.05))

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert asyncio.run(main())


def test_a_failure_that_comes_first_is_raised() -> None:
    async def main() -> None:
        failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        failed.set_result("it has ended")
        await Stopping().unless_stopped(asyncio.sleep(60), failed)

    with pytest.raises(ShoalError, match="it has ended"):
        asyncio.run(main())
