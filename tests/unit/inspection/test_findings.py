"""What is odd about an application is found, with its code; what is as it should be is not."""

from __future__ import annotations

import os
import re
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from shoal import Engine, Namespace, Server
from shoal.errors import EventWarning
from shoal.inspection import Report, examine
from shoal.inspection.broker import BrokerState
from shoal.inspection.findings import findings_of_log
from shoal.testing import run

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md"
FINDINGS = Path(sys.modules["shoal.inspection.findings"].__file__ or "")


@pytest.fixture(autouse=True)
def no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set where the tests run is none of theirs."""
    for name in os.environ:
        if name.startswith("SHOAL_"):
            monkeypatch.delenv(name)


class Route:
    def __init__(self, path: str, app: Any) -> None:
        self.path = path
        self.app = app


class Web:
    """An application of another framework, as far as one can see from outside."""

    def __init__(self, debug: bool = False) -> None:
        self.debug = debug
        self.routes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def mount(self, path: str, app: Any) -> None:
        self.routes += [object(), Route(path, Wrapper(app))]


class Wrapper:
    """A middleware."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def look(app: Any, *, environment: dict[str, str] | None = None, ignore: tuple[str, ...] = (), **others: Any) -> Report:
    """Examine an application that is the attribute `app` of a module; `others` are its other attributes."""
    module = types.ModuleType("odd_application")
    vars(module).update(others, app=app)
    sys.modules[module.__name__] = module
    try:
        return run(examine(f"{module.__name__}:app", app, ignore=ignore, environment=environment or {}))
    finally:
        del sys.modules[module.__name__]


def codes(report: Report) -> list[str]:
    return [finding.code for finding in (*report.problems, *report.notes)]


def make(**options: Any) -> Server:
    """A server with a handler."""
    io = Server(broker=options.pop("broker", "memory://"), **options)
    io.on("say")(lambda socket: None)
    return io


def test_nothing_is_odd_about_a_plain_server() -> None:
    report = look(make())
    assert (codes(report), report.ok) == ([], True)


@pytest.mark.parametrize(
    ("options", "code", "is_problem"),
    [
        ({"cors_credentials": True}, "cors-open", True),
        ({"ping_interval": 25_000}, "milliseconds", True),
        ({"ping_timeout": 20_000}, "milliseconds", True),
        ({"connect_timeout": 45_000}, "milliseconds", True),
        ({"trusted_proxies": "*"}, "proxies-open", False),
        ({"broker": "memory://chat"}, "memory-named", False),
        ({"log_length": 5}, "option-without-effect", False),
        ({"max_replay": 5}, "option-without-effect", False),
        ({"channel_prefix": "chat"}, "option-without-effect", False),
        ({"transports": ("websocket",), "http_compression": True}, "option-without-effect", False),
        ({"transports": ("polling",), "per_message_deflate": True}, "option-without-effect", False),
        ({"allow_upgrades": False, "upgrade_timeout": 5}, "option-without-effect", False),
        ({"cors_origins": None, "cors_max_age": 5}, "option-without-effect", False),
    ],
)
def test_an_odd_option_is_found(options: dict[str, Any], code: str, is_problem: bool) -> None:
    report = look(make(**options))
    assert codes(report) == [code]
    assert report.ok is not is_problem


@pytest.mark.parametrize(
    "options",
    [
        {"cors_credentials": True, "cors_origins": "https://chat.example"},
        {"connection_state_recovery": True, "max_replay": 5},
        {"broker": "memory://", "node": "a.b"},  # no balancer sends anything to one node alone
        {"http_compression": True, "per_message_deflate": True, "upgrade_timeout": 5},
    ],
)
def test_an_option_that_has_its_reason_is_not(options: dict[str, Any]) -> None:
    assert codes(look(make(**options))) == []


def test_a_server_without_handlers_is_a_problem_and_one_with_any_is_not() -> None:
    assert codes(look(Server(broker="memory://"))) == ["no-handlers"]
    io = Server(broker="memory://")
    io.of("/admin").use(lambda socket: None)
    assert codes(look(io)) == []


