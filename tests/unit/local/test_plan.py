"""The plan says everything that will run, and refuses whatever is wrong before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.errors import ConfigurationError
from shoal.local.address import Address
from shoal.local.plan import Machine, Options, Plan, Process, default_ports, make_plan

ALL = {"broker": "/usr/bin/redis-server", "nginx": "/usr/sbin/nginx", "haproxy": "/usr/sbin/haproxy"}


def plan(programs: dict[str, str] = ALL, user: str | None = None, **options: Any) -> Plan:
    machine = Machine(directory="/private", free_port=40123, programs=programs, python="/bin/python", user=user)
    return make_plan(Options(**options), machine)


def refusal(programs: dict[str, str] = ALL, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        plan(programs, **options)
    return str(caught.value)


def argument(process: Process, name: str) -> str:
    return process.argv[process.argv.index(name) + 1]


def without(*names: str) -> dict[str, str]:
    return {name: path for name, path in ALL.items() if name not in names}


def test_by_default_four_servers_a_broker_and_haproxy_run() -> None:
    made = plan()
    assert [p.name for p in made.processes] == ["broker", "1111", "2222", "3333", "4444", "haproxy"]
    assert made.public == Address("127.0.0.1", 8080)
    assert made.broker_url == "redis://127.0.0.1:40123"


def test_a_server_knows_its_name_and_its_broker_before_it_imports_the_application() -> None:
    server = plan(app="shop:io").servers[1]
    assert server.argv[:6] == ("/bin/python", "-P", "-m", "shoal", "serve", "shop:io")
    assert argument(server, "--port") == argument(server, "--node") == "2222"
    environment = dict(server.environment)
    assert environment["SHOAL_NODE"] == "2222"
    assert environment["SHOAL_BROKER"] == "redis://127.0.0.1:40123"


def test_the_password_of_a_broker_is_on_no_command_line() -> None:
    made = plan(broker="redis://:hush@10.0.0.5:6379")
    assert not [word for p in made.processes for word in p.argv if "hush" in word]
    assert dict(made.servers[0].environment)["SHOAL_BROKER"] == "redis://:hush@10.0.0.5:6379"


def test_a_broker_that_runs_already_is_not_started() -> None:
    made = plan(broker="redis://127.0.0.1:6379")
    assert made.broker is None
    assert "broker" not in [p.name for p in made.processes]


@pytest.mark.parametrize(
    ("programs", "expected"),
    [(ALL, "haproxy"), (without("haproxy"), "nginx"), (without("haproxy", "nginx"), "kernel")],
)
def test_the_best_balancer_that_is_installed_is_taken(programs: dict[str, str], expected: str) -> None:
    assert plan(programs).balanced_by == expected


def test_with_the_kernel_every_server_listens_on_the_shared_port() -> None:
    made = plan(balancer="kernel", port=9000)
    assert made.balancer is None
    assert [argument(s, "--shared-port") for s in made.servers] == ["9000"] * 4
    assert ("kernel", Address("127.0.0.1", 9000)) in made.listening


def test_with_a_balancer_no_port_is_shared() -> None:
    assert "--shared-port" not in plan(balancer="nginx").servers[0].argv


def test_new_sessions_take_turns_unless_told_otherwise() -> None:
    assert "least_conn;" not in dict(plan(balancer="nginx").files)["/private/nginx.conf"]
    assert "least_conn;" in dict(plan(balancer="nginx", algorithm="leastconn").files)["/private/nginx.conf"]


def test_every_file_lies_in_the_private_directory_and_every_configuration_is_among_them() -> None:
    made = plan(balancer="nginx")
    paths = [path for path, _ in made.files]
    assert paths == ["/private/broker.conf", "/private/nginx.conf"]
    assert all(word in paths for p in made.processes for word in p.argv if word.endswith(".conf"))


def test_the_local_balancer_reaches_servers_that_listen_everywhere_over_loopback() -> None:
    made = plan(balancer="haproxy", host="0.0.0.0")
    conf = dict(made.files)["/private/haproxy.conf"]
    assert "server 1111 127.0.0.1:1111" in conf
    assert "bind 0.0.0.0:8080" in conf


def test_ipv6_addresses_get_their_brackets() -> None:
    made = plan(balancer="nginx", host="::1")
    conf = dict(made.files)["/private/nginx.conf"]
    assert "server [::1]:1111 " in conf
    assert "listen [::1]:8080 " in conf


def test_nginx_is_told_a_user_only_where_root_starts_it() -> None:
    assert "user root root;" in dict(plan(user="root root", balancer="nginx").files)["/private/nginx.conf"]
    assert "user " not in dict(plan(balancer="nginx").files)["/private/nginx.conf"]


def test_ports_name_the_servers_and_say_how_many_there_are() -> None:
    assert [s.name for s in plan(ports=(5001, 5002)).servers] == ["5001", "5002"]


def test_default_ports_repeat_a_digit() -> None:
    assert default_ports(3) == (1111, 2222, 3333)
    assert default_ports(58)[-1] <= 65535


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"servers": 0}, "--servers 0"),
        ({"servers": 59}, "--ports"),
        ({"servers": 3, "ports": (1, 2)}, "contradicts"),
        ({"ports": (5000, 5000)}, "port 5000 is asked for twice"),
        ({"port": 2222}, "port 2222 is asked for twice"),
        ({"broker_port": 1111}, "port 1111 is asked for twice"),
        ({"ports": (70000,)}, "70000 is no port"),
        ({"port": 0}, "0 is no port"),
        ({"host": "a b"}, "'a b' is no host"),
        ({"host": "a;b"}, "'a;b' is no host"),
        ({"balancer": "apache"}, "haproxy, nginx, kernel"),
        ({"balancer": "kernel", "algorithm": "leastconn"}, "--algorithm leastconn needs haproxy or nginx"),
        ({"algorithm": "random"}, "use one of leastconn, roundrobin"),
        ({"broker": "localhost:6379"}, "redis://host:port"),
        ({"broker": "redis://localhost:port"}, "broker 'redis://localhost:port'"),
        ({"broker": "memory://"}, "--servers 1"),
    ],
)
def test_a_wrong_option_is_refused_in_words(options: dict[str, Any], words: str) -> None:
    assert words in refusal(**options)


def test_one_server_may_use_the_memory_broker() -> None:
    assert plan(broker="memory://", servers=1).broker is None


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_balancer_that_is_not_installed_is_refused_with_a_way_out(name: str) -> None:
    assert refusal(without(name), balancer=name) == (
        f"{name} is not installed: install it, or use --balancer kernel, which needs nothing"
    )


def test_without_any_broker_program_the_ways_out_are_named() -> None:
    text = refusal(without("broker"))
    assert "valkey-server" in text
    assert "--broker" in text


def test_the_mode_of_the_broker_is_in_its_url() -> None:
    """Servers are told by the scheme whether messages are kept."""
    for mode, scheme in ((None, "redis"), ("pubsub", "redis"), ("streams", "redis+streams")):
        found = plan(broker_mode=mode)
        assert found.broker_url.partition("://")[0] == scheme
        assert ("SHOAL_BROKER", found.broker_url) in found.servers[0].environment
    for options in ({"broker_mode": "x"}, {"broker_mode": "streams", "broker": "redis://127.0.0.1:1"}):
        with pytest.raises(ConfigurationError, match="--broker-mode"):
            plan(**options)
