"""The assertions of the targets read as the tests' own."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.fuzz.connections", "tests.fuzz.machines", "tests.fuzz.parsers")
