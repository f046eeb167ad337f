"""The timer wheel: every deadline is met once, never early and at most one bucket late, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fuzz import examples

from shoal.engine.wheel import AT_ONCE, Wheel
from shoal.testing import Clock, async_test, run


class Item:
    """Remembers when it was due; `then` is what it does at that moment."""

    def __init__(self, then: Callable[[], Any] = lambda: None) -> None:
        self.slot = -1
        self.calls: list[float] = []
        self.then = then

    def on_due(self, now: float) -> None:
        assert now == Clock.running().now
        self.calls.append(now)
        self.then()


delays = st.floats(0, 30) | st.sampled_from([0.0, 0.5, 1.0, 10.0])
operations = st.lists(
    st.tuples(st.just("place"), st.integers(0, 4), delays)
    | st.tuples(st.just("remove"), st.integers(0, 4), st.just(0.0))
    | st.tuples(st.just("wait"), st.just(0), delays),
    max_size=25,
)


@settings(max_examples=examples(60))
@given(operations, st.sampled_from([0.03, 0.1, 0.5]))
def test_deadlines_are_met_in_time(ops: list[tuple[str, int, float]], resolution: float) -> None:
    """Against a model that holds the last deadline of each item."""

    async def main() -> None:
        clock, wheel = Clock.running(), Wheel(resolution)
        items = [Item() for _ in range(5)]
        due: dict[int, float] = {}

        def check() -> None:
            for number, item in enumerate(items):
                if item.calls:
                    [called] = item.calls
                    item.calls.clear()
                    assert due[number] <= called <= due[number] + resolution + 1e-6
                    del due[number]
                elif number in due:
                    assert clock.now <= due[number] + resolution + 1e-6
            assert len(wheel) == len(due)

        for name, number, seconds in ops:
            if name == "place":
                due[number] = clock.now + seconds
                wheel.place(items[number], due[number])
            elif name == "remove":
                due.pop(number, None)
                wheel.remove(items[number])
            else:
                await clock.advance(seconds)
            check()
        await clock.advance(31)
        check()
        assert due == {}
        wheel.close()

    run(main())


@async_test
async def test_an_item_that_was_removed_in_the_same_turn_is_not_called() -> None:
    """Whoever comes first in a bucket may take the others out, or put them off."""
    clock, wheel = Clock.running(), Wheel(0.5)
    items: list[Item] = []

    def first() -> None:
        for other in items:
            if not other.calls:
                wheel.remove(other) if items.index(other) % 2 else wheel.place(other, clock.now + 5)

    items += [Item(first) for _ in range(4)]
    for item in items:
        wheel.place(item, clock.now + 1)
    await clock.advance(2)
    assert sum(len(item.calls) for item in items) == 1
    await clock.advance(20)
    for number, item in enumerate(items):
        assert len(item.calls) <= 1
        assert item.calls or number % 2


@async_test
async def test_an_item_may_place_itself_again() -> None:
    """A heartbeat goes on and on."""
    clock, wheel = Clock.running(), Wheel(0.1)
    item = Item(lambda: wheel.place(item, clock.now + 10))
    wheel.place(item, clock.now + 10)
    await clock.advance(101)
    assert 9 <= len(item.calls) <= 10
    wheel.close()


@async_test
async def test_one_that_raises_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    clock, wheel = Clock.running(), Wheel(0.1)
    broken, sound = Item(lambda: 1 / 0), Item()
    for item in (broken, sound):
        wheel.place(item, clock.now + 1)
    await clock.advance(2)
    assert len(sound.calls) == len(broken.calls) == 1
    assert "deadline" in caplog.text


@async_test
async def test_an_empty_wheel_does_not_turn() -> None:
    """No timer is left when the last item is gone: an idle server sleeps."""
    clock, wheel = Clock.running(), Wheel(0.5)
    item = Item()
    wheel.place(item, clock.now + 1)
    await clock.advance(2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1_000):
            await asyncio.get_running_loop().create_future()
    # Had it turned, a deadline of the past would have been met while nobody looked.
    item.calls.clear()
    wheel.place(item, clock.now - 500)
    await clock.advance(1.1)
    assert len(item.calls) == 1


@async_test
async def test_closing_forgets_everything_and_it_can_be_used_again() -> None:
    clock, wheel = Clock.running(), Wheel(0.5)
    item = Item()
    wheel.place(item, clock.now + 1)
    wheel.close()
    await clock.advance(5)
    assert (item.calls, item.slot, len(wheel)) == ([], -1, 0)
    wheel.place(item, clock.now + 1)
    await clock.advance(5)
    assert len(item.calls) == 1


def test_on_another_loop_it_begins_anew() -> None:
    """What was placed on a loop that has ended is forgotten; deadlines count by the clock of the loop that runs."""
    wheel, first, second = Wheel(0.5), Item(), Item()

    async def one() -> None:
        await Clock.running().advance(1_000)
        wheel.after(first, 1)

    async def another() -> None:
        clock = Clock.running()
        assert wheel.now() == clock.now
        assert (first.slot, len(wheel)) == (-1, 0)
        wheel.after(second, 1)
        await clock.advance(2)

    run(one())
    run(another())
    assert (first.calls, len(second.calls)) == ([], 1)


@pytest.mark.parametrize("late", [0.0, 0.05, 0.1, 0.2, 10.0])
@async_test
async def test_a_deadline_that_has_passed_is_met_at_the_next_turn(late: float) -> None:
    """Its bucket has been emptied: it must not wait there for ever."""
    clock, wheel = Clock.running(), Wheel(0.1)
    await clock.advance(20.0)
    item, other = Item(), Item()
    wheel.place(other, clock.now + 60.0)  # so that it turns already
    await clock.advance(0.25)
    wheel.place(item, clock.now - late)
    await clock.advance(0.1)
    assert len(item.calls) == 1
    wheel.close()


@async_test
async def test_a_crowd_that_is_due_at_once_leaves_others_their_turn() -> None:
    """It is spread over the time to the next bucket; who leaves meanwhile is not called, who is placed anew waits."""
    clock, wheel = Clock.running(), Wheel(1.0)
    seen: list[int] = []
    left_out: list[Item] = []

    def called() -> list[Item]:
        return [item for item in items if item.calls]

    def between() -> None:
        seen.append(len(called()))
        if not left_out:
            left_out.extend([item for item in items if not item.calls][:2])
            wheel.remove(left_out[0])
            wheel.place(left_out[1], clock.now + 20)

    def then() -> None:
        if len(called()) % AT_ONCE == 1:
            asyncio.get_running_loop().call_soon(between)

    items = [Item(then) for _ in range(3 * AT_ONCE + 10)]
    for item in items:
        wheel.place(item, clock.now + 5.5)
    await clock.advance(5.4)
    assert called() == []
    await clock.advance(1.6)
    assert seen == [AT_ONCE, 2 * AT_ONCE, 3 * AT_ONCE, len(items) - 2]
    moments = sorted({item.calls[0] for item in called()})
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert pauses == pytest.approx([0.25] * 3)
    gone, later = left_out
    assert len(called()) == len(items) - 2
    assert all(len(item.calls) == 1 for item in called())
    assert (len(wheel), gone.slot) == (1, -1)
    await clock.advance(21)
    assert (len(later.calls), gone.calls, len(wheel)) == (1, [], 0)
    wheel.close()


@async_test
async def test_it_can_be_closed_by_one_of_many_that_are_due() -> None:
    clock, wheel = Clock.running(), Wheel(1.0)
    items = [Item(wheel.close) for _ in range(AT_ONCE + 10)]
    for item in items:
        wheel.place(item, clock.now + 1)
    await clock.advance(5)
    assert len([item for item in items if item.calls]) == 1
    assert all(item.slot == -1 for item in items)
    assert len(wheel) == 0


@async_test
async def test_what_a_closing_action_places_is_met_in_time() -> None:
    """There is one timer then: with two, each of which goes on, every deadline was met a bucket early."""
    clock, wheel, second = Clock.running(), Wheel(1.0), Item()
    due = clock.now + 10.5

    def again() -> None:
        wheel.close()
        wheel.place(second, due)

    wheel.place(Item(again), clock.now + 1)
    await clock.advance(30)
    [called] = second.calls
    assert due <= called <= due + 1.0


def test_where_a_turn_takes_long_a_crowd_is_not_late_for_ever() -> None:
    """An overloaded loop makes few turns: with the same number in each, pings fell behind until the clients left."""
    turn, period = 0.2, 10.0

    class SlowLoop(asyncio.SelectorEventLoop):
        now = 1_000.0

        def time(self) -> float:
            return self.now

    loop, wheel, lateness = SlowLoop(), Wheel(0.5), [0.0]

    class Heart:
        slot = -1
        due = 0.0

        def on_due(self, now: float) -> None:
            lateness.append(now - self.due)
            self.due = now + period
            wheel.place(self, self.due)

    async def main() -> None:
        hearts = [Heart() for _ in range(5_000)]
        for number, heart in enumerate(hearts):
            heart.due = wheel.now() + period * number / len(hearts)
            wheel.place(heart, heart.due)
        while loop.now < 1_100.0:
            loop.now += turn
            await asyncio.sleep(0)
        wheel.close()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert max(lateness) < 5.0
    assert len(lateness) > 5_000 * 100.0 / (period + 5.0)
