"""Presence: what a node reports of its clients, how seldom, and that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shoal.demo.presence import MOST_DOTS, Presence

Reports = asyncio.Queue[dict[str, object]]
Check = Callable[[Presence, set[str], Reports], Awaitable[None]]


def run(check: Check, *, period: float = 30.0, pause: float = 0.0) -> list[dict[str, object]]:
    """Run a check while presence is published, and return what was published after it read its last."""

    async def main() -> list[dict[str, object]]:
        reports: Reports = asyncio.Queue()
        clients: set[str] = set()
        presence = Presence(
            "1111", lambda: (len(clients), sorted(clients)), reports.put_nowait, period=period, pause=pause
        )
        async with asyncio.timeout(10), presence.publishing():
            await check(presence, clients, reports)
        return [reports.get_nowait() for _ in range(reports.qsize())]

    return asyncio.run(main())


def test_it_reports_at_once_then_every_change_and_at_last_that_it_leaves() -> None:
    async def check(presence: Presence, clients: set[str], reports: Reports) -> None:
        assert await reports.get() == {"node": "1111", "clients": 0, "dots": [], "every": 30.0}
        clients.add("a")
        presence.changed()
        assert await reports.get() == {"node": "1111", "clients": 1, "dots": ["a"], "every": 30.0}

    assert run(check) == [{"node": "1111", "clients": 0, "dots": [], "every": 0}]


def test_it_repeats_itself_while_nothing_changes() -> None:
    async def check(presence: Presence, clients: set[str], reports: Reports) -> None:
        assert [(await reports.get())["clients"] for _ in range(4)] == [0, 0, 0, 0]

    run(check, period=0.01)


def test_a_thousand_clients_that_arrive_together_are_reported_once() -> None:
    async def check(presence: Presence, clients: set[str], reports: Reports) -> None:
        await reports.get()
        for number in range(1000):
            clients.add(str(number))
            presence.changed()
            await asyncio.sleep(0)
        assert (await reports.get())["clients"] == 1000

    assert [each["every"] for each in run(check, pause=0.5)] == [0]


def test_a_crowd_is_counted_and_the_first_of_it_are_named() -> None:
    async def check(presence: Presence, clients: set[str], reports: Reports) -> None:
        await reports.get()
        clients.update(f"{number:04}" for number in range(5000))
        presence.changed()
        report = await reports.get()
        assert report["clients"] == 5000
        assert report["dots"] == [f"{number:04}" for number in range(MOST_DOTS)]
        assert "dots" not in presence.summary()

    run(check)
