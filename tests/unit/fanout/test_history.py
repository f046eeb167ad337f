"""What was said of late: who missed what, and when it is not known any more."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.fanout.history import Entry, History

MUCH = 1_000_000


def said(history: History, text: bytes = b"x", time: float = 0.0, **where: Any) -> Entry:
    """A message, remembered."""
    said = Entry(
        history.next_offset(), time, where.get("namespace", "/"), where.get("rooms", ()), where.get("excluded", ()),
        text, where.get("attachments", ()),
    )  # fmt: skip
    history.add(said)
    return said


def missed(history: History, offset: int, rooms: set[str], limit: int = MUCH, namespace: str = "/") -> list[int] | None:
    found = history.since(offset, namespace, rooms, limit)
    return None if found is None else [each.offset for each in found]


def test_what_came_later_is_missed_in_its_order() -> None:
    history = History(MUCH, 60)
    for _ in range(5):
        said(history)
    assert missed(history, 2, {"me"}) == [3, 4, 5]
    assert missed(history, 5, {"me"}) == []
    assert missed(history, 0, {"me"}) == [1, 2, 3, 4, 5]


def test_only_what_was_for_its_rooms_is_missed() -> None:
    """One's own id is a room; an exception counts as in a broadcast."""
    history = History(MUCH, 60)
    said(history, rooms=("a",))
    said(history, rooms=("b",))
    said(history, rooms=("a", "b"), excluded=("me",))
    said(history, excluded=("a",))
    said(history, rooms=("me",))
    said(history, namespace="/other")
    assert missed(history, 0, {"me", "a"}) == [1, 5]
    assert missed(history, 0, {"you", "b"}) == [2, 3, 4]


@pytest.mark.parametrize("offset", [-1, 4, 10**17])
def test_an_offset_that_was_never_given(offset: int) -> None:
    history = History(MUCH, 60)
    for _ in range(3):
        said(history)
    assert missed(history, offset, {"me"}) is None


def test_more_than_the_limit_is_not_told() -> None:
    """The bytes of text and attachments count, of those messages alone that were for the client."""
    history = History(MUCH, 60)
    said(history, b"x" * 10, attachments=(b"y" * 10,))
    said(history, b"x" * 1_000, rooms=("elsewhere",))
    assert missed(history, 0, {"me"}, limit=20) == [1]
    assert missed(history, 0, {"me"}, limit=19) is None


def test_the_oldest_are_forgotten_at_the_bound_of_bytes() -> None:
    """Then nobody can come back who missed one of them; who had it can."""
    history = History(10_000, 60)
    for _ in range(100):
        said(history, b"x" * 700)
    assert history.size <= 10_000
    assert len(history) == 10
    assert history.forgotten == 90
    assert missed(history, 89, {"me"}) is None
    assert missed(history, 90, {"me"}) == list(range(91, 101))


def test_a_message_larger_than_the_bound_leaves_nothing() -> None:
    history = History(1_000, 60)
    said(history, b"x" * 2_000)
    assert (len(history), history.size, history.forgotten) == (0, 0, 1)
    assert missed(history, 1, {"me"}) == []


def test_the_oldest_are_forgotten_with_time() -> None:
    """That costs nobody a thing: after so long nobody can have missed one."""
    history = History(MUCH, 60)
    for time in (0.0, 30.0, 60.0, 90.5):
        said(history, time=time)
    assert (len(history), history.forgotten) == (2, 0)
    assert missed(history, 1, {"me"}) == [3, 4]
    history.expire(130.0)
    assert (len(history), missed(history, 0, {"me"})) == (1, [4])


def test_what_clients_choose_counts() -> None:
    """Names of rooms and many small attachments take as much memory as texts."""
    history = History(MUCH, 60)
    said(history, rooms=("r" * 900_000,), excluded=("é" * 10,))
    assert history.size > 900_000
    said(history, attachments=tuple(bytes([number]) for number in range(100)))
    assert history.size > 900_000 + 100 * 34


def test_an_offset_that_was_taken_and_not_used_is_a_gap() -> None:
    """An event that could not be encoded."""
    history = History(MUCH, 60)
    said(history)
    history.next_offset()
    said(history)
    assert missed(history, 1, {"me"}) == [3]
    assert missed(history, 2, {"me"}) == [3]


ROOMS = st.sets(st.sampled_from("abc"), max_size=2)


@given(st.lists(st.tuples(ROOMS, ROOMS, st.integers(0, 400)), max_size=30), st.data())
def test_it_equals_a_list_of_everything(messages: list[tuple[set[str], set[str], int]], data: st.DataObject) -> None:
    """Whatever is told is exactly what a member would have got; else it is refused, and only for what is forgotten."""
    history = History(3_000, 60)
    everything = [
        said(history, b"x" * size, rooms=tuple(rooms), excluded=tuple(excluded)) for rooms, excluded, size in messages
    ]
    member = data.draw(ROOMS) | {"me"}
    offset = data.draw(st.integers(0, len(messages)))
    expected = [
        each.offset
        for each in itertools.islice(everything, offset, None)
        if (not each.rooms or member & set(each.rooms)) and not member & set(each.excluded)
    ]
    found = missed(history, offset, member)
    assert found == expected or (found is None and offset < history.forgotten)
    assert history.size == sum(each.cost for each in everything[history.forgotten :])
