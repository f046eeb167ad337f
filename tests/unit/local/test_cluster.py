"""When everything is up, the log says what runs and where to look."""

from __future__ import annotations

from typing import Any

from shoal.local.cluster import banner
from shoal.local.plan import DEMO, Machine, Options, make_plan

MACHINE = Machine(
    directory="/private",
    free_port=40123,
    programs={"broker": "/usr/bin/redis-server", "nginx": "/usr/sbin/nginx"},
)


def words(*, platform: str = "linux", **options: Any) -> str:
    plan = make_plan(Options(**options), MACHINE)
    return "\n".join(banner(plan, "http://127.0.0.1:8080/", 1.5, platform=platform))


def test_the_demo_says_what_to_open_and_what_to_type() -> None:
    text = words(app=DEMO)
    assert "http://127.0.0.1:8080/" in text
    assert """ws.emit('chat', "Hello! I'm client")""" in text
    assert "1111, 2222, 3333, 4444" in text
    assert "redis://127.0.0.1:40123 (redis-server)" in text
    assert "nginx, round robin, on port 8080" in text
    assert "nginx, least connections, on port 8080" in words(app=DEMO, algorithm="leastconn")


def test_an_application_of_ones_own_is_told_nothing_about_the_chat() -> None:
    text = words(app="shop:io")
    assert "http://127.0.0.1:8080/" in text
    assert "chat" not in text


def test_a_password_is_not_shown() -> None:
    text = words(broker="redis://:hush@cache:6379")
    assert "hush" not in text
    assert "(yours)" in text


def test_a_system_whose_kernel_does_not_balance_says_so() -> None:
    assert "only Linux" in words(balancer="kernel", platform="darwin")
    assert "only Linux" not in words(balancer="kernel", platform="linux")
    assert "only Linux" not in words(balancer="nginx", platform="darwin")
