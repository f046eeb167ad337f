"""Who may have a server killed: the page itself, opened at this machine, and nobody else's script."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from shoal.demo.controls import ENVIRONMENT, Controls, Refused
from shoal.local import kill_port

SECRET = "a-secret-of-some-length"
LOCAL = Controls("local", 1, SECRET)
ALL = Controls("all", 1, SECRET)
PAGE = {
    "host": "127.0.0.1:8080",
    "origin": "http://127.0.0.1:8080",
    "x-shoal-page": "1",
    "x-forwarded-for": "127.0.0.1",
}


def request(client: str = "127.0.0.1", **headers: str | None) -> dict[str, Any]:
    """A request of the page, with some headers otherwise; None leaves one out, a bar sends it twice."""
    wanted = PAGE | {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = [(name, value) for name, values in wanted.items() if values is not None for value in values.split("|")]
    return {"client": (client, 5), "headers": [(name.encode(), value.encode()) for name, value in pairs]}


def may(controls: Controls, scope: dict[str, Any]) -> bool:
    """Whether a request to kill is carried on to whoever started the servers."""
    with contextlib.suppress(Refused):
        controls.check(scope)
        return True
    return False


@pytest.mark.parametrize(
    "scope",
    [
        request(),
        request(host="localhost:8080", origin="http://localhost:8080"),
        request(host="[::1]:8080", origin="http://[::1]:8080", client="::1", x_forwarded_for="::1"),
        request(host="127.0.0.1", origin="https://127.0.0.1"),
        request(x_forwarded_for=None),
        request(sec_fetch_site="same-origin"),
    ],
)
def test_the_page_at_this_machine_may(scope: dict[str, Any]) -> None:
    assert LOCAL.allow(scope)
    assert may(LOCAL, scope)
    assert may(ALL, scope)


@pytest.mark.parametrize(
    "scope",
    [
        request(origin="http://evil.example"),
        request(origin="http://127.0.0.1:9090"),
        request(origin="http://127.0.0.1:8080.evil.example"),
        request(origin="null"),
        request(origin="file://127.0.0.1:8080"),
        request(origin=None),
        request(origin="http://127.0.0.1:8080|http://evil.example"),
        request(x_shoal_page=None),
        request(sec_fetch_site="cross-site"),
        request(sec_fetch_site="same-site"),
        request(host=None),
        request(host="127.0.0.1:8080|evil.example"),
    ],
)
def test_another_sites_script_may_not(scope: dict[str, Any]) -> None:
    assert not may(LOCAL, scope)
    assert not may(ALL, scope)


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "@"]
)
def test_a_name_that_points_to_this_machine_may_not(host: str) -> None:
    """A site may let its own name resolve to 127.0.0.1: then its script has the page's origin."""
    scope = request(host=host, origin=f"http://{host}")
    assert not LOCAL.allow(scope)
    assert not ALL.allow(scope)
    assert not may(ALL, scope)


@pytest.mark.parametrize(
    "scope",
    [
        request(client="192.0.2.7"),
        request(client=""),
        request(x_forwarded_for="192.0.2.7"),
        request(x_forwarded_for="192.0.2.7, 127.0.0.1"),
        request(x_forwarded_for="127.0.0.1, 192.0.2.7"),
        request(x_forwarded_for="127.0.0.1|192.0.2.7"),
        request(x_forwarded_for="nobody"),
        request(forwarded="for=127.0.0.1"),
        request(x_real_ip="127.0.0.1"),
        request(host="192.0.2.1:8080", origin="http://192.0.2.1:8080"),
    ],
)
def test_who_is_elsewhere_may_only_where_all_may(scope: dict[str, Any]) -> None:
    assert not LOCAL.allow(scope)
    assert not may(LOCAL, scope)
    assert may(ALL, scope)


@pytest.mark.parametrize(
    "value", ["", "local", "local:1", f"none:1:{SECRET}", f"local:x:{SECRET}", "local:1:short", f"local:1:{SECRET}\n"]
)
def test_nobody_may_without_a_setting_that_is_understood(value: str) -> None:
    controls = Controls.load({ENVIRONMENT: value})
    assert not controls.allow(request())
    assert not may(controls, request())


def test_the_setting_is_the_one_that_the_supervisor_gives() -> None:
    assert ENVIRONMENT == kill_port.ENVIRONMENT
    assert Controls.load({ENVIRONMENT: f"local:40123:{SECRET}"}) == Controls("local", 40123, SECRET)
    assert Controls.load({}) == Controls()
