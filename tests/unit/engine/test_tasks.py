"""The tasks of an engine end with it, and one that fails is logged."""

from __future__ import annotations

import asyncio

import pytest

from shoal.engine.tasks import Tasks
from shoal.testing import Clock, async_test


@async_test
async def test_a_task_that_fails_is_logged_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    tasks = Tasks()
    tasks.spawn(fail())
    assert len(tasks) == 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(tasks) == 0
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@async_test
async def test_a_task_that_is_cancelled_or_done_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does the loop log that its end could not be looked at."""
    tasks = Tasks()
    done, cancelled = tasks.spawn(asyncio.sleep(0)), tasks.spawn(asyncio.sleep(60))
    await done
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await asyncio.sleep(0)
    assert (len(tasks), caplog.records) == (0, [])


@async_test
async def test_closing_waits_for_a_while_and_then_cancels() -> None:
    """What a cancelled task begins at its end is cancelled too."""
    tasks = Tasks()
    seen: list[str] = []

    async def late() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            tasks.spawn(asyncio.sleep(60))
            raise

    async def soon() -> None:
        await asyncio.sleep(0.2)
        seen.append("soon")

    tasks.spawn(late())
    tasks.spawn(soon())
    before = Clock.running().now
    await asyncio.gather(tasks.close(0.5), Clock.running().advance(1.0))
    assert seen == ["soon", "cancelled"]
    assert len(tasks) == 0
    assert Clock.running().now - before <= 1.0
