"""The products themselves accept the configurations that are generated for them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.requirements import need

from shoal.local.address import Address
from shoal.local.balancer import PRODUCTION, balancer_conf, name_upstreams

NUMBERED = name_upstreams(Address("127.0.0.1", port) for port in (1111, 2222))
IPV6 = name_upstreams(Address("::1", port) for port in (1111, 2222))


def complaint(command: list[str]) -> str:
    """What the product says about a configuration that it does not take; empty if it does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("servers", [NUMBERED, IPV6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("folder", ["plain", "with space"])
def test_nginx_accepts_its_configuration(tmp_path: Path, servers: tuple, folder: str) -> None:
    program = need("nginx")
    directory = tmp_path / folder
    directory.mkdir()
    conf = tmp_path / "nginx.conf"
    conf.write_text(balancer_conf("nginx", replace(PRODUCTION, servers=servers, directory=str(directory))))
    assert complaint([str(program), "-t", "-p", str(directory), "-c", str(conf)]) == ""
    assert not [path for path in os.listdir(tmp_path) if path not in ("nginx.conf", folder)]


@pytest.mark.parametrize("servers", [NUMBERED, IPV6, PRODUCTION.servers], ids=["ipv4", "ipv6", "names"])
def test_haproxy_accepts_its_configuration(tmp_path: Path, servers: tuple) -> None:
    program = need("haproxy")
    conf = tmp_path / "haproxy.cfg"
    conf.write_text(balancer_conf("haproxy", replace(PRODUCTION, servers=servers, workers=2)))
    assert complaint([str(program), "-c", "-q", "-f", str(conf)]) == ""
