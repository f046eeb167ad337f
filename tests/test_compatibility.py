"""docs/compatibility.md keeps its word: a row for each part of Node's API, and links to tests that there are.

Reads the page and the tests' sources; it runs none of them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.interop import test_javascript_client, test_surface
from tests.interop.test_javascript_client import scenarios

PAGE = Path(__file__).parent.parent / "docs" / "compatibility.md"
LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")
PROOF = re.compile(LINK.pattern + r" \*([^*]+)\*")

# The documentation of Node's server and of its engine, by their names there.
NODE = """
    path serveClient adapter parser connectTimeout connectionStateRecovery cleanupEmptyChildNamespaces pingInterval
    pingTimeout upgradeTimeout maxHttpBufferSize allowRequest transports allowUpgrades perMessageDeflate httpCompression
    wsEngine cors cookie allowEIO3 addTrailingSlash destroyUpgrade destroyUpgradeTimeout

    attach listen attachApp bind onconnection close disconnectSockets emit except fetchSockets in of on send
    serverSideEmit serverSideEmitWithAck socketsJoin socketsLeave timeout to use local volatile compress sockets
    allSockets new_namespace connection RemoteSocket create-room delete-room join-room leave-room

    engine.use engine.clientsCount engine.generateId connection_error initial_headers headers

    id rooms data handshake client request conn connected recovered nsp once off removeAllListeners onAny offAny
    prependAny listenersAny onAnyOutgoing offAnyOutgoing prependAnyOutgoing listenersAnyOutgoing emitWithAck broadcast
    join leave disconnect disconnecting error packet packetCreate drain heartbeat
"""


def rows() -> list[list[str]]:
    """The cells of each row of the page's tables."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] != "Node"]


ROWS = rows()
PROOFS = sorted({proof for row in ROWS for proof in PROOF.findall(row[-1])})


def test_every_row_has_a_proof_or_a_reason() -> None:
    """Three cells; without a proof the second one says why the thing is absent."""
    for row in ROWS:
        assert len(row) == 3, row
        if row[1].startswith("absent: "):
            assert row[2] == "-", row
        else:
            assert PROOF.search(row[2]), row
            assert not PROOF.sub("", row[2]).replace("<br>", "").strip(), f"a link without the name of a test: {row}"


@pytest.mark.parametrize(("link", "name"), PROOFS)
def test_a_proof_is_a_test_with_the_javascript_client(link: str, name: str) -> None:
    """The file is there, has a scenario or a test of that name, and a Python test runs it."""
    path = (PAGE.parent / link).resolve()
    assert path.is_file(), f"{link} is not there"
    if path.name.endswith(".test.cjs"):
        script = path.name.removesuffix(".test.cjs")
        assert name in scenarios(script, "fastlane"), f"{path.name} has no scenario {name!r}"
        runs_it = f'"{script}"' in Path(test_surface.__file__).read_text(encoding="utf-8")
        assert runs_it or script in test_javascript_client.RUNS, f"no Python test runs {path.name}"
    else:
        assert name in functions(path), f"{path.name} has no test {name!r}"


def functions(path: Path) -> set[str]:
    """The tests of a Python file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test")}


def test_every_other_link_leads_somewhere() -> None:
    for link in LINK.findall(PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists(), link


@pytest.mark.parametrize("name", NODE.split())
def test_every_name_of_nodes_has_its_row(name: str) -> None:
    """In the column of Node's names, as a word of code."""
    code = " ".join(span for row in ROWS for span in re.findall(r"`([^`]+)`", row[0]))
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code), f"no row of the page names {name}"


def test_every_scenario_of_the_surface_is_a_proof() -> None:
    """What was written for this page is linked by it, or is about the wire alone."""
    linked = {name for _, name in PROOFS}
    for script in (
        "surface",
        "surface-options",
        "surface-middleware",
        "surface-engine",
        "surface-cluster",
        "surface-recovery",
    ):
        assert not set(scenarios(script, "fastlane")) - linked
