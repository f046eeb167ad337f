"""Traces: a message's note goes on, each server tells when it came, and load makes no more of them."""

from __future__ import annotations

import time
from typing import Any

from shoal.demo.traces import SHOWN, Traces


class Node:
    """The traces of one node, and what they have sent."""

    def __init__(self, name: str, pause: float = 0.0) -> None:
        self.notes: list[str] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.traces = Traces(name, self.notes.append, lambda *event: self.told.append(event), pause=pause)


def test_a_message_is_told_with_its_time_and_so_is_its_note_where_it_comes() -> None:
    one, two = Node("1111"), Node("2222")
    before = time.time() * 1000
    one.traces.sent("abc-0", "hello")
    two.traces.came(one.notes[0])
    after = time.time() * 1000
    [(kind, trace)], [(passed, there)] = one.told, two.told
    assert (kind, trace["node"], trace["dot"], trace["text"]) == ("trace", "1111", "abc-0", "hello")
    assert (passed, there["node"], there["trace"]) == ("passed", "2222", trace["trace"])
    assert before - 1 <= trace["at"] <= there["at"] <= after + 1


def test_each_trace_has_a_name_of_its_own() -> None:
    one = Node("1111")
    for _ in range(3):
        one.traces.sent("abc-0", "hello")
    assert len({*one.notes, *(trace["trace"] for _, trace in one.told)}) == 3


def test_however_much_is_said_few_messages_are_traced_and_little_of_them_is_repeated() -> None:
    one = Node("1111", pause=60.0)
    assert one.traces.is_due
    one.traces.sent("abc-0", "x" * 2000)
    assert not one.traces.is_due
    assert one.told[0][1]["text"] == "x" * SHOWN
