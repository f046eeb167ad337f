"""Presence: what a node tells of its clients, how seldom, and that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shoal.demo.presence import Presence

Told = asyncio.Queue[dict[str, object]]
Check = Callable[[Presence, set[str], Told], Awaitable[None]]


def run(check: Check, *, period: float = 30.0, pause: float = 0.0) -> list[dict[str, object]]:
    """Run a check while presence is told, and return what was told after it read its last."""

    async def main() -> list[dict[str, object]]:
        told: Told = asyncio.Queue()
        clients: set[str] = set()
        presence = Presence("1111", lambda: len(clients), told.put_nowait, period=period, pause=pause)
        async with asyncio.timeout(10), presence.telling():
            await check(presence, clients, told)
        return [told.get_nowait() for _ in range(told.qsize())]

    return asyncio.run(main())


def test_it_tells_at_once_then_of_every_change_and_at_last_that_it_leaves() -> None:
    async def check(presence: Presence, clients: set[str], told: Told) -> None:
        assert await told.get() == {"node": "1111", "clients": 0, "every": 30.0}
        clients.add("a")
        presence.changed()
        assert await told.get() == {"node": "1111", "clients": 1, "every": 30.0}

    assert run(check) == [{"node": "1111", "clients": 0, "every": 0}]


def test_it_repeats_itself_while_nothing_changes() -> None:
    async def check(presence: Presence, clients: set[str], told: Told) -> None:
        assert [(await told.get())["clients"] for _ in range(4)] == [0, 0, 0, 0]

    run(check, period=0.01)


def test_a_thousand_clients_that_arrive_together_are_told_of_once() -> None:
    async def check(presence: Presence, clients: set[str], told: Told) -> None:
        await told.get()
        for number in range(1000):
            clients.add(str(number))
            presence.changed()
            await asyncio.sleep(0)
        assert (await told.get())["clients"] == 1000

    assert [each["every"] for each in run(check, pause=0.5)] == [0]
