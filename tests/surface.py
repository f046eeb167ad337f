"""The public surface of Shoal as text: names, signatures, attributes, options and commands, one a line.

``make generate`` puts it into ``tests/surface.txt``; ``tests/test_public_surface.py`` compares the two, so that a
change of the surface is seen in review. What an object shows is asked of the object, with ``dir()``, so that an
internal of ours which shows there is seen too. How a name is written is taken from the source: annotations are text
there, and stay what they are on every Python.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import FunctionType
from typing import Any

import typer

import shoal
import shoal.testing
from shoal.cli.app import COMMANDS, app
from shoal.server.remote import DescriptionList, SocketDescription
from shoal.serving import run as serving
from shoal.settings import EngineSettings, ServerSettings
from shoal.testing import ClockLoop, TestServer, run

FILE = Path(__file__).with_suffix(".txt")
COMMAND = "make generate"
HEAD = f"""\
# What Shoal shows to those who use it. A line that changes here is a change that they may notice: see CHANGELOG.md.
# Made by `{COMMAND}`; do not edit.
"""
# Constructed by whoever uses them: their arguments are public. All other objects are given.
CONSTRUCTED = {"Server", "Engine", "Emitter", "SyncEmitter", "TestServer", "ConnectionRefused"}
PACKAGES = ("shoal",)
UNKNOWN = "?"
BASES = {Exception, list, tuple}  # Python's own, whose methods count too


@dataclass(frozen=True)
class Specimen:
    """An object that an application gets, and where from."""

    source: str
    value: object


@dataclass(frozen=True)
class Attribute:
    """What the source says of an attribute."""

    annotation: str = ""
    documented: bool = False


# ---- objects to look at


async def _specimens() -> list[Specimen]:
    io = shoal.Server(broker="memory://", node="one")
    sessions: list[Any] = []
    refused: list[Any] = []
    engine = shoal.Engine()
    engine.on("connect")(sessions.append)
    emitter = shoal.Emitter("memory://surface")
    waiting = shoal.SyncEmitter("redis://127.0.0.1")
    engine.on("connection_error")(lambda *args: refused.extend(args))
    async with TestServer(io) as server, TestServer(engine) as other:
        client = await server.connect()
        io.emit("hello")
        received = await client.receive()
        response = await other.request("GET", "/engine.io/")
        await other.open()
        socket = io.sockets[client.id]
        [remote] = sockets = await io.fetch_sockets()
        return [
            Specimen("Server", io),
            Specimen("io.of(name)", io.of("/other")),
            Specimen("handlers, io.sockets", socket),
            Specimen("socket.handshake", socket.handshake),
            Specimen("handshake.request, @io.allow_request", socket.handshake.request),
            Specimen("socket.conn, handlers of Engine", sessions[0]),
            Specimen("io.to(room), socket.broadcast", io.to("room")),
            Specimen("call(), server_side_call()", shoal.Answers()),
            Specimen("fetch_sockets()", sockets),
            Specimen("its members", remote),
            Specimen("remote.handshake", remote.handshake),
            Specimen("Emitter", emitter),
            Specimen("emitter.to(room), emitter.of(name)", emitter.to("room")),
            Specimen("SyncEmitter", waiting),
            Specimen("to(room), of(name) of a SyncEmitter", waiting.to("room")),
            Specimen("fetch_sockets() of an emitter", described := DescriptionList([description(remote)], [])),
            Specimen("its members", described[0]),
            Specimen("io.stats", io.stats),
            Specimen("io.stats.broker", io.stats.broker),
            Specimen("io.engine", io.engine),
            Specimen("io.engine.stats", io.engine.stats),
            Specimen("io.engine.outbox_stats", io.engine.outbox_stats),
            Specimen("connection_error", refused[0]),
            Specimen("Engine", engine),
            Specimen("TestServer", server),
            Specimen("TestServer.connect()", client),
            Specimen("TestClient.receive()", received),
            Specimen("TestServer.open(), TestClient.connection", client.connection),
            Specimen("TestServer.request()", response),
            Specimen("TestServer.clock", server.clock),
        ]


def description(remote: Any) -> SocketDescription:
    """What an emitter is told of a socket."""
    return SocketDescription({"id": "", "node": "", "rooms": [], "data": {}, "handshake": vars(remote.handshake)})


@functools.cache
def specimens() -> tuple[Specimen, ...]:
    """One object of each kind that an application meets."""
    return (*run(_specimens()), *_errors(), Specimen("async_test, run", _loop()))


def _loop() -> ClockLoop:
    loop = ClockLoop()
    loop.close()
    return loop


def _errors() -> Iterator[Specimen]:
    arguments: dict[str, tuple[Any, ...]] = {"AckTimeout": ("event", 5.0)}
    for name in shoal.__all__:
        kind = getattr(shoal, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            yield Specimen("raised", kind(*arguments.get(name, ())))


# ---- what they show


def shown(value: object) -> list[str]:
    """The public names that ``dir()`` shows, without those that a class of Python's own brings along."""
    foreign = {name for kind in type(value).__mro__ if not _is_ours(kind) for name in dir(kind)}
    own = {name for kind in type(value).__mro__ if _is_ours(kind) for name in vars(kind)}
    names = (name for name in dir(value) if not name.startswith("_"))
    return [name for name in names if name in own or name not in foreign | _foreign_state(value)]


