"""The states of a session: the table of legal moves, any order of calls, and the deadlines of the heartbeat."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.fuzz import examples

from shoal.errors import EngineProtocolError
from shoal.protocol.session import LATENESS, Heartbeat, Move, Session, State

LEGAL = {
    ("polling", "probe"): "probing",
    ("probing", "upgrade"): "websocket",
    ("probing", "probe lost"): "polling",
    ("polling", "close"): "closed",
    ("probing", "close"): "closed",
    ("websocket", "close"): "closed",
}


def session(state: State = State.POLLING, now: float = 0.0) -> Session:
    return Session("sid", state, now, ping_interval=25.0, ping_timeout=20.0)


@pytest.mark.parametrize(("state", "move"), list(itertools.product(State, Move)))
def test_every_move_in_every_state(state: State, move: Move) -> None:
    """A legal move leads where the protocol says; an illegal one is our error and changes nothing."""
    it = session(state)
    expected = LEGAL.get((state.value, move.value))
    if expected is None:
        with pytest.raises(EngineProtocolError, match="not possible"):
            it.move(move)
        assert it.state is state
    else:
        it.move(move)
        assert it.state.value == expected


def test_messages_go_by_websocket_only_after_the_upgrade() -> None:
    """While a WebSocket probes, polling carries the session."""
    it = session()
    assert it.transport == "polling"
    it.move(Move.PROBE)
    assert it.transport == "polling"
    it.move(Move.UPGRADE)
    assert it.transport == "websocket"


class Life(RuleBasedStateMachine):
    """Any order of moves, looks at the clock and pongs, against a model of the protocol's words."""

    @initialize(state=st.sampled_from([State.POLLING, State.WEBSOCKET]), start=st.floats(0, 1e6))
    def begin(self, state: State, start: float) -> None:
        self.now = start
        self.it = session(state, start)
        self.state = state.value
        self.asked: float | None = None  # when the ping that waits for its pong was due, at the earliest
        self.ping_due = start + 25.0

    @rule(move=st.sampled_from(Move))
    def move(self, move: Move) -> None:
        expected = LEGAL.get((self.state, move.value))
        try:
            self.it.move(move)
        except EngineProtocolError:
            assert expected is None
        else:
            assert expected is not None
            self.state = expected

    @rule(seconds=st.floats(0, 60) | st.sampled_from([25.0, 20.0, 0.1, 45.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def look(self) -> None:
        beat = self.it.check_heartbeat(self.now)
        if self.state == "closed":
            assert beat is Heartbeat.NOTHING
        elif self.asked is not None:
            assert beat is (Heartbeat.TIMEOUT if self.now >= self.asked + 20.0 else Heartbeat.NOTHING)
        elif self.now >= self.ping_due:
            assert beat is Heartbeat.PING
            self.asked = max(self.ping_due, self.now - LATENESS)
        else:
            assert beat is Heartbeat.NOTHING

    @rule()
    def pong(self) -> None:
        self.it.pong(self.now)
        if self.asked is not None:
            self.asked = None
            self.ping_due = self.now + 25.0

    @precondition(lambda self: self.state != "closed")
    @rule()
    def close(self) -> None:
        self.it.move(Move.CLOSE)
        self.state = "closed"

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "it"):
            assert self.it.state.value == self.state
            assert self.it.transport == ("websocket" if self.state == "websocket" else "polling")
            assert self.it.due == (self.ping_due if self.asked is None else self.asked + 20.0)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=examples(40), stateful_step_count=30)


class TestHeartbeat:
    def test_the_first_ping_is_an_interval_after_the_open_packet(self) -> None:
        it = session(now=100.0)
        assert it.check_heartbeat(124.999) is Heartbeat.NOTHING
        assert it.check_heartbeat(125.0) is Heartbeat.PING

    def test_the_deadline_counts_from_when_the_ping_was_due(self) -> None:
        """A ping that a coarse timer sent a little late does not give the client longer: 300 + 200 are 500 ms."""
        it = Session("sid", State.POLLING, 0.0, 0.3, 0.2)
        assert it.check_heartbeat(0.304) is Heartbeat.PING
        assert it.check_heartbeat(0.499) is Heartbeat.NOTHING
        assert it.check_heartbeat(0.5) is Heartbeat.TIMEOUT

    def test_a_process_that_stood_still_asks_before_it_cuts_off(self) -> None:
        """A minute late, the ping is sent and the client has its whole time, but for the tolerance."""
        it = session()
        assert it.check_heartbeat(85.0) is Heartbeat.PING
        assert it.check_heartbeat(85.0 + 20.0 - LATENESS - 0.01) is Heartbeat.NOTHING
        assert it.check_heartbeat(85.0 + 20.0 - LATENESS) is Heartbeat.TIMEOUT

    def test_a_pong_that_nobody_asked_for_changes_nothing(self) -> None:
        """A client cannot put off its pings."""
        it = session()
        it.pong(10.0)
        assert it.due == 25.0

    def test_a_ping_is_sent_once(self) -> None:
        it = session()
        assert [it.check_heartbeat(25.0), it.check_heartbeat(25.0), it.check_heartbeat(44.9)] == [
            Heartbeat.PING,
            Heartbeat.NOTHING,
            Heartbeat.NOTHING,
        ]

    @given(st.lists(st.floats(0, 19.9), min_size=1, max_size=10))
    def test_a_client_that_answers_in_time_is_never_cut_off(self, delays: list[float]) -> None:
        it, now = session(), 0.0
        for delay in delays:
            now = it.due
            assert it.check_heartbeat(now) is Heartbeat.PING
            now += delay
            assert it.check_heartbeat(now) is Heartbeat.NOTHING
            it.pong(now)
            assert it.due == now + 25.0
