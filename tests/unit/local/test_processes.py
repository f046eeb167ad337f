"""How long the supervisor waits before it starts a process again."""

from __future__ import annotations

from shoal.local.processes import DRAIN_TIMEOUT, STOP_TIMEOUTS, Backoff


def test_each_death_doubles_the_wait_up_to_a_bound() -> None:
    backoff = Backoff(first=0.5, factor=2.0, most=8.0)
    assert [backoff.delay(failures) for failures in range(1, 8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_many_deaths_do_not_overflow() -> None:
    assert Backoff().delay(100_000) == Backoff().most


def test_the_deadlines_of_a_stop_fit_into_the_five_seconds_that_are_promised() -> None:
    assert sum(seconds + DRAIN_TIMEOUT for _, seconds in STOP_TIMEOUTS) < 5.0