def _foreign_state(value: object) -> set[str]:
    """Attributes that a foreign base class sets by itself."""
    return set() if not isinstance(value, ClockLoop) else set(vars(value)) - attributes(ClockLoop).keys()


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in PACKAGES


def lines_of(value: object) -> list[str]:
    """One line for each name that an object shows."""
    return [f"    {line}" for name in shown(value) for line in _member(type(value), name)]


def _member(kind: type, name: str) -> Iterator[str]:
    found = inspect.getattr_static(kind, name, None)
    if isinstance(found, property):
        assert found.fget is not None
        annotation = str(inspect.signature(found.fget).return_annotation)
        yield f"{name}: {annotation}" + ("" if found.fset else "  # read only")
    elif isinstance(found, staticmethod | classmethod):
        yield f"@{type(found).__name__} {function_line(name, found.__func__, bound=isinstance(found, classmethod))}"
    elif isinstance(found, FunctionType):
        yield function_line(name, found, bound=True)
    else:
        yield f"{name}: {attributes(kind)[name].annotation or UNKNOWN}"


def function_line(name: str, function: Any, *, bound: bool = False) -> str:
    """A function as its ``def`` reads, without its body."""
    signature = inspect.signature(function)
    parameters = [*signature.parameters.values()][bound:]
    kind = "async def" if inspect.iscoroutinefunction(function) else "def"
    return f"{kind} {name}({', '.join(_parameters(parameters))}) -> {signature.return_annotation}"