def test_what_is_meant_so_can_be_said() -> None:
    report = look(Server(broker="memory://"), ignore=("no-handlers",))
    assert (codes(report), report.ok) == ([], True)


@pytest.mark.parametrize(
    ("variable", "value", "code", "is_problem"),
    [
        ("SHOAL_MAX_PAYLOD", "5", "unknown-variable", True),
        ("SHOAL_COLOUR", "red", "unknown-variable", False),
        ("SHOAL_MAX_PAYLOAD", "5", "variable-without-effect", False),
        ("WEB_CONCURRENCY", "4", "workers-apart", True),
        ("PYTHONASYNCIODEBUG", "1", "asyncio-debug", False),
    ],
)
def test_an_odd_variable_is_found(variable: str, value: str, code: str, is_problem: bool) -> None:
    report = look(make(), environment={variable: value})
    assert codes(report) == [code]
    assert report.ok is not is_problem


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHOAL_PING_INTERVAL", "25"),
        ("SHOAL_PORT", "tcp://10.0.0.1:80"),
        ("SHOAL_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("SHOAL_SERVICE_PORT_HTTP", "80"),
        ("SHOAL_BROKER_SERVICE_HOST", "10.0.0.2"),
        ("WEB_CONCURRENCY", "1"),
        ("WEB_CONCURRENCY", "auto"),
    ],
)
def test_a_variable_that_is_right_or_not_ours_is_not(variable: str, value: str) -> None:
    assert codes(look(make(), environment={variable: value})) == []


def test_an_event_that_never_happens_is_a_problem_where_it_is_registered() -> None:
    io = make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EventWarning)
        io.on("disconect")(lambda socket: None)
    report = run(examine(f"{__name__}:io", io, caught, environment={}))
    [finding] = report.problems
    assert finding.code == "event-name"
    assert re.search(r"did you mean 'disconnect'\? \(.*test_findings\.py:\d+\)$", finding.message)


def test_an_application_without_a_server_says_what_was_probably_meant() -> None:
    web, io = Web(), make()
    report = look(web, io=io)
    assert (report.kind, codes(report)) == ("none", ["no-server"])
    assert report.problems[0].message.endswith("did you mean odd_application:io?")
    assert look(web, io=io, both=io.asgi(web)).problems[0].message.endswith("did you mean odd_application:both?")
    assert "did you mean" not in look(web).problems[0].message


def test_a_server_without_the_page_that_it_has_elsewhere_is_noted() -> None:
    io = make()
    report = look(io, both=io.asgi(Web()))
    assert codes(report) == ["page-not-served"]
    assert "odd_application:both is the same server" in report.notes[0].message
    assert codes(look(io, alone=io.asgi(None), other=make().asgi(Web()))) == []


def test_a_server_in_front_is_found_with_what_is_behind_it() -> None:
    io = make(path="/live/")
    report = look(io.asgi(Web()), io=io)
    assert (report.kind, report.endpoint, report.behind) == ("server", "/live/", f"{__name__.partition('.')[0]}.Web")
    assert codes(report) == []


@pytest.mark.parametrize(("mount", "endpoint"), [("/live", "/live/socket.io/"), ("/socket.io", "/socket.io/")])
def test_a_mounted_server_is_found_where_clients_reach_it(mount: str, endpoint: str) -> None:
    web = Web()
    web.mount(mount, make())
    report = look(Wrapper(web))
    assert (report.kind, report.endpoint) == ("server", endpoint)
    assert codes(report) == ["no-fast-lane"]


def test_two_servers_in_one_application_are_told_apart() -> None:
    web = Web()
    web.mount("/second", make())
    report = look(make().asgi(web))
    assert (report.endpoint, codes(report)) == ("/socket.io/", ["more-servers"])
    assert "/second/socket.io/" in report.notes[0].message


def test_an_engine_is_found_with_its_handlers() -> None:
    engine = Engine()
    assert codes(look(engine)) == ["no-handlers"]
    engine.on("message")(lambda session, data: None)
    report = look(engine, environment={"SHOAL_BROKER": "redis://broker"})  # for servers beside it
    assert (report.kind, report.endpoint, codes(report)) == ("engine", "/engine.io/", [])
    assert [handler.event for handler in report.engine_handlers] == ["message"]


