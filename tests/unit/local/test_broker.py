"""The embedded broker: its configuration, its URL, and which of its lines are worth showing."""

from __future__ import annotations

import pytest

from shoal.errors import ConfigurationError
from shoal.local.address import Address
from shoal.local.broker import broker_address, broker_conf, hide_password, is_noise


def test_the_broker_is_reached_over_loopback_only_and_writes_nothing() -> None:
    lines = broker_conf(Address("127.0.0.1", 40123), "/private").splitlines()
    assert {"bind 127.0.0.1", "port 40123", 'save ""', "appendonly no", 'dir "/private"'} <= set(lines)
    assert not any(line.startswith("requirepass") for line in lines)
    assert "requirepass hush" in broker_conf(Address("127.0.0.1", 40123), "/private", "hush").splitlines()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://10.0.0.5:7000/1", Address("10.0.0.5", 7000)),
        ("redis://cache", Address("cache", 6379)),
        ("rediss://u:p@cache", Address("cache", 6379)),
        ("redis+streams://cache", Address("cache", 6379)),
        ("redis://[::1]:7000", Address("::1", 7000)),
        ("memory://", None),
    ],
)
def test_a_url_says_where_the_broker_is(url: str, expected: Address | None) -> None:
    assert broker_address(url) == expected


@pytest.mark.parametrize("url", ["", "cache:6379", "redis://cache:port", "redis:cache"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        broker_address(url)


def test_a_password_is_never_shown() -> None:
    assert hide_password("redis://:hush@cache:6379/1") == "redis://:***@cache:6379/1"
    assert hide_password("redis://me:hush@[::1]:6379") == "redis://me:***@[::1]:6379"
    assert hide_password("redis://cache:6379") == "redis://cache:6379"


@pytest.mark.parametrize(
    "line",
    [
        "7:M 24 Nov 2026 14:51:42.450 * Ready to accept connections",
        "7:C 24 Nov 2026 14:51:42.450 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo",
        "7:M 24 Nov 2026 14:51:42.451 # WARNING Memory overcommit must be enabled! Without it, ...",
        "7:signal-handler (1795531903) Received SIGTERM scheduling shutdown...",
        "",
    ],
)
def test_routine_is_noise(line: str) -> None:
    assert is_noise(line)


@pytest.mark.parametrize(
    "line",
    [
        "7:M 24 Nov 2026 14:51:43.470 # Failed listening on port 22 (TCP), aborting.",
        "7:M 24 Nov 2026 14:51:43.470 # Warning: Could not create server TCP listening socket 127.0.0.1:22",
        "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***",
    ],
)
def test_trouble_is_shown(line: str) -> None:
    assert not is_noise(line)
