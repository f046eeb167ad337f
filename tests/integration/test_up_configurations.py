"""The products themselves accept the configurations that are generated for them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.requirements import need

from shoal.local.address import Address
from shoal.local.balancer import PRODUCTION, balancer_conf
from shoal.local.upstreams import ALGORITHMS, Algorithm, name_upstreams, parse_upstreams

NUMBERED = name_upstreams(Address("127.0.0.1", port) for port in (1111, 2222))
IPV6 = name_upstreams(Address("::1", port) for port in (1111, 2222))
NAMED = parse_upstreams("a-b_c=127.0.0.1:1,127.0.0.2:1,127.0.0.3:1")


def complaint(command: list[str]) -> str:
    """What the product says about a configuration that it does not take; empty if it does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("servers", [NUMBERED, IPV6, NAMED], ids=["ipv4", "ipv6", "named"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("folder", ["plain", "with space"])
def test_nginx_accepts_its_configuration(tmp_path: Path, servers: tuple, algorithm: Algorithm, folder: str) -> None:
    program = need("nginx")
    directory = tmp_path / folder
    directory.mkdir()
    conf = tmp_path / "nginx.conf"
    setup = replace(PRODUCTION, servers=servers, algorithm=algorithm, directory=str(directory))
    conf.write_text(balancer_conf("nginx", setup))
    assert complaint([str(program), "-t", "-p", str(directory), "-c", str(conf)]) == ""
    assert not [path for path in os.listdir(tmp_path) if path not in ("nginx.conf", folder)]


@pytest.mark.parametrize(
    "servers", [NUMBERED, IPV6, NAMED, PRODUCTION.servers], ids=["ipv4", "ipv6", "named", "resolved"]
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_haproxy_accepts_its_configuration(tmp_path: Path, servers: tuple, algorithm: Algorithm) -> None:
    program = need("haproxy")
    conf = tmp_path / "haproxy.cfg"
    conf.write_text(balancer_conf("haproxy", replace(PRODUCTION, servers=servers, algorithm=algorithm, workers=2)))
    assert complaint([str(program), "-c", "-q", "-f", str(conf)]) == ""


def test_haproxy_has_nothing_to_warn_of(tmp_path: Path) -> None:
    """Not even of the order of its lines; it would of names that nobody resolves."""
    conf = tmp_path / "haproxy.cfg"
    conf.write_text(balancer_conf("haproxy", replace(PRODUCTION, servers=NUMBERED)))
    command = [str(need("haproxy")), "-c", "-f", str(conf)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "WARNING" in line] == []
