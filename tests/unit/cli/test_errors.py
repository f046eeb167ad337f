"""Whatever is wrong with a command line ends as one line on stderr and exit code 1."""

from __future__ import annotations

import io

import pytest

from shoal.cli import main
from shoal.cli.console import use_colour
from shoal.cli.emit import read_argument


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frob"], "no such command 'frob'"),
        (["up", "--bogus"], "no such option: --bogus"),
        (["up", "--servers", "many"], "'--servers'"),
        (["up", "--ports", "1111,x"], "'1111,x'"),
        (["up", "--ports", "70000"], "70000 is no port"),
        (["up", "--balancer", "apache"], "--balancer apache"),
        (["up", "--log-level", "loud"], "'loud' is not one of"),
        (["up", "--broker", "nowhere"], "broker 'nowhere' is no URL"),
        (["serve"], "missing argument"),
        (["serve", "no_colon"], "write module:attribute"),
        (["serve", "shoal.errors:nothing"], "shoal.errors has no 'nothing'"),
        (["serve", "no_such_module:io"], "there is no module 'no_such_module'"),
        (["serve", "shoal.errors:ShoalError"], "the class ShoalError"),
        (["balancer", "apache"], "'apache' is not one of nginx, haproxy"),
        (["balancer", "nginx", "--servers", "ws1"], "'ws1' is no address"),
        (["balancer", "nginx", "--servers", "a.b=ws1:1"], "'a.b' cannot stand in a session's id"),
        (["balancer", "nginx", "--servers", "one=ws1:1,one=ws2:1"], "two servers are called 'one'"),
        (["balancer", "nginx", "--algorithm", "random"], "--algorithm random: use one of leastconn, roundrobin"),
        (["emit", "x", "{broken"], "'{broken' is no JSON"),
        (["new"], "missing argument"),
        (["new", "../chat"], "'../chat' cannot be the name of an application"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("shoal: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize("command", ["new", "up", "serve", "check", "emit", "balancer"])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, err = run(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert "Usage: shoal " + command in out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in ("new", "up", "serve", "check", "emit", "balancer"):
        assert f" {command} " in out


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert out.startswith("shoal 0.")


def test_the_servers_and_the_port_of_a_balancer_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "balancer", "haproxy", "--servers", "a:1,two=b:1", "--listen", "10.0.0.1:80")
    assert code == 0
    assert "server 1   a:1" in out
    assert "server two b:1" in out
    assert "bind 10.0.0.1:80" in out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("12", 12),
        ("true", True),
        ('"12"', "12"),
        ("hello", "hello"),
        ("hello, you", "hello, you"),
        ("", ""),
    ],
)
def test_an_argument_is_json_where_it_is_json_and_text_where_it_is_not(text: str, expected: object) -> None:
    assert read_argument(text) == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        (None, {}, True),
        (None, {"NO_COLOR": "1"}, False),
        (None, {"NO_COLOR": ""}, True),
        (None, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (None, {"TERM": "dumb"}, False),
        (True, {"NO_COLOR": "1"}, True),
        (False, {}, False),
    ],
)
def test_colour_follows_the_conventions_of_terminals(
    asked: bool | None, environment: dict[str, str], expected: bool
) -> None:
    assert use_colour(Terminal(), asked, environment) is expected


def test_a_file_gets_colours_only_by_force() -> None:
    assert use_colour(io.StringIO(), None, {}) is False
    assert use_colour(io.StringIO(), None, {"FORCE_COLOR": "1"}) is True
