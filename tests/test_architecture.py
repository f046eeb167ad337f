"""The house keeps its shape: imports go downward, protocol does no I/O, files stay small, only the CLI prints.

Reads the source as text with `ast` and never imports it. It knows the order of the rooms and the rules between them;
it refuses to know what any room does. The second half feeds it trees that break each rule, so that a rule that has
stopped looking is noticed.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "shoal"

# From the ground up. A module may import from rooms before its own, and from its own room.
FLOORS = (
    ("errors",),
    ("settings", "options", "signatures"),
    ("protocol",),
    ("fanout",),
    ("http",),
    ("engine",),
    ("fastlane",),  # one way in: uvicorn's own connections
    ("asgi",),  # the other: any ASGI server
    ("serving",),  # runs uvicorn with either
    ("bus",),
    ("cluster",),
    ("handlers",),
    ("adapter",),  # the seam: where both lines meet
    ("observe",),  # reads counters when asked; the server shows it what there is
    ("server",),
    ("emitter",),
    ("",),  # shoal/__init__.py: the public names
    ("testing", "demo"),
    ("local", "load", "project", "inspection"),
    ("cli",),
    ("__main__",),
)
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

# Neighbours that the order alone would allow.
SESSIONS = {"fanout", "http", "engine", "fastlane", "asgi", "serving"}
FORBIDDEN = {
    "bus": SESSIONS,
    "cluster": SESSIONS,
    "local": {"", "protocol", "cluster", "server"} | SESSIONS,  # it starts processes; it is not one
}

# The files of a room, from the ground up: one may import those before it.
ORDER = {
    "http": ("request", "head", "responses", "cors", "client_files"),
    "engine": (
        "ids",
        "home",
        "stats",
        "wheel",
        "tasks",
        "context",
        "lane",
        "listeners",
        "stop_sign",
        "admission",
        "connection",
        "sessions",
        "hop",
        "peer_connection",
        "peer_tunnel",
        "forwarder",
        "base",
        "polling",
        "websocket",
    ),
    "asgi": (
        "lifespan",
        "body",
        "polling",
        "websocket_lane",
        "uvicorn_lane",
        "forward",
        "websocket",
        "application",
    ),
    "fastlane": (
        "descriptor",
        "reader",
        "websocket",
        "forward",
        "upgrade",
        "bounded_http",
        "polling",
        "repeated",
        "first_bytes",
    ),
    "serving": ("accepting", "listening", "tls", "run"),
    "handlers": (
        "events",
        "arguments",
        "runners",
        "registry",
        "listeners",
        "rate_limit",
        "threads",
        "stacks",
        "watchdog",
    ),
    "adapter": (
        "codec",
        "context",
        "sockets",
        "calls",
        "base",
        "recovery",
        "recovering",
        "pubsub",
        "stream_state",
        "stream_states",
        "streams",
        "stream_recovery",
        "backend",
    ),
    "server": (
        "awaitables",
        "handshake",
        "remote",
        "broadcast",
        "inbox",
        "lifecycle",
        "socket",
        "namespace",
        "namespaces",
        "client",
        "server",
        "engine",  # Engine.IO on its own: it needs none of the others
        "outline",
    ),
    "emitter": ("options", "emitter", "thread", "sync"),
    "inspection": ("applications", "broker", "findings", "report"),
}

# What touches the world. protocol/ takes bytes and the time as arguments.
WORLDLY = {"asyncio", "socket", "select", "selectors", "ssl", "threading", "logging"}
WORLDLY |= {"time", "random", "secrets"}  # datetime and uuid are types of values that packets carry

# Applications that `shoal new` writes: what they import is their own business.
DATA = "project/_template"

LONGEST = 400
LONG_WITH_REASON: dict[str, str] = {}  # "server/socket.py": "why it reads best in one piece"


@dataclass(frozen=True)
class Import:
    target: str  # dotted, as far as it names a module: "shoal.bus.base", "asyncio"
    line: int


@dataclass(frozen=True)
class Module:
    name: str  # "shoal.bus.base"
    where: str  # "bus/base.py"
    tree: ast.Module
    lines: int
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    """The room that a dotted name below shoal belongs to; "" for the package itself."""
    return name.split(".")[1] if "." in name else ""


def read(source: Path) -> dict[str, Module]:
    """Every module below `source`, by dotted name."""
    files = [path for path in sorted(source.rglob("*.py")) if not path.is_relative_to(source / DATA)]
    names = {_dotted(path, source): path for path in files}
    return {name: _module(name, path, source, names.keys()) for name, path in names.items()}


def _dotted(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(("shoal", *parts[: -1 if parts[-1] == "__init__" else None]))


def _module(name: str, path: Path, source: Path, known: Iterable[str]) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports = tuple(_imports(tree, package, set(known)))
    return Module(name, path.relative_to(source).as_posix(), tree, text.count("\n"), imports)


def _imports(tree: ast.Module, package: str, known: set[str]) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield Import(submodule if submodule in known else base, node.lineno)


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    anchor = parts[: len(parts) - node.level + 1]
    return ".".join([*anchor, *([node.module] if node.module else [])])


def violations(source: Path, excused: Iterable[str] = ()) -> list[str]:
    """Every breach of the rules below `source`, one line each: "where:line what". `excused` files may be long."""
    modules = read(source)
    found = [breach for module in modules.values() for breach in _breaches(module, set(excused))]
    found += [f"{where}: excused for its length, but it is short or gone" for where in _needless(modules, excused)]
    return sorted(found) + _cycles(modules)


def _breaches(module: Module, excused: set[str]) -> Iterator[str]:
    if module.room not in HEIGHT:
        yield f"{module.where}: no room of the house is called {module.room!r}"
        return
    file = module.name.rpartition(".")[2]
    if module.room in ORDER and module.name.count(".") == 2 and file not in ORDER[module.room]:
        yield f"{module.where}: has no place in the order of {module.room}/"
    if not ast.get_docstring(module.tree):
        yield f"{module.where}: opens without a docstring"
    if module.lines > LONGEST and module.where not in excused:
        yield f"{module.where}: {module.lines} lines, more than {LONGEST}"
    for imported in module.imports:
        breach = _import_breach(module.room, imported.target) or _order_breach(module.name, imported.target)
        if breach:
            yield f"{module.where}:{imported.line}: {breach}"
    if module.room != "cli":
        yield from (f"{module.where}:{line}: prints" for line in _prints(module.tree))


def _import_breach(room: str, target: str) -> str | None:
    top = target.partition(".")[0]
    if top != "shoal":
        return f"protocol imports {top}" if room == "protocol" and top in WORLDLY else None
    other = room_of(target)
    if other == room:
        return None
    if other == "testing":
        return "nothing in src imports testing"
    if other in FORBIDDEN.get(room, ()) or HEIGHT.get(other, len(FLOORS)) >= HEIGHT[room]:
        return f"{room or 'shoal'} imports {other or 'shoal'}: not downward"
    return None


def _order_breach(name: str, target: str) -> str | None:
    room = room_of(name)
    order = ORDER.get(room, ())
    file, other = (one.removeprefix(f"shoal.{room}.") for one in (name, target))
    if file in order and other in order and order.index(other) > order.index(file):
        return f"{room}/{file} imports {room}/{other}: not downward"
    return None


def _prints(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno


def _needless(modules: dict[str, Module], excused: Iterable[str]) -> list[str]:
    long = {module.where for module in modules.values() if module.lines > LONGEST}
    return [where for where in excused if where not in long]


def _cycles(modules: dict[str, Module]) -> list[str]:
    graph = {
        name: {one.target for one in module.imports if one.target in modules} - {name}
        for name, module in modules.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["import cycle: " + " -> ".join(reversed(error.args[1]))]
    return []


def test_the_house_keeps_its_shape() -> None:
    """No module of Shoal breaks a rule."""
    assert read(SOURCE), f"no modules below {SOURCE}"
    assert violations(SOURCE, LONG_WITH_REASON) == []


GOOD = {
    "__init__.py": "from shoal.server import Server",
    "errors.py": "",
    "settings.py": "from .errors import ShoalError",
    "protocol/__init__.py": "",
    "protocol/packets.py": "import struct\nfrom shoal import errors\nfrom shoal.protocol import table",
    "protocol/table.py": "",
    "fanout/__init__.py": "from ..protocol.packets import Packet",
    "bus/__init__.py": "import asyncio\nfrom shoal.bus.base import Bus",
    "bus/base.py": "",
    "cluster/__init__.py": "from shoal.bus import Bus",
    "engine/__init__.py": "import shoal.fanout",
    "server/__init__.py": "from shoal import engine, cluster",
    "testing/__init__.py": "from shoal import Server",
    "observe/__init__.py": "",
    "demo/__init__.py": "from shoal import Server",
    "project/__init__.py": "from shoal import Server",
    "project/_template/app.py": "import shoal.testing",
    "local/__init__.py": "from shoal import settings, bus",
    "cli/__init__.py": "from shoal import local\nprint('hello')",
}


def plant(root: Path, files: dict[str, str]) -> Path:
    """A source tree of `files` below `root`, each opening with a docstring unless it says "bare"."""
    for where, text in files.items():
        path = root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.removeprefix("bare") if text.startswith("bare") else f'"""A module."""\n{text}\n')
    return root


def test_a_sound_tree_has_no_violations(tmp_path: Path) -> None:
    """The rules let through what the house is allowed to do."""
    assert violations(plant(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("where", "text", "expected"),
    [
        (
            "protocol/table.py",
            "import shoal.server.socket",
            "protocol/table.py:2: protocol imports server: not downward",
        ),
        ("protocol/table.py", "from ..bus import base", "protocol/table.py:2: protocol imports bus: not downward"),
        ("protocol/table.py", "def f():\n    import time", "protocol/table.py:3: protocol imports time"),
        ("protocol/table.py", "from asyncio import sleep", "protocol/table.py:2: protocol imports asyncio"),
        ("settings.py", "from shoal import Server", "settings.py:2: settings imports shoal: not downward"),
        ("errors.py", "import shoal.observe", "errors.py:2: errors imports observe: not downward"),
        ("bus/base.py", "import shoal.fanout", "bus/base.py:2: bus imports fanout: not downward"),
        ("cluster/link.py", "from shoal import fanout", "cluster/link.py:2: cluster imports fanout: not downward"),
        ("local/plan.py", "from shoal.server import x", "local/plan.py:2: local imports server: not downward"),
        ("local/plan.py", "from shoal.engine import x", "local/plan.py:2: local imports engine: not downward"),
        ("local/plan.py", "from shoal import Server", "local/plan.py:2: local imports shoal: not downward"),
        ("demo/app.py", "import shoal.testing", "demo/app.py:2: nothing in src imports testing"),
        ("cli/up.py", "from shoal.testing import x", "cli/up.py:2: nothing in src imports testing"),
        ("demo/app.py", "import shoal.local", "demo/app.py:2: demo imports local: not downward"),
        ("bus/base.py", "print('x')", "bus/base.py:2: prints"),
        ("bus/base.py", "bare", "bus/base.py: opens without a docstring"),
        ("bus/base.py", "x = 1\n" * 400, "bus/base.py: 402 lines, more than 400"),
        (
            "server/socket.py",
            "from .client import Client",
            "server/socket.py:2: server/socket imports server/client: not downward",
        ),
        ("server/attic.py", "", "server/attic.py: has no place in the order of server/"),
        ("attic/box.py", "", "attic/box.py: no room of the house is called 'attic'"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, where: str, text: str, expected: str) -> None:
    """Each rule names the file and line that breaks it, and nothing else."""
    assert violations(plant(tmp_path, GOOD | {where: text})) == [expected]


def test_a_cycle_is_found(tmp_path: Path) -> None:
    """Two modules of one room that import each other are a cycle, although both imports are level."""
    tree = plant(tmp_path, GOOD | {"bus/base.py": "import shoal.bus.more", "bus/more.py": "import shoal.bus.base"})
    [breach] = violations(tree)
    assert breach.startswith("import cycle: ")
    assert {"shoal.bus.base", "shoal.bus.more"} == set(breach.removeprefix("import cycle: ").split(" -> "))


def test_an_import_for_types_counts(tmp_path: Path) -> None:
    """Who reads follows it, so it may not go upward or round either."""
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .client import Client"
    breach = "server/socket.py:4: server/socket imports server/client: not downward"
    assert violations(plant(tmp_path, GOOD | {"server/socket.py": text})) == [breach]
    round_about = {"bus/base.py": text.replace("client", "more"), "bus/more.py": "from .base import Bus"}
    assert violations(plant(tmp_path / "other", GOOD | round_about))[0].startswith("import cycle: ")


def test_an_excuse_must_be_needed(tmp_path: Path) -> None:
    """A long file may be excused; an excuse for a file that is short again must go."""
    tree = plant(tmp_path, GOOD | {"bus/base.py": "x = 1\n" * 400})
    assert violations(tree, {"bus/base.py"}) == []
    assert violations(tree, {"bus/base.py", "errors.py"}) == [
        "errors.py: excused for its length, but it is short or gone"
    ]
