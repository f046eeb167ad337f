"""Who may kill servers of `shoal up`, and what it says of that."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from shoal.errors import ConfigurationError
from shoal.local.cluster import banner, keys_line
from shoal.local.keys import reading_keys
from shoal.local.plan import DEMO, Machine, Options, make_plan

MACHINE = Machine(directory="/private", free_port=40123, programs={"broker": "/usr/bin/redis-server"})


def killers(**options: Any) -> str:
    return make_plan(Options(**{"app": DEMO, **options}), MACHINE).killers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_the_page_may_kill_where_only_this_machine_can_open_it(host: str) -> None:
    assert killers(host=host) == "local"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_it_may_not_where_others_can_open_it_unless_it_is_said(host: str) -> None:
    assert killers(host=host) == ""
    assert killers(host=host, kill_button=True) == "all"


def test_it_may_not_where_that_is_said_or_the_application_is_another() -> None:
    assert killers(kill_button=False) == ""
    assert killers(app="shop:io") == ""
    with pytest.raises(ConfigurationError, match="--kill-button"):
        killers(app="shop:io", kill_button=True)


def test_the_banner_tells_of_the_keys_where_there_are_some() -> None:
    plan = make_plan(Options(), MACHINE)
    assert keys_line(["1111", "2222"]) == "keys 1 for 1111, 2 for 2222"
    assert "keys 1 for 1111" in "\n".join(banner(plan, "http://x/", 1.0, keys=True))
    assert "keys" not in "\n".join(banner(plan, "http://x/", 1.0))


def test_a_stream_that_is_no_terminal_gives_no_keys() -> None:
    async def read() -> list[bool]:
        with open("/dev/null") as null, reading_keys(null, sys.exit) as one, reading_keys(None, sys.exit) as two:
            return [one, two]

    assert asyncio.run(read()) == [False, False]
