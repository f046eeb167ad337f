"""Rigs for the bus contract: `rig` on a broker that the tests share, `fragile_rig` on one that a test may break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.contract.buses")

from tests.brokers import NO_BROKER, Broker  # noqa: E402 - after the line that it depends on
from tests.contract.buses import KINDS, MemoryRig, RedisRig, Rig  # noqa: E402
from tests.requirements import missing  # noqa: E402

from shoal.local.broker import find_broker  # noqa: E402


@pytest.fixture(scope="session")
def shared_broker() -> Iterator[Broker | None]:
    """A broker that no test may stop; `None` where no broker is installed, since the memory bus needs none."""
    if find_broker() is None:
        yield None
        return
    with Broker() as broker:
        yield broker


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest, shared_broker: Broker | None) -> Rig:
    """Every bus, on a broker that stays."""
    if request.param == "memory":
        return MemoryRig()
    return _redis(request.param, shared_broker or missing(NO_BROKER))


@pytest.fixture(params=KINDS)
def fragile_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Every bus, on a broker of the test's own."""
    if request.param == "memory":
        yield MemoryRig()
        return
    with Broker() as broker:
        yield _redis(request.param, broker)


def _redis(kind: str, broker: Broker) -> RedisRig:
    name, _, loop = kind.partition("-")
    return RedisRig(broker, loop, streams=name == "streams")
