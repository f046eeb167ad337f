"""Every Python snippet of the pages runs: its application is served and answers, its tests pass.

Whether its types are right, tests/test_types.py asks.
What a program is, and which remarks change that, is in `snippets.py`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.brokers import Broker
from tests.docs.live import served
from tests.docs.snippets import HELPERS, PROGRAMS, ROOT, Program, pages
from tests.requirements import need

from shoal import Engine, Server
from shoal.serving.run import engine_of
from shoal.testing import run


@pytest.fixture(scope="module", autouse=True)
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


def execute(program: Program, broker: Broker) -> types.ModuleType:
    """Run a program's parts in a module of their own, within one loop if they await something."""
    module = types.ModuleType(program.module)
    sys.modules[module.__name__] = module  # where annotations are looked up
    exec(HELPERS, module.__dict__)
    parts = []
    for part in program.parts:
        code = part.padded().replace("127.0.0.1:6379", f"127.0.0.1:{broker.port}")
        parts.append(compile(code, program.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True))

    async def awaiting() -> None:
        for part in parts:
            result = eval(part, module.__dict__)
            if inspect.isawaitable(result):
                await result

    if any(part.co_flags & inspect.CO_COROUTINE for part in parts):
        run(awaiting())
    else:
        for part in parts:
            exec(part, module.__dict__)
    return module


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_snippet_runs(program: Program, broker: Broker, tmp_path: Path) -> None:
    """It is imported, its tests are called, and what it would have served answers a client's handshake."""
    if not program.runs:
        for part in program.parts:
            compile(part.padded(), program.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        return
    previous = Path.cwd()
    os.chdir(tmp_path)
    try:
        module = execute(program, broker)
        for name, function in list(vars(module).items()):
            if name.startswith("test_") and inspect.isfunction(function):
                function()
        for name in ("app", "application", "io"):
            app = vars(module).get(name)
            if isinstance(app, Server | Engine) or engine_of(app) is not None:
                asyncio.run(answers(app))
                break
    finally:
        os.chdir(previous)
        sys.modules.pop(program.module, None)


async def answers(app: Any) -> None:
    """The application is served by a real server and lets a polling client in."""
    engine = engine_of(app)
    assert engine is not None
    async with served(app) as url, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}{engine.settings.path}", params={"EIO": "4", "transport": "polling"})
        assert answer.status_code == 200, answer.text
        assert answer.text.startswith('0{"sid":')


# ---- other languages

FENCE = re.compile(r"^( *)```(?:\{code-block\} )?(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def fences(*languages: str) -> list[Any]:
    """Parameters: the fences in one of these languages."""
    found = []
    for path in pages():
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[2] in languages:
                line = text.count("\n", 0, match.start()) + 1
                where = f"{path.relative_to(ROOT).as_posix()}:{line}"
                found.append(pytest.param(textwrap.dedent(match[3]), id=where))
    return found


SCRIPT = """
const vm = require("node:vm");
const sources = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const faults = [];
for (const [name, source] of sources) {
  try { new vm.SourceTextModule(source, { identifier: name }); } catch (error) { faults.push(`${name}: ${error}`); }
}
console.log(JSON.stringify(faults));
"""


def test_every_javascript_snippet_can_be_parsed() -> None:
    sources = [(parameter.id, parameter.values[0]) for parameter in fences("js", "javascript")]
    assert sources
    argv = [need("node"), "--experimental-vm-modules", "--no-warnings", "-e", SCRIPT]
    result = subprocess.run(argv, input=json.dumps(sources), capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize("text", fences("sh", "bash"))
def test_a_shell_snippet_can_be_parsed(text: str) -> None:
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
