"""docs/bounds.md keeps its word: options, defaults and counters that there are, and tests with a second client.

Reads the page and the tests' sources; it runs none of them.
"""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from shoal import Server
from shoal.settings import ServerSettings

PAGE = Path(__file__).parent.parent / "docs" / "bounds.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROOF = re.compile(r"\[[^\]]+\]\(([^)]+)\) \*([^*]+)\*")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| what |")
]
PROOFS = sorted({proof for row in ROWS for proof in PROOF.findall(row[-1])})
# No bounds of what a client can do: the heartbeat's pace, and how long we wait for others.
NO_BOUNDS = {
    "ping_interval",
    "request_timeout",
    "subscribe_timeout",
    "close_timeout",
    "cors_max_age",
    "slow_connect",
    "handler_threads",
}


def word(cell: str) -> str:
    """The code in a cell."""
    found = re.fullmatch(r"`([^`]+)`", cell)
    assert found, cell
    return found[1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_a_row_is_true(row: list[str]) -> None:
    """Six cells: the option has that default, the counter is a number, and some test shows it."""
    _, option, default, _, counter, shown = row
    if option != "-":
        assert default.split()[0] == str(getattr(ServerSettings(), word(option)))
    assert count(word(counter)) == 0
    assert PROOF.search(shown)
    assert not PROOF.sub("", shown).replace("<br>", "").strip(), f"a link without the name of a test: {shown}"


def count(path: str) -> int:
    """A counter of a new server."""
    value: object = Server(broker="memory://")
    name, _, key = path.partition("[")
    for part in name.split("."):
        value = getattr(value, part)
    return value.get(int(key[:-1]), 0) if isinstance(value, dict) else value  # type: ignore[return-value]


@pytest.mark.parametrize(("link", "name"), PROOFS)
def test_a_proof_is_a_test_with_a_second_client(link: str, name: str) -> None:
    """The file has a test of that name, and a witness is in it."""
    path = (PAGE.parent / link).resolve()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = {node.name: node for node in nodes if isinstance(node, ast.AsyncFunctionDef)}
    assert name in functions, f"{path.name} has no test {name!r}"
    names = {node.id.lower() for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
    assert names & {"witness", "slow_witness"}, f"{name} has no second client"


def test_every_bound_has_its_row() -> None:
    """Each option that is a number, and each counter of the engine and of the outboxes."""
    numbers = {field.name for field in fields(ServerSettings) if field.type in ("int", "float")} - NO_BOUNDS
    assert {name for name in numbers if f"`{name}`" not in TEXT} == set()
    io = Server(broker="memory://")
    counters = {
        f"engine.{part}.{field.name}"
        for part in ("stats", "outbox_stats")
        for field in fields(getattr(io.engine, part))
    }
    assert {name for name in counters if f"`{name}`" not in TEXT} == set()


def test_every_other_link_leads_somewhere() -> None:
    for link in re.findall(r"\[[^\]]+\]\(([^)]+)\)", TEXT):
        assert (PAGE.parent / link).exists(), link
