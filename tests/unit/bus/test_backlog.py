"""The backlog keeps order and its bound, drops the oldest, counts what it drops and says it once for each outage."""

from __future__ import annotations

import logging
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.bus.backlog import Backlog
from shoal.bus.base import BusStats

Steps = st.lists(st.one_of(st.binary(max_size=30), st.integers(0, 60)), max_size=60)


@given(limit=st.integers(1, 100), steps=Steps)
def test_it_is_a_queue_with_a_bound(limit: int, steps: list[bytes | int]) -> None:
    """Whatever is put and taken in any order, it equals a plain list whose oldest items are cut off at the bound."""
    stats = BusStats()
    backlog: Backlog[bytes] = Backlog(limit, len, stats, "test")
    model: deque[bytes] = deque()
    dropped = 0
    for step in steps:
        if isinstance(step, bytes):
            backlog.put(step)
            backlog.drop_oldest()
            model.append(step)
            while sum(map(len, model)) > limit:
                model.popleft()
                dropped += 1
        else:
            taken = backlog.take(step)
            assert taken == [model.popleft() for _ in taken]
            assert taken or not model or step == 0 or backlog.size == 0
        assert backlog.size == sum(map(len, model)) <= limit
        assert len(backlog) == len(model)
    assert stats.dropped == dropped


@pytest.mark.parametrize(("size", "count"), [(1, 1), (10, 1), (11, 2), (29, 3), (30, 3), (100, 3)])
def test_take_stops_at_a_size(size: int, count: int) -> None:
    """It gives the items that begin within the size: at least one, so that one larger than it passes."""
    backlog: Backlog[bytes] = Backlog(1_000, len, BusStats(), "test")
    for _ in range(3):
        backlog.put(b"x" * 10)
    assert len(backlog.take(size)) == count


def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins to drop, one with the count when it is over; the next outage is told again."""
    backlog: Backlog[bytes] = Backlog(10, len, BusStats(), "broker somewhere")
    with caplog.at_level(logging.WARNING, "shoal.bus"):
        for _ in range(2):
            for _ in range(5):
                backlog.put(b"123456")
                backlog.drop_oldest()
            backlog.take(10)
            backlog.outage_over()
            backlog.outage_over()
    lines = [record.getMessage() for record in caplog.records]
    assert (
        lines
        == [
            "broker somewhere: more than 10 bytes wait to be published, the oldest are dropped",
            "broker somewhere: 4 messages were dropped meanwhile",
        ]
        * 2
    )


def test_a_discarded_backlog_keeps_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What waited and what is put later is dropped and counted, and not logged: its owner is closing."""
    stats = BusStats()
    backlog: Backlog[bytes] = Backlog(100, len, stats, "test")
    backlog.put(b"1")
    backlog.discard()
    backlog.put(b"2")
    backlog.drop_oldest()
    assert (len(backlog), backlog.size, stats.dropped) == (0, 0, 2)
    assert caplog.text == ""
