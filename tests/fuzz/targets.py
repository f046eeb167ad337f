"""Every target, by name. Importing this module fills the table."""

from __future__ import annotations

from tests.fuzz import connections, machines, parsers
from tests.fuzz.harness import TARGETS, Target

__all__ = ["TARGETS", "Target", "connections", "machines", "parsers"]
