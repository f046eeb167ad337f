"""The helper modules' assertions read as the tests' own."""

import pytest

pytest.register_assert_rewrite("tests.interop.wire", "tests.interop.contracts")
