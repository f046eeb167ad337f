"""Older versions of the official JavaScript client: what they all can do works with each, from 3.0 on.

The newest one, which all other tests use, is among them, so that the script is right. package.json names the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.interop.test_javascript_client import APP, HEARTBEAT, SCRIPTS, run_script
from tests.requirements import ROOT, need, need_npm
from tests.servers import REFERENCE, serving, tracebacks

pytestmark = pytest.mark.skipif(bool(REFERENCE), reason="not applicable: the reference has its own word on old clients")

SCRIPT = SCRIPTS / "versions.test.cjs"
PACKAGES = [
    name for name in json.loads((ROOT / "package-lock.json").read_text())["packages"][""]["devDependencies"]
    if name.startswith("socket.io-client-")
] + ["socket.io-client"]  # fmt: skip


def names() -> list[str]:
    """The scenarios of the script, those with a transport in their name once for each."""
    found = re.findall(r"^ *scenario\([\"`]([^\"`]+)[\"`]", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    return [
        name.replace("${transport}", transport)
        for name in found
        for transport in (("polling", "websocket") if "${transport}" in name else ("",))
    ]


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, dict[str, Any]]]:
    """What each version's run of the script found, by the name of the package. They run side by side."""
    need("node")
    for package in PACKAGES:
        need_npm(package)
    with serving(APP, "fastlane", env=HEARTBEAT) as server:

        def run(package: str) -> dict[str, Any]:
            output = run_script(SCRIPT, {"SHOAL_TEST_URL": server.url, "SHOAL_TEST_CLIENT": package})
            lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
            return {line["name"]: line for line in lines} | {"": output}

        with ThreadPoolExecutor() as pool:
            yield dict(zip(PACKAGES, pool.map(run, PACKAGES), strict=True))
    assert not tracebacks(server.final_log), server.final_log


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("package", PACKAGES)
def test_a_client_of_this_version_can_do_it(results: dict[str, dict[str, Any]], package: str, name: str) -> None:
    found = results[package]
    assert name in found, f"the script did not come to this scenario:\n{found['']}"
    assert found[name]["ok"], found[name]["detail"]


def test_the_versions_are_those_that_the_pages_name() -> None:
    """And each package is of the version that its name says."""
    versions = []
    for package in PACKAGES:
        folder: Path = need_npm(package)
        version = json.loads((folder / "package.json").read_text())["version"]
        versions.append(".".join(version.split(".")[:2]))
        assert package in (f"socket.io-client-{versions[-1]}", "socket.io-client")
    words = f"{', '.join(versions[:-1])} and {versions[-1]}"
    for page in ("README.md", "docs/compatibility.md", "docs/how-to/clients.md"):
        assert words in (ROOT / page).read_text(encoding="utf-8"), f"{page} does not say {words}"
