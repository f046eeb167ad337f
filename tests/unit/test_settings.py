"""Options: defaults, environment, checks; one place for their names and units."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal import ConfigurationError, Server
from shoal.settings import EngineSettings, ServerSettings

NUMBERS = [f.name for f in dataclasses.fields(ServerSettings) if f.type in ("int", "float")]
POSITIVE = ["ping_interval", "ping_timeout", "upgrade_timeout", "max_payload", "max_outbox", "max_waiting_events"]


def load(environment: dict[str, str] | None = None, **options: Any) -> ServerSettings:
    return ServerSettings.load(options, environment or {})


def test_the_defaults_are_nodes() -> None:
    """Where engine.io 6.6 and socket.io 4.8 have the option."""
    it = load()
    assert (it.path, it.ping_interval, it.ping_timeout, it.upgrade_timeout) == ("/socket.io/", 25.0, 20.0, 10.0)
    assert (it.max_payload, it.connect_timeout, it.transports) == (1_000_000, 45.0, ("polling", "websocket"))
    assert not it.http_compression
    assert not it.per_message_deflate
    assert EngineSettings().path == "/engine.io/"


def test_every_option_is_explained() -> None:
    """Each field has a docstring behind it, with its unit or its reason."""
    for kind in (EngineSettings, ServerSettings):
        source = inspect.getsource(kind)
        for name in kind.__annotations__:
            if name == "path" and kind is ServerSettings:
                continue
            assert re.search(rf"\n    {name}: [^\n]+\n    \"\"\"[A-Z]", source), name


def test_arguments_come_before_the_environment_before_the_defaults() -> None:
    environment = {"SHOAL_PING_INTERVAL": "3", "SHOAL_NODE": "from environment"}
    it = load(environment, node="argument")
    assert (it.node, it.ping_interval, it.ping_timeout) == ("argument", 3.0, 20.0)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PING_INTERVAL", "2.5", 2.5),
        ("MAX_PAYLOAD", "1000", 1_000),
        ("ALLOW_UPGRADES", "no", False),
        ("SERVE_CLIENT", "TRUE", True),
        ("HTTP_COMPRESSION", " on ", True),
        ("PER_MESSAGE_DEFLATE", "0", False),
        ("TRANSPORTS", "polling, websocket", ("polling", "websocket")),
        ("TRANSPORTS", "websocket", ("websocket",)),
        ("TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.1,", ("10.0.0.0/8", "127.0.0.1")),
        ("CORS_ORIGINS", "*", "*"),
        ("CORS_ORIGINS", "http://a", "http://a"),
        ("CORS_ORIGINS", "http://a, http://b", ("http://a", "http://b")),
        ("CORS_ORIGINS", "", None),
        ("COOKIE", "io", "io"),
        ("COOKIE", "", None),
        ("BROKER", "redis://h:1/2", "redis://h:1/2"),
        ("OUTBOX_POLICY", "drop-volatile", "drop-volatile"),
    ],
)
def test_the_environment_is_read_as_the_fields_type(name: str, text: str, value: Any) -> None:
    assert getattr(load({f"SHOAL_{name}": text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("PING_INTERVAL", "soon", "a number"),
        ("MAX_PAYLOAD", "1.5", "a whole number"),
        ("SERVE_CLIENT", "maybe", "1 or 0, true or false"),
        ("MAX_ROOMS", "", "a whole number"),
    ],
)
def test_nonsense_in_the_environment_is_refused_by_its_name(name: str, text: str, wanted: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SHOAL_{name}='{text}': must be {wanted}"):
        load({f"SHOAL_{name}": text})


def test_unknown_options_are_refused_and_the_known_ones_told() -> None:
    """The environment may hold variables that are somebody else's."""
    with pytest.raises(ConfigurationError, match=r"unknown option 'colour'; the options are .*ping_interval"):
        load(colour="red")
    load({"SHOAL_COLOUR": "red", "SHOAL_TEST_REQUIRE": "all"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_paylod", "max_payload"),
        ("pingInterval", "ping_interval"),
        ("cors_allowed_origins", "cors_origins"),
        ("max_http_buffer_size", "max_payload"),
        ("client_manager", "broker"),
    ],
)
def test_an_option_that_is_nearly_one_or_another_servers_is_answered_with_its_name_here(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^unknown option '{name}'; did you mean '{meant}'\\?$"):
        load(**{name: 1})


def test_an_engine_is_not_offered_an_option_of_servers() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown option 'client_manager'; the options are .*ping_interval"):
        EngineSettings.load({"client_manager": 1})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "1", None, True, [1]])
