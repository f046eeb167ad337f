"""Twelve clients of four nodes talk through all kinds of faults: with a log nothing is lost, and without one it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.faults import Storm

pytestmark = pytest.mark.calm  # its faults are to come when they should

SEED = 267  # begins with a reload of the balancer: it is the longest fault
LOSING_SEED = 177  # begins with a kill -9 of a node, and of the broker
CLIENTS = 12


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Every message once, in its sender's order, and all clients recovered, whatever happened to nodes and broker."""
    outcome = Storm("redis+streams", tmp_path, 8.0, CLIENTS, SEED, interval=1.0).run()
    print(outcome)
    assert not outcome.bad, str(outcome)
    assert not outcome.mistakes, outcome.mistakes
    assert outcome.verdict["reconnections"] >= CLIENTS / 2, "the faults were none"
    assert outcome.reloads > 0
    assert outcome.verdict["acknowledged"] > 20 * CLIENTS


def test_the_harness_sees_losses(tmp_path: Path) -> None:
    """With `redis://` the same faults lose messages, and nobody is recovered."""
    outcome = Storm("redis", tmp_path, 3.0, CLIENTS, LOSING_SEED, interval=0.8, quiet=0.8).run()
    print(outcome)
    assert outcome.bad["lost"] > 0
    assert outcome.bad["unrecovered"] == outcome.verdict["reconnections"]
