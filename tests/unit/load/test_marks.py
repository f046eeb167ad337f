"""The mark in every text, the histogram and the order of messages: the load tester's arithmetic."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.load.latency import Latencies
from shoal.load.marks import MARK_SIZE, make_tag, read_mark, write_mark
from shoal.load.order import Order

TAG = make_tag(1234567)


@given(st.integers(0, 99_999_999), st.integers(0, 99_999_999), st.integers(0, 10**16 - 1))
def test_a_mark_is_read_as_it_was_written(publisher: int, sequence: int, time_us: int) -> None:
    mark = write_mark(TAG, publisher, sequence, time_us)
    assert len(mark) == MARK_SIZE
    assert read_mark(b"42[" + mark + b'"]', 3) == (publisher, sequence, time_us)


@given(st.integers(0, 2**64 - 1))
def test_a_tag_is_plain_text_of_one_length(number: int) -> None:
    tag = make_tag(number)
    assert len(tag) == len(TAG)
    assert tag.decode().strip("~").isalnum()


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_within_four_percent_of_the_exact_one(values: list[int], share: float) -> None:
    latencies = Latencies()
    latencies.add_all(values)
    exact = sorted(values)[int(share * (len(values) - 1))]
    found = latencies.milliseconds(share)
    assert found is not None
    assert found * 1000 == pytest.approx(exact, rel=0.04, abs=1)
    assert latencies.summary()["max"] == max(values) / 1000


def test_no_latencies_have_no_percentiles() -> None:
    assert Latencies().summary() == {"p50": None, "p90": None, "p99": None, "p999": None, "max": None, "samples": 0}


def test_a_clock_that_was_set_back_counts_as_no_latency() -> None:
    latencies = Latencies()
    latencies.add_all([-5])
    assert latencies.milliseconds(0.5) == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), max_size=60))
def test_every_message_is_fresh_once_and_a_duplicate_ever_after(received: list[tuple[int, int]]) -> None:
    """Whatever comes in whatever order: the counts are those of a plain set."""
    order, seen = Order(), set()
    late = 0
    for publisher, sequence in received:
        fresh = (publisher, sequence) not in seen
        late += fresh and any(p == publisher and s > sequence for p, s in seen)
        assert order.record(publisher, sequence) is fresh
        seen.add((publisher, sequence))
    assert order.unique == len(seen)
    assert order.duplicates == len(received) - len(seen)
    assert order.reordered == late


def test_what_is_remembered_of_missing_messages_is_bounded() -> None:
    """A jump of a hundred million leaves a bounded number of holes."""
    order = Order()
    order.record(0, 99_999_999)
    assert len(order._holes) <= 10_000
    order.record(0, 1)
    assert (order.reordered, order.unique) == (1, 2)


def test_a_shuffled_run_has_no_loss_and_no_duplicates() -> None:
    numbers = list(range(1, 500))
    random.Random(7).shuffle(numbers)
    order = Order()
    for number in numbers:
        order.record(3, number)
    assert (order.unique, order.duplicates) == (499, 0)
    assert order.reordered > 400
