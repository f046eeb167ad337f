"""Pages that claim to be complete, or to be held by a test, are."""

from __future__ import annotations

import ast
import re
from dataclasses import fields

import pytest
import socketio
from tests.docs.snippets import ROOT

from shoal import errors
from shoal.engine.admission import Refusal

DOCS = ROOT / "docs"
PROOF = re.compile(r"\[[^\]]+\]\(([^)]+)\) \*([^*]+)\*")
GUARANTEES = (DOCS / "guarantees.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("link", "name"), sorted(set(PROOF.findall(GUARANTEES))))
def test_a_guarantee_names_a_test_that_there_is(link: str, name: str) -> None:
    tree = ast.parse((DOCS / link).resolve().read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_promise_has_its_test() -> None:
    """Each row of its tables ends with a proof, or with a dash; each section says what is not promised."""
    rows = [line for line in GUARANTEES.splitlines() if line.startswith("| ") and "| shown by |" not in line]
    assert [row for row in rows if not PROOF.search(row) and not row.endswith("| - |")] == []
    sections = GUARANTEES.split("\n## ")[1:]
    assert [section[:20] for section in sections if "**Not promised.**" not in section] == []


def test_every_method_of_python_socketio_has_its_row() -> None:
    """And every parameter of its constructor."""
    page = (DOCS / "coming-from" / "python-socketio.md").read_text(encoding="utf-8")
    page = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    code = " ".join(re.findall(r"`([^`]+)`", page))
    names = [name for name in dir(socketio.AsyncServer) if not name.startswith("_")]
    names += ["client_manager", "logger", "json", "async_handlers", "namespaces", "async_mode", "ping_interval"]
    names += ["ping_timeout", "max_http_buffer_size", "allow_upgrades", "http_compression", "compression_threshold"]
    names += ["cookie", "cors_allowed_origins", "cors_credentials", "monitor_clients", "transports", "always_connect"]
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


def test_every_exception_and_refusal_has_its_row() -> None:
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    inner = {"EngineProtocolError", "SocketProtocolError", "ShoalError"}
    assert [name for name in errors.__all__ if f"| `{name}` |" not in page and name not in inner] == []
    from shoal.engine import admission

    refusals = [value for value in vars(admission).values() if isinstance(value, Refusal)]
    assert len(refusals) > 5
    assert {field.name for field in fields(Refusal)} == {"code", "message", "status"}
    assert [each for each in refusals if f"| {each.code} | {each.status} | `{each.message}`" not in page] == []


def test_the_troubleshooting_page_has_thirty_questions() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^### ", page, re.MULTILINE)) >= 30
