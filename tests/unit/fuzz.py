"""How many examples a property test tries: a moderate number, times SHOAL_FUZZ; and the values that many tests need.

No property test has a deadline, since a busy machine is no bug. Hypothesis takes what a decorator does not say from the
profile of that moment, and other folders import these tests too; so it is chosen here, and not in a conftest.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FACTOR = float(os.environ.get("SHOAL_FUZZ", "1"))


def examples(count: int) -> int:
    """`count`, multiplied by the environment's SHOAL_FUZZ."""
    return max(5, round(count * FACTOR))


settings.register_profile(
    "shoal", max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shoal")


def json_values(*, binary: bool = False, max_leaves: int = 12) -> st.SearchStrategy[Any]:
    """Anything that JSON can hold and a JavaScript peer reads back unchanged; with bytes inside, if asked for."""
    leaves: st.SearchStrategy[Any] = (
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20)
    )
    if binary:
        leaves |= st.binary(max_size=40)
    keys = st.text(max_size=8).filter(lambda key: key != "_placeholder")
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=max_leaves,
    )


RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

namespaces = st.just("/") | st.from_regex(r"/[a-zA-Z0-9_\-é日/]{1,12}", fullmatch=True)
ack_ids = st.none() | st.integers(0, 2**53 - 1)
event_names = st.text(max_size=12).filter(lambda name: name not in RESERVED)
