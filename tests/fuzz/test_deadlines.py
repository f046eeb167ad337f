"""The unit tests' property tests have no deadline, whoever imports them first: in a full run, this folder does."""

from __future__ import annotations

import sys

from tests.fuzz import connections, machines


def test_no_property_test_has_a_deadline() -> None:
    """A busy machine is no bug."""
    assert connections
    assert machines
    found = {
        f"{name}.{key}": value._hypothesis_internal_use_settings.deadline
        for name, module in list(sys.modules.items())
        if name.startswith("tests.unit.")
        for key, value in vars(module).items()
        if hasattr(value, "_hypothesis_internal_use_settings")
    }
    assert len(found) >= 3
    assert {name for name, deadline in found.items() if deadline is not None} == set()
