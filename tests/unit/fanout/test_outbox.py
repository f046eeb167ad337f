"""The outbox of one connection: order, back-pressure, its bound and policy, and the change from packets to frames."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fanout.recording import Owner, Recorder

from shoal.fanout.outbox import Outbox, OutboxRules, OutboxStats, Policy
from shoal.protocol.engineio import payload_size
from shoal.protocol.frames import binary_frame, text_frame


def outbox(limit: int = 1_000, policy: Policy = "disconnect", owner: Owner | None = None) -> Outbox:
    return Outbox(OutboxRules(limit, policy, OutboxStats()), owner or Owner())


@pytest.mark.parametrize("framed", [True, False])
def test_a_turn_is_one_write(framed: bool) -> None:
    """What was collected goes to the lane at once, text and binary in order."""
    box, lane = outbox(), Recorder(framed)
    box.attach(lane.write, framed=framed)
    box.add(b"41", [b"x", b"y"])
    box.add(b"42", ())
    box.add(b"", [b"z"])
    box.flush()
    box.flush()
    assert lane.writes == 1
    assert lane.packets == ["41", b"x", b"y", "42", b"z"]


@pytest.mark.parametrize("framed", [True, False])
def test_a_packet_goes_at_once_behind_the_turns(framed: bool) -> None:
    """A ping does not overtake what was emitted before it."""
    box, lane = outbox(), Recorder(framed)
    box.attach(lane.write, framed=framed)
    box.add(b"41", ())
    box.packet("2")
    box.packet(b"binary")
    assert lane.packets == ["41", "2", b"binary"]


def test_it_starts_blocked() -> None:
    """Until there is a lane everything is held, in order."""
    box, lane = outbox(), Recorder(framed=False)
    box.add(b"41", [b"x"])
    box.packet("42")
    assert not box.writable
    box.attach(lane.write, framed=False)
    assert lane.packets == ["41", b"x", "42"]
    assert box.held_size == 0


operations = st.lists(
    st.tuples(st.just("add"), st.binary(max_size=3).map(lambda b: b.hex().encode()), st.lists(st.binary(max_size=4)))
    | st.tuples(st.just("packet"), st.text("abc", min_size=1, max_size=4) | st.binary(max_size=4), st.none())
    | st.tuples(st.sampled_from(["flush", "block", "unblock", "polling", "websocket"]), st.none(), st.none()),
    max_size=30,
)


@given(operations, st.booleans())
def test_whatever_happens_the_order_stays(ops: list[tuple[str, Any, Any]], later: bool) -> None:
    """Blocked or not, on one lane or the next: each packet arrives once, in the order in which it was given."""
    box = outbox(limit=100_000)
    first, last = Recorder(framed=False), Recorder(framed=True)
    expected: list[str | bytes] = []
    box.attach(first.write, framed=False, writable=False)
    on_websocket = False
    for name, one, other in ops:
        if name == "add":
            box.add(one, other)
            expected += [one.decode()] * bool(one) + other
        elif name == "packet":
            box.packet(one)
            expected.append(one)
        elif name == "flush":
            box.flush()
        elif name == "block":
            box.block()
        elif name == "unblock":
            box.unblock()
        elif name == "polling" and not on_websocket:
            box.attach(first.write, framed=False)
        elif name == "websocket" and not on_websocket:
            on_websocket = True
            box.attach(last.write, framed=True, writable=later)
    if not on_websocket:
        box.attach(last.write, framed=True)
    box.flush()
    box.unblock()
    assert first.packets + last.packets == expected


class TestBound:
    def test_it_is_reached_once_and_the_connection_is_told(self) -> None:
        """One byte more than allowed: everything is dropped, it is counted, and said once however much follows."""
        owner = Owner()
        box, lane = outbox(100, owner=owner), Recorder(framed=True)
        box.attach(lane.write, framed=True, writable=False)
        frame = text_frame(b"x" * 48)
        for _ in range(2):
            box.packet("x" * 48)
        assert box.held_size == 2 * len(frame) == 100
        assert owner.overflows == 0
        box.packet("")
        box.packet("more")
        box.flush()
        assert owner.overflows == 1
        assert box.rules.stats.overflows == 1
        assert (box.held, box.held_size, box.pending) == (None, 0, [])
        box.unblock()
        assert lane.packets == []

    def test_packets_count_as_what_polling_will_take(self) -> None:
        """Binary is larger in base64."""
        box = outbox(1_000)
        box.packet(b"x" * 300)
        assert box.held_size == payload_size(b"x" * 300) > 400

    @given(st.lists(st.integers(1, 200), min_size=1, max_size=30), st.booleans())
    def test_never_more_than_the_bound_is_held(self, sizes: list[int], framed: bool) -> None:
        owner = Owner()
        box, lane = outbox(500, owner=owner), Recorder(framed)
        box.attach(lane.write, framed=framed, writable=False)
        for size in sizes:
            box.packet("x" * size)
            assert box.held_size <= 500
        overhead = 2 if framed else 1
        whole = sum(size + overhead + (2 if framed and size > 125 else 0) for size in sizes)
        assert owner.overflows == (whole > 500)

    def test_held_messages_free_their_bytes(self) -> None:
        """The bound is for what waits now, not for what ever waited."""
        owner = Owner()
        box, lane = outbox(100, owner=owner), Recorder(framed=False)
        box.attach(lane.write, framed=False)
        for _ in range(10):
            box.block()
            box.packet("x" * 90)
            box.unblock()
        assert owner.overflows == 0
        assert len(lane.packets) == 10


class TestVolatile:
    def test_a_blocked_connection_gets_none(self) -> None:
        """And each that it does not get is counted."""
        box = outbox()
        assert not box.takes_volatile()
        box.attach(Recorder(framed=True).write, framed=True)
        assert box.takes_volatile()
        box.block()
        assert not box.takes_volatile()
        assert box.rules.stats.volatile_dropped == 2

    def test_with_the_policy_it_gets_them_up_to_half_the_bound(self) -> None:
        box = outbox(102, "drop-volatile")
        box.attach(Recorder(framed=True).write, framed=True, writable=False)
        assert box.takes_volatile()
        box.packet("x" * 47)
        assert box.held_size == 49
        assert box.takes_volatile()
        box.packet("")
        assert box.held_size == 51
        assert not box.takes_volatile()

    def test_a_closed_connection_gets_none(self) -> None:
        for policy in ("disconnect", "drop-volatile"):
            box = outbox(100, policy)  # type: ignore[arg-type]
            box.attach(Recorder(framed=True).write, framed=True)
            box.close()
            assert not box.takes_volatile()


@pytest.mark.parametrize("framed", [True, False])
def test_after_the_end_everything_is_dropped(framed: bool) -> None:
    """Held, pending or new: nothing reaches the lane, nothing piles up, nobody is told."""
    owner = Owner()
    box, lane = outbox(10, owner=owner), Recorder(framed)
    box.attach(lane.write, framed=framed, writable=False)
    box.packet("held")
    box.add(b"pending", ())
    box.close()
    for _ in range(5):
        box.add(b"new", [b"x" * 100])
        box.flush()
        box.packet("packet")
    assert (lane.packets, box.held, box.pending, owner.overflows) == ([], None, [], 0)


def test_the_descriptor_is_known_only_while_the_lane_takes_data() -> None:
    """While it is blocked, bytes past the lane would overtake others; after the end they would hit another file."""
    box, lane = outbox(), Recorder(framed=True)
    assert box.descriptor == -1
    box.attach(lane.write, framed=True, writable=False, descriptor=7)
    assert box.descriptor == -1
    box.unblock()
    assert box.descriptor == 7
    box.block()
    box.packet("held")
    box.hand_over()
    assert (box.descriptor, lane.packets) == (-1, ["held"])
    box.unblock()
    box.attach(lane.write, framed=True)
    assert box.descriptor == -1
    box.attach(lane.write, framed=True, descriptor=7)
    box.close()
    box.unblock()
    assert box.descriptor == -1


def test_a_lane_that_is_full_again_at_once_keeps_its_descriptor_to_itself() -> None:
    """It blocks in the middle of taking over what was held."""
    box = outbox()

    def write(data: object) -> None:
        box.block()

    box.packet("held")
    box.attach(write, framed=True, descriptor=7)
    assert (box.writable, box.descriptor) == (False, -1)


def test_an_outbox_that_overflows_on_its_way_to_a_lane_stays_closed() -> None:
    """What comes later would hide that something is missing before it."""
    box, lane = outbox(10), Recorder(framed=True)
    box.add(b"4" + b"x" * 20, ())
    box.attach(lane.write, framed=True, descriptor=7)
    box.packet("4later")
    assert (lane.packets, box.descriptor) == ([], -1)


def test_frames_are_built_once_for_what_was_held_as_packets() -> None:
    """The upgrade turns packets into frames, binary into binary frames."""
    box, lane = outbox(), Recorder(framed=True)
    box.packet("4a")
    box.packet(b"b")
    box.attach(lane.write, framed=True)
    assert lane.raw == [text_frame(b"4a") + binary_frame(b"b")]