def test_an_application_that_shows_its_code_is_noted() -> None:
    assert codes(look(make().asgi(Web(debug=True)))) == ["application-debug"]


@pytest.mark.parametrize(
    ("broker", "recovery", "found"),
    [
        (BrokerState("", True, product="Redis", version="6.0.16"), None, ["broker-too-old"]),
        (BrokerState("", True, product="Redis", version="7.2.4"), None, []),
        (BrokerState("", True, product="Valkey", version="8.1.0", eviction="noeviction"), None, []),
        (BrokerState("", True, product="Valkey", version="8.1.0", eviction="volatile-lru"), None, ["broker-evicts"]),
        (BrokerState("", True), False, ["log-unused"]),
    ],
)
def test_a_broker_that_cannot_keep_messages_is_found(
    broker: BrokerState, recovery: bool | None, found: list[str]
) -> None:
    settings = Server(broker="redis+streams://127.0.0.1", connection_state_recovery=recovery).settings
    assert [finding.code for finding in findings_of_log(settings, broker)] == found


def test_handlers_are_described_with_their_places() -> None:
    io = Server(broker="memory://")

    class Chat(Namespace):
        async def on_say(self, socket: Any, text: str) -> None: ...

    @io.use
    async def login(socket: Any) -> None: ...

    @io.on("report", thread=True)
    def report(socket: Any) -> None: ...

    @io.on("search", concurrent=True)
    async def search(socket: Any, words: str) -> None: ...

    io.on("*")(lambda socket, event, *args: None)
    io.on_server("ping")(lambda: None)
    io.of("/chat", Chat)
    io.of(re.compile("^/room-"))
    io.of("/room-1")  # a child has the handlers of its parent
    root, chat, rooms = look(io).as_dict()["namespaces"]
    assert (root["name"], root["dynamic"], root["class"]) == ("/", False, "Namespace")
    place = {"file": __file__, "line": login.__code__.co_firstlineno}
    flags = {"async": True, "concurrent": False, "thread": False}
    assert root["middleware"] == [{"event": "middleware", "function": "login", **place, **flags}]
    shown = [
        (one["event"], one["function"], one["async"], one["concurrent"], one["thread"]) for one in root["handlers"]
    ]
    assert shown == [
        ("report", "report", False, False, True),
        ("search", "search", True, True, False),
        ("*", "<lambda>", False, False, False),
    ]
    assert [one["event"] for one in root["server_handlers"]] == ["ping"]
    assert (chat["name"], chat["class"], chat["handlers"][0]["function"]) == ("/chat", "Chat", "on_say")
    assert (rooms["name"], rooms["dynamic"], rooms["handlers"]) == ("^/room-", True, [])


def test_options_say_whence_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that differ from their defaults; a broker's password is shown to nobody."""
    monkeypatch.setenv("SHOAL_PING_INTERVAL", "20")
    monkeypatch.setenv("SHOAL_BROKER", "memory://:secret@chat")
    io = Server(max_payload=5)
    io.on("say")(lambda socket: None)
    environment = {"SHOAL_PING_INTERVAL": "20", "SHOAL_BROKER": "memory://:secret@chat"}
    report = look(io, environment=environment)
    found = {option.name: (option.value, option.default, option.source) for option in report.options}
    assert found == {
        "ping_interval": (20.0, 25.0, "environment"),
        "max_payload": (5, 1_000_000, "code"),
        "broker": ("memory://chat", "memory://", "environment"),
    }
    assert "secret" not in str(report.as_dict())


def test_every_code_and_every_key_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    known = set(re.findall(r'Finding\(\s*"([\w-]+)"', FINDINGS.read_text(encoding="utf-8")))
    assert len(known) > 15
    assert {code for code in known if f"| `{code}` |" not in text} == set()
    report = look(make()).as_dict()
    assert [key for key in report if f"`{key}`" not in text] == []
    inner = {**report["broker"], **report["namespaces"][0], **report["namespaces"][0]["handlers"][0]}
    assert [key for key in inner if f"`{key}`" not in text] == []