def _parameters(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        starred = starred or star == "*"
        text = f"{star}{parameter.name}: {parameter.annotation}"
        yield text + _default(parameter.default)


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return (
        f" = {value.__name__ if isinstance(value, type) else repr(value.value if isinstance(value, Enum) else value)}"
    )


@functools.cache
def attributes(kind: type) -> dict[str, Attribute]:
    """The attributes of a class as its source writes them: in its body, in its methods, and in its docstring."""
    found: dict[str, Attribute] = {}
    for base in filter(_is_ours, reversed(kind.__mro__)):
        for name, attribute in _attributes_of(base):
            before = found.get(name, Attribute())
            found[name] = Attribute(
                attribute.annotation or before.annotation, attribute.documented or before.documented
            )
    return found


def _attributes_of(kind: type) -> Iterator[tuple[str, Attribute]]:
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    bodies: list[ast.ClassDef | ast.FunctionDef] = [tree, *(n for n in tree.body if isinstance(n, ast.FunctionDef))]
    for node in bodies:
        for statement, behind in zip(node.body, [*node.body[1:], None], strict=True):
            for name in _assigned(statement):
                yield name, Attribute(_annotation(statement, node), _is_text(behind))
    # An argument that is kept under its name is described where the arguments are.
    for section in re.findall(r"^(?:Args|Attributes):\n((?:(?: .*)?\n?)*)", inspect.cleandoc(kind.__doc__ or ""), re.M):
        for names in re.findall(r"^    ([\w, ]+): ", section, re.M):
            yield from ((name, Attribute("", True)) for name in names.split(", "))


def _assigned(statement: ast.stmt) -> Iterator[str]:
    targets = {ast.Assign: lambda: statement.targets, ast.AnnAssign: lambda: [statement.target]}  # type: ignore[attr-defined]
    for target in targets.get(type(statement), list)():
        for part in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(part, ast.Name):
                yield part.id
            elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self":
                yield part.attr


def _annotation(statement: Any, node: ast.ClassDef | ast.FunctionDef) -> str:
    """What an assignment says of its type, or the parameter that it puts away."""
    if isinstance(statement, ast.AnnAssign):
        return ast.unparse(statement.annotation)
    if isinstance(node, ast.FunctionDef) and isinstance(statement.value, ast.Name):
        for argument in (*node.args.args, *node.args.kwonlyargs):
            if argument.arg == statement.value.id and argument.annotation is not None:
                return ast.unparse(argument.annotation)
    return ""


def _is_text(statement: ast.stmt | None) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def untyped(value: object) -> list[str]:
    """The attributes that an object shows and whose type nothing tells."""
    return [line for line in lines_of(value) if line.endswith(f": {UNKNOWN}")]


def undocumented(value: object) -> list[str]:
    """The names that an object shows and that nothing says a word about."""
    kind = type(value)
    missing = [] if inspect.getdoc(kind) else [kind.__name__]
    for name in shown(value):
        found = inspect.getattr_static(kind, name, None)
        has_doc = attributes(kind).get(name, Attribute()).documented
        if isinstance(found, property | FunctionType | staticmethod | classmethod):
            has_doc = bool(inspect.getdoc(found))
        if not has_doc:
            missing.append(f"{kind.__name__}.{name}")
    return missing


# ---- the text


def surface() -> str:
    """All of it."""
    return "\n".join([HEAD, *_exports(shoal), *_given(), *_exports(shoal.testing), *_options(), *_commands()])


def _exports(module: Any) -> Iterator[str]:
    yield f"[{module.__name__}]\n"
    for name in sorted(module.__all__):
        value = getattr(module, name)
        if isinstance(value, type):
            yield from _class(value, [specimen for specimen in specimens() if type(specimen.value) is value])
        elif isinstance(value, FunctionType):
            yield function_line(name, value) + "\n"
        else:
            yield f"{name}\n"


def _given() -> Iterator[str]:
    yield "[what these give]\n"
    exported = {getattr(module, name) for module in (shoal, shoal.testing) for name in module.__all__}
    given = [specimen for specimen in specimens() if type(specimen.value) not in exported]
    for specimen in sorted(given, key=lambda given: type(given.value).__name__):
        yield f"# {specimen.source}"
        yield from _class(type(specimen.value), [specimen])


def _class(kind: type, found: list[Specimen]) -> Iterator[str]:
    assert found, f"{kind.__name__} is public: add an object of it to specimens()"
    arguments = ""
    if kind.__name__ in CONSTRUCTED:
        arguments = f"({', '.join(_parameters([*inspect.signature(kind).parameters.values()]))})"
    bases = [base.__name__ for base in kind.__bases__ if base.__name__ in shoal.__all__ or base in BASES]
    yield f"class {kind.__name__}{arguments}" + (f"  # {', '.join(bases)}" if bases else "")
    yield from lines_of(found[0].value)
    yield ""


def _options() -> Iterator[str]:
    yield "[options of Engine, and SHOAL_* variables]\n"
    yield from _fields(EngineSettings)
    yield "\n[options of Server: those, and]\n"
    yield from _fields(ServerSettings, beside=EngineSettings)
    yield "\n[options of run()]\n"
    yield function_line("run", serving.run) + "\n"


def _fields(settings: Any, beside: Any = None) -> Iterator[str]:
    assert is_dataclass(settings)
    known = {(field.name, field.default) for field in fields(beside)} if beside else set()
    for field in fields(settings):
        if (field.name, field.default) not in known:
            yield f"{field.name}: {field.type} = {field.default!r}"


def _commands() -> Iterator[str]:
    yield "[commands]\n"
    program = typer.main.get_command(app)
    yield from _command(program, "shoal", app.registered_callback.callback)  # type: ignore[union-attr]
    for name, module in COMMANDS.items():
        command = program.get_command(None, name)  # type: ignore[attr-defined]
        yield from _command(command, f"shoal {name}", getattr(importlib.import_module(module), name))


def _command(command: Any, title: str, function: Any) -> Iterator[str]:
    yield title
    kinds, parameters = typing.get_type_hints(function), inspect.signature(function).parameters
    for parameter in command.params:
        if parameter.name not in parameters:
            continue  # --help
        default = parameters[parameter.name].default
        if hasattr(default, "param_decls"):
            default = default.default  # typer.Option(...) stands as the default itself
        names = " ".join([*parameter.opts, *parameter.secondary_opts])  # of an argument, its name
        kind = kinds[parameter.name]
        kind = kind.__name__ if isinstance(kind, type) else str(kind)
        yield f"    {names}: {kind}{_default(default)}"
    yield ""


def main(arguments: list[str]) -> None:
    if arguments == ["--write"]:
        FILE.write_text(surface(), encoding="utf-8")
    elif arguments:
        sys.exit("python -m tests.surface [--write]")
    else:
        print(surface())


if __name__ == "__main__":
    main(sys.argv[1:])
