"""How fast the processor cores are just now. On a shared host they are half as fast while a neighbour is at work.

A guest does not see that: no other program runs, no time is stolen. A fixed piece of work shows it. It knows nothing of
servers.
"""

import os
import time
from collections.abc import Iterable
from statistics import median

# Times as long as at best. A quiet core varies by a third, a shared one takes twice as long: beyond the bound between
# them a measurement says more about the neighbours than about a server.
SLOW = 1.6
PATIENCE = 2.0  # seconds to wait for a quiet moment before a measurement
PAUSE = 0.25
SAMPLES = 5
WORK = 100_000  # turns of a loop; a few milliseconds


class Pace:
    """The pace of some cores, relative to the best that was seen in this run.

    Args:
        cores: Those that servers and load run on; without any, the pace is that of wherever the scheduler puts us.
    """

    def __init__(self, cores: Iterable[int | None]) -> None:
        self._cores = sorted({core for core in cores if core is not None})
        self._best: dict[int, float] = {}

    def slowness(self) -> float:
        """How many times as long as at best the slowest of the cores takes now; 1.0 is the best."""
        home = os.sched_getaffinity(0)
        worst = 1.0
        try:
            for core in self._cores or [-1]:
                if core >= 0:
                    os.sched_setaffinity(0, {core})
                worst = max(worst, self._compare(core, median(_work() for _ in range(SAMPLES))))
        finally:
            os.sched_setaffinity(0, home)
        return worst

    def wait(self) -> None:
        """Return when the cores are fast, or when patience has ended."""
        end = time.monotonic() + PATIENCE
        while self.slowness() > SLOW and time.monotonic() < end:
            time.sleep(PAUSE)

    def _compare(self, core: int, seconds: float) -> float:
        best = self._best[core] = min(seconds, self._best.get(core, seconds))
        return seconds / best


def _work() -> float:
    begun = time.perf_counter()
    total = 0
    for number in range(WORK):
        total += number
    return time.perf_counter() - begun
