"""One generator per product writes what runs on a laptop and what `deploy/` holds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import ConfigurationError
from shoal.local.address import Address
from shoal.local.balancer import PRODUCTION, balancer_argv, balancer_conf, is_noise
from shoal.local.upstreams import Upstream, name_upstreams, parse_upstreams

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
PRODUCTS = ("nginx", "haproxy")


def code(product: str, **options: Any) -> str:
    """A configuration without its comments."""
    return re.sub(r" *#.*", "", balancer_conf(product, replace(PRODUCTION, **options)))


@pytest.mark.parametrize(("product", "file"), [("nginx", "nginx.conf"), ("haproxy", "haproxy.cfg")])
def test_the_deployed_configuration_is_what_the_command_prints(
    product: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from shoal.cli import main

    with pytest.raises(SystemExit) as caught:
        main(["balancer", product])
    assert caught.value.code == 0
    assert (DEPLOY / file).read_text() == capsys.readouterr().out, f"run: shoal balancer {product} > deploy/{file}"


@pytest.mark.parametrize(
    ("product", "pool", "sessions"),
    [
        ("nginx", "upstream shoal {", "upstream shoal_sessions {"),
        ("haproxy", "backend shoal\n", "backend sessions\n"),
    ],
)
def test_sessions_are_dealt_out_apart_from_other_requests_over_all_servers(
    product: str, pool: str, sessions: str
) -> None:
    before, _, after = code(product).partition(sessions)
    for upstream in ("ws1:1111", "ws2:2222", "ws3:3333", "ws4:4444"):
        assert before.partition(pool)[2].count(upstream) == 1
        assert after.partition("}" if product == "nginx" else "\0")[0].count(upstream) == 1


@pytest.mark.parametrize(
    ("product", "least", "by_turns"),
    [("nginx", "least_conn;", "max_fails=0;"), ("haproxy", "balance leastconn", "balance roundrobin")],
)
def test_one_word_says_how_new_sessions_are_dealt_out(product: str, least: str, by_turns: str) -> None:
    """By least connections, where nothing is said; everything else is the same."""
    default, other = code(product), code(product, algorithm="roundrobin")
    assert least in default
    assert least not in other
    assert by_turns in other
    assert len(set(default.splitlines()) ^ set(other.splitlines())) == 1


def test_haproxy_sends_a_sessions_requests_to_the_server_that_its_id_names() -> None:
    sessions = code("haproxy").partition("backend sessions\n")[2]
    assert "use-server %[urlp(sid),field(1,.)] if { urlp(sid) -m found }" in sessions
    assert "option persist" in sessions


def test_nginx_sends_a_sessions_requests_to_the_server_that_its_id_names_and_to_others_when_it_is_gone() -> None:
    conf = code("nginx")
    assert "map $arg_sid $pool {" in conf
    for number in range(1, 5):
        name = str(1111 * number)
        assert rf"~^{name}\. node_{name};" in conf
        group = conf.partition(f"upstream node_{name} {{")[2].partition("}")[0]
        assert f"server ws{number}:{name} max_fails=0;" in group
        assert group.count(" backup;") == 3
        assert f"server ws{number}:{name} backup;" not in group


def test_nginx_has_no_route_for_a_name_that_no_session_id_begins_with() -> None:
    conf = code("nginx", servers=parse_upstreams("10.0.0.1:8000,10.0.0.2:8000,ok=10.0.0.3:8000"))
    assert conf.count("upstream node_") == 1
    assert r"~^ok\. node_ok;" in conf


@pytest.mark.parametrize("product", PRODUCTS)
def test_no_configuration_needs_cookies_or_looks_at_addresses(product: str) -> None:
    for word in ("ip_hash", "sticky", "stick", "cookie", "balance source", "hash "):
        assert word not in code(product)


def test_nginx_keeps_a_silent_websocket_for_an_hour_and_buffers_nothing() -> None:
    conf = balancer_conf("nginx", PRODUCTION)
    for directive in (
        "proxy_read_timeout 3600s;",
        "proxy_send_timeout 3600s;",
        "proxy_buffering off;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
    ):
        assert directive in conf


def test_haproxy_keeps_a_silent_websocket_for_an_hour_and_asks_whether_servers_are_ready() -> None:
    conf = balancer_conf("haproxy", PRODUCTION)
    for directive in (
        "timeout tunnel 1h",
        "balance roundrobin",
        "option httpchk GET /readyz",
        "option forwardfor",
        "X-Forwarded-Proto",
    ):
        assert directive in conf


def test_haproxy_resolves_names_while_it_runs_and_needs_no_resolver_for_addresses() -> None:
    local = replace(PRODUCTION, servers=name_upstreams([Address("127.0.0.1", 1111)]))
    assert "resolvers system" in balancer_conf("haproxy", PRODUCTION)
    assert "resolvers" not in balancer_conf("haproxy", local)


def test_nginx_writes_into_the_given_directory_only() -> None:
    conf = balancer_conf("nginx", replace(PRODUCTION, directory="/private"))
    assert "/tmp" not in conf
    assert conf.count("/private/") == 6


def test_a_directory_with_spaces_is_quoted() -> None:
    assert 'pid "/my dir/nginx.pid";' in balancer_conf("nginx", replace(PRODUCTION, directory="/my dir"))


def test_servers_are_named_by_port_where_ports_differ_else_by_host_else_by_both() -> None:
    """As `shoal serve` names itself, as far as that tells them apart."""
    ports = name_upstreams([Address("a", 1), Address("b", 2)])
    hosts = name_upstreams([Address("a", 1), Address("b", 1)])
    both = name_upstreams([Address("a", 1), Address("a", 2), Address("b", 1)])
    assert [u.name for u in ports] == ["1", "2"]
    assert [u.name for u in hosts] == ["a", "b"]
    assert [u.name for u in both] == ["a:1", "a:2", "b:1"]
    assert [u.routable for u in both] == [False] * 3


def test_a_server_may_be_given_the_name_of_its_node() -> None:
    found = parse_upstreams("one=a:1, b:2 ,three=[::1]:3")
    assert found == (
        Upstream("one", Address("a", 1)),
        Upstream("2", Address("b", 2)),
        Upstream("three", Address("::1", 3)),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.b=ws:1", "cannot stand in a session's id"),
        ("=ws:1", "cannot stand in a session's id"),
        ("one=two=ws:1", "cannot stand in a session's id"),
        ("x=a:1,x=b:2", "two servers are called 'x'"),
        ("2=a:1,b:2", "two servers are called '2'"),
        ("a:1,a:1", "two servers are called 'a:1'"),
        ("one=ws", "is no address"),
    ],
)
def test_names_that_mean_nothing_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse_upstreams(text)


def test_both_run_in_the_foreground() -> None:
    assert "daemon off;" in balancer_argv("nginx", "/usr/sbin/nginx", "/private/nginx.conf", "/private")
    assert "-db" in balancer_argv("haproxy", "/usr/sbin/haproxy", "/private/haproxy.conf", "/private")


def test_a_server_that_goes_down_is_no_noise() -> None:
    assert not is_noise("haproxy", "Server shoal/1111 is DOWN, reason: Layer4 connection problem")
    assert not is_noise("nginx", "2026/01/01 00:00:00 [error] 1#1: *1 connect() failed (111: Connection refused)")
    assert not is_noise("nginx", "nginx: [emerg] bind() to 127.0.0.1:8080 failed (98: Address already in use)")


def test_what_an_unprivileged_balancer_says_every_time_is_noise() -> None:
    assert is_noise("nginx", 'nginx: [alert] could not open error log file: open() "/var/log/nginx/error.log" failed')
    assert is_noise("haproxy", "Proxy shoal started.")
