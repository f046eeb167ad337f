"""Hypothesis for the unit tests: no deadlines, since a busy machine is no bug; SHOAL_FUZZ=20 tries 20 times as much."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from tests.unit.fuzz import examples

settings.register_profile(
    "shoal", max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shoal")