def test_a_number_must_be_one(name: str, value: Any) -> None:
    """Not negative, not infinite, not text, not a truth."""
    with pytest.raises(ConfigurationError, match=name):
        load(**{name: value})


@pytest.mark.parametrize("name", ["max_head", "max_payload", "max_waiting_events"])
def test_a_count_is_whole(name: str) -> None:
    """However it is written: sizes are compared with it, and data is cut by it."""
    value = getattr(load(**{name: 1e5}), name)
    assert (value, type(value)) == (100_000, int)
    with pytest.raises(ConfigurationError, match=f"{name}=1.5: must be a whole number"):
        load(**{name: 1.5})
    assert load(ping_interval=1.5).ping_interval == 1.5


@pytest.mark.parametrize("name", POSITIVE)
def test_some_must_be_more_than_nothing(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load(**{name: 0})


@pytest.mark.parametrize(
    "options",
    [
        {"max_payload": 2**53},  # clients are told it, in a number of JavaScript's
        {"transports": ()},
        {"transports": ("smoke",)},
        {"transports": "polling websocket"},
        {"outbox_policy": "wait"},
        {"parser": "xml"},
        {"channel_prefix": "a#b"},
        {"channel_prefix": "a b"},
        {"trusted_proxies": "10.0.0.0/99"},
        {"trusted_proxies": ("127.0.0.1", "x/8")},
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        load(**options)


@given(st.text(st.sampled_from("/ab.-"), max_size=8))
def test_a_path_begins_and_ends_with_one_slash(path: str) -> None:
    found = load(path=path).path
    assert found.startswith("/")
    assert found.endswith("/")
    assert found.strip("/") == path.strip("/")


def test_one_value_stands_for_a_list_of_one() -> None:
    it = load(transports="websocket", trusted_proxies="*", cors_headers="x-a", cors_origins=["http://a"])
    assert (it.transports, it.trusted_proxies, it.cors_headers) == (("websocket",), ("*",), ("x-a",))
    assert it.cors_origins == ("http://a",)


def test_settings_do_not_change() -> None:
    """Whoever holds them sees what the server does."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().node = "x"  # type: ignore[misc]
    assert Server(ping_interval=3).settings.ping_interval == 3


@pytest.mark.parametrize(
    "origin",
    [
        "https://chat.example.com/",
        "https://chat.example.com/chat",
        "chat.example.com",
        "localhost:3000",
        "https://*.a.b",
    ],
)
def test_what_no_browser_sends_as_its_origin_is_refused(origin: str) -> None:
    """Else nobody could come, and nothing would say why."""
    for allowed in (origin, [origin], ["https://a", origin]):
        with pytest.raises(ConfigurationError, match=re.escape(f"cors_origins: {origin!r} is no origin")):
            load(cors_origins=allowed)
    with pytest.raises(ConfigurationError, match="is no origin"):
        load({"SHOAL_CORS_ORIGINS": f"https://a,{origin}"})


def test_origins_of_browsers_and_of_what_is_nearly_one_are_taken() -> None:
    origins = ("http://localhost:3000", "https://[::1]:8443", "capacitor://localhost", "file://", "null")
    assert load(cors_origins=list(origins)).cors_origins == origins
    assert load(cors_origins=None).cors_origins is None
    assert load(cors_origins=[]).cors_origins == ()


def test_a_list_with_a_star_in_it_is_the_star() -> None:
    """As other frameworks write it."""
    assert load(cors_origins=["*"]).cors_origins == "*"
    assert load({"SHOAL_CORS_ORIGINS": "https://a,*"}).cors_origins == "*"
