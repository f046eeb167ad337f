"""The configurations below deploy/ are taken by the programs that they are for, or at least are what they say.

nginx.conf and haproxy.cfg are the business of tests/interop and tests/integration, which run them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.docs.snippets import ROOT
from tests.requirements import need

from shoal.cli import main
from shoal.settings import ServerSettings

DEPLOY = ROOT / "deploy"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With paths that there are; systemd-analyze looks for the program and the folders."""
    text = (DEPLOY / "systemd" / "shoal@.service").read_text(encoding="utf-8")
    program = shutil.which("true")
    text = re.sub(r"ExecStart=\S+", f"ExecStart={program}", text).replace("/srv/chat", str(tmp_path))
    text = text.replace("User=shoal", "User=daemon")
    unit = tmp_path / "shoal@8001.service"
    unit.write_text(text, encoding="utf-8")
    argv = [need("systemd-analyze"), "verify", "--man=no", str(unit)]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    complaints = [line for line in result.stderr.splitlines() if "shoal@" in line]
    assert complaints == []


def test_nginx_of_the_page_on_systemd_writes_its_pid_where_its_unit_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """Else `systemctl start nginx` waits for the file, and fails."""
    page = (ROOT / "docs" / "deployment" / "systemd.md").read_text(encoding="utf-8")
    command = re.search(r"^shoal (balancer nginx .*) > /etc/nginx/nginx\.conf$", page, re.MULTILINE)
    assert command
    with pytest.raises(SystemExit):
        main(shlex.split(command[1]))
    assert "\npid /run/nginx.pid;\n" in capsys.readouterr().out


def test_kubernetes_objects_fit_together() -> None:
    """Service, ingress and budget name what the deployment has; every option is one."""
    objects = {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes" / "chat.yaml").read_text())}
    pod = objects["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    (path,) = objects["Ingress"]["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == objects["Service"]["metadata"]["name"]
    variables = [each["name"] for each in pod["spec"]["containers"][0]["env"]]
    ServerSettings.load({}, {each["name"]: str(each.get("value", "x")) for each in pod["spec"]["containers"][0]["env"]})
    assert all(hasattr(ServerSettings(), name.removeprefix("SHOAL_").lower()) for name in variables)


def test_traefik_routes_sessions_to_services_that_there_are() -> None:
    http = yaml.safe_load((DEPLOY / "traefik" / "chat.yaml").read_text())["http"]
    assert {router["service"] for router in http["routers"].values()} == set(http["services"])
    for name in ("one", "two"):
        pattern = re.search(r"QueryRegexp\(`sid`, `([^`]+)`\)", http["routers"][name]["rule"])
        assert pattern
        assert re.match(pattern[1], f"{name}.abc")
