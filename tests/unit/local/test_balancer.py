"""One generator per product writes what runs on a laptop and what `deploy/` holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shoal.local.address import Address
from shoal.local.balancer import PRODUCTION, balancer_argv, balancer_conf, is_noise, name_upstreams

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
PRODUCTS = ("nginx", "haproxy")


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
    ("product", "pool", "websockets", "switch"),
    [
        ("nginx", "upstream shoal {", "upstream shoal_websockets {", "proxy_pass http://$pool;"),
        (
            "haproxy",
            "backend shoal\n",
            "backend websockets\n",
            "use_backend websockets if { hdr(Upgrade) -i websocket }",
        ),
    ],
)
def test_websockets_take_turns_of_their_own_over_all_servers(
    product: str, pool: str, websockets: str, switch: str
) -> None:
    conf = balancer_conf(product, PRODUCTION)
    before, _, after = conf.partition(websockets)
    assert switch in conf
    for upstream in ("ws1:1111", "ws2:2222", "ws3:3333", "ws4:4444"):
        assert before.partition(pool)[2].count(upstream) == 1
        assert after.count(upstream) == 1


@pytest.mark.parametrize("product", PRODUCTS)
def test_no_configuration_has_sticky_sessions(product: str) -> None:
    code = "\n".join(line.partition("#")[0] for line in balancer_conf(product, PRODUCTION).splitlines())
    for word in ("ip_hash", "sticky", "stick", "cookie", "balance source", "hash "):
        assert word not in code


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


def test_servers_are_named_by_host_where_hosts_differ_and_by_port_too_where_they_do_not() -> None:
    apart = name_upstreams([Address("a", 1), Address("b", 1)])
    alike = name_upstreams([Address("a", 1), Address("a", 2)])
    assert [u.name for u in apart] == ["a", "b"]
    assert [u.name for u in alike] == ["a:1", "a:2"]


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
