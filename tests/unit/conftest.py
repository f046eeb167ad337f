"""The unit tests' property tests have the profile of `fuzz.py`, also those that use nothing else of it."""

from __future__ import annotations

from tests.unit import fuzz

__all__ = ["fuzz"]
