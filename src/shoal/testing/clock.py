"""A clock that tests move: an asyncio event loop whose time stands still while anything can run, and then jumps.

When every task waits, the next timer is due at once. So a test of a timeout of an hour takes no time, sees the same
order of things in each run, and needs no sleep. Waiting for other threads and for file descriptors takes real time,
since their work does. ``time.time()`` and ``datetime`` are not touched; the loop knows nothing of Shoal.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, ParamSpec, TypeVar

__all__ = ["Clock", "ClockLoop", "async_test", "run"]

P = ParamSpec("P")
T = TypeVar("T")

# Not 0: code that takes 0 for "never" shall fail.
START: Final = 1_000.0
# An application whose tasks give way without end never lets the loop become idle; settle() must not hang with it.
MOST_TURNS: Final = 20_000
# Nor does one that sets timers for no time, again and again; the test ends with an error instead of never.
ENDLESS: Final = 1_000_000


class _ClockState:
    """What a clock shares with the selector of its loop: the time, and who waits until nothing can run."""

    def __init__(self) -> None:
        self.now = START
        self._waiting_for_idle: list[asyncio.Future[None]] = []
        self._turns = 0

    def until_idle(self) -> asyncio.Future[None]:
        """Done when nothing is left to run."""
        self._turns = 0
        idle = asyncio.get_running_loop().create_future()
        self._waiting_for_idle.append(idle)
        return idle

    def busy(self) -> None:
        """Something is left to run on this turn of the loop."""
        self._turns += 1
        if self._waiting_for_idle and self._turns > MOST_TURNS:
            self._wake(RuntimeError(f"the loop was never idle within {MOST_TURNS} turns"))
        if self._turns > ENDLESS:
            raise RuntimeError(f"livelock: {ENDLESS} turns of the loop, and no time has passed")

    def idle(self) -> bool:
        """Nothing is left to run. Returns whether somebody waited for that."""
        self._turns = 0
        waited = bool(self._waiting_for_idle)
        self._wake(None)
        return waited

    def _wake(self, error: Exception | None) -> None:
        waiting, self._waiting_for_idle = self._waiting_for_idle, []
        for waiter in waiting:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


class Clock:
    """The time of one :class:`ClockLoop`, which makes it."""

    def __init__(self, state: _ClockState) -> None:
        self._state = state

    @property
    def now(self) -> float:
        """Seconds; what ``loop.time()`` returns."""
        return self._state.now

    @staticmethod
    def running() -> Clock:
        """The clock of the loop that runs now.

        Raises:
            RuntimeError: No loop runs, or its time is real.
        """
        loop = asyncio.get_running_loop()
        if not isinstance(loop, ClockLoop):
            raise RuntimeError("time is real in this event loop: run the test with shoal.testing.run or async_test")
        return loop.clock

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, and everything happen that is due meanwhile, in its order."""
        await asyncio.sleep(seconds)
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing more can happen without the passing of time. No time passes.

        Raises:
            RuntimeError: The loop is never idle, because some task never really waits.
        """
        await self._state.until_idle()


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop on a :class:`Clock`. May be given as ``loop_factory`` to ``asyncio.Runner``."""

    def __init__(self) -> None:
        state = _ClockState()
        self.clock: Clock = Clock(state)
        """Its time, for tests to move."""
        self._selector_of_ours = _Selector(state)
        super().__init__(self._selector_of_ours)
        self._selector_of_ours.own = len(self._selector_of_ours.get_map())

    def time(self) -> float:
        """Seconds of :attr:`clock`."""
        return self.clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """As usual; until the thread is done, time is real."""
        with self._selector_of_ours.thread() as done:
            future = super().run_in_executor(executor, func, *args)
            future.add_done_callback(done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As usual."""
        with self._selector_of_ours.thread() as done:
            try:
                await super().shutdown_default_executor(*args)
            finally:
                done()


class _Selector(selectors.DefaultSelector):
    """Moves the clock where the loop would block."""

    def __init__(self, state: _ClockState) -> None:
        super().__init__()
        self._state = state
        self._threads = 0
        self.own = 0
        """How many file descriptors the loop itself looks at."""

    @contextlib.contextmanager
    def thread(self) -> Iterator[Callable[..., None]]:
        """A thread begins to work; call what is given when it is done."""
        self._threads += 1

        def done(*_: object) -> None:
            self._threads -= 1

        try:
            yield done
        except BaseException:
            done()
            raise

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            self._state.busy()
            return ready
        if not self._threads and self._state.idle():
            return []
        if self._threads or len(self.get_map()) > self.own:
            return self._really_wait(timeout)
        if timeout is None:
            raise RuntimeError("deadlock: every task waits, and no timer is set that could wake one")
        self._state.now += timeout
        return []

    def _really_wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        began = time.monotonic()
        try:
            return super().select(timeout)
        finally:
            self._state.now += time.monotonic() - began


def run(main: Coroutine[Any, Any, T], *, limit: float = 3_600.0) -> T:
    """Run a coroutine to its end on a new :class:`ClockLoop`, as ``asyncio.run`` does on a real one.

    Args:
        main: What to run.
        limit: Seconds of the loop's time that it may take: a test that waits for nothing ends too.

    Returns:
        What ``main`` returns.

    Raises:
        TimeoutError: ``main`` did not end within ``limit``.
        RuntimeError: Every task waits and nothing can wake one.
    """
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        return runner.run(_limited(main, limit))


async def _limited(main: Coroutine[Any, Any, T], limit: float) -> T:
    try:
        async with asyncio.timeout(limit) as deadline:
            return await main
    except TimeoutError:
        if deadline.expired():
            raise TimeoutError(f"the test did not end within {limit:g} s of its loop's time") from None
        raise


def async_test(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a plain test function of an async one: it is run by :func:`run`. Any test runner can call it.

    Example::

        @async_test
        async def test_waiting() -> None:
            await asyncio.sleep(3600)  # takes no time
    """

    @functools.wraps(function)
    def test(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(function(*args, **kwargs))

    return test
