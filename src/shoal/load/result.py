"""What a load test found out, as plain data: the form of ``shoal bench --json``. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .latency import Latencies
from .plan import Plan
from .traffic import Traffic

__all__ = ["Reading", "Result", "conclude"]

TESTER_LIMIT = 0.9
"""Share of a core above which this program, not the server, may have been the limit."""

Percentiles = dict[str, float | int | None]


@dataclass(frozen=True)
class Reading:
    """The counters at one moment; times in seconds."""

    at: float
    cpu: float
    sent: int
    received: int
    bytes: int


@dataclass(frozen=True)
class Result:
    """One load test's outcome. Rates cover the measured time; the counts of messages cover the whole test."""

    plan: dict[str, Any]
    connects_per_s: float
    connect_ms: Percentiles
    seconds: float
    sent_per_s: float
    received_per_s: float
    received_mb_per_s: float
    latency_ms: Percentiles
    sent: int
    expected: int
    received: int
    lost: int
    duplicates: int
    reordered: int
    misdelivered: int
    cut_off: int
    cut_reason: str | None
    tester_cpu: float
    tester_was_the_limit: bool
    send_lag_ms: Percentiles

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return asdict(self)


def conclude(
    plan: Plan, traffic: Traffic, first: Reading, last: Reading, connecting: Latencies, connect_seconds: float
) -> Result:
    """Put a result together from the readings at both ends of the measured time."""
    seconds = max(last.at - first.at, 1e-9)
    cpu = (last.cpu - first.cpu) / seconds
    unique = traffic.unique
    described = {name: value for name, value in asdict(plan).items() if name != "auth"}
    return Result(
        plan=described,
        connects_per_s=round(connecting.count / max(connect_seconds, 1e-9), 1),
        connect_ms=connecting.summary(),
        seconds=round(seconds, 3),
        sent_per_s=round((last.sent - first.sent) / seconds, 1),
        received_per_s=round((last.received - first.received) / seconds, 1),
        received_mb_per_s=round((last.bytes - first.bytes) / seconds / 1e6, 3),
        latency_ms=traffic.latency.summary(),
        sent=traffic.sent,
        expected=traffic.expected,
        received=traffic.received,
        lost=traffic.expected - unique,
        duplicates=traffic.duplicates,
        reordered=traffic.reordered,
        misdelivered=traffic.misdelivered,
        cut_off=traffic.cut_off,
        cut_reason=traffic.cut_reason,
        tester_cpu=round(cpu, 3),
        tester_was_the_limit=cpu > TESTER_LIMIT,
        send_lag_ms=traffic.lag.summary(),
    )
