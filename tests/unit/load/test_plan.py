"""A load test that cannot be carried out is refused with one clear line before anything is opened."""

from __future__ import annotations

import pytest

from shoal.cli import main
from shoal.load.plan import Plan, check

URL = "http://127.0.0.1:1"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ftp://127.0.0.1"], "not the URL of a server"),
        (["127.0.0.1:1111"], "not the URL of a server"),
        (["http://127.0.0.1:99999"], "not the URL of a server"),
        ([URL + "/chat"], "must end after the port"),
        ([URL, "--path", "socket.io"], "--path must begin and end with a slash"),
        ([URL, "--namespace", "admin"], "--namespace must begin with a slash"),
        ([URL, "--clients", "0"], "--clients must be from 1 to 20,000, not 0"),
        ([URL, "--clients", "20001"], "--clients must be from 1 to 20,000"),
        ([URL, "--publishers", "101"], "--publishers must be from 1 to 100"),
        ([URL, "--rooms", "101"], "--rooms must be from 1 to 100"),
        ([URL, "--payload", "10"], "--payload must be from 38 to 900,000"),
        ([URL, "--duration", "3601"], "--duration must be from 0.1 to 3,600"),
        ([URL, "--duration", "nan"], "--duration must be"),
        ([URL, "--rate", "0"], "--rate must be"),
        ([URL, "--in-flight", "0"], "--in-flight must be"),
        ([URL, "--rate", "5", "--in-flight", "2"], "choose one of --rate and --in-flight"),
        ([URL, "--mode", "echo", "--rooms", "2"], "--rooms has no meaning with --mode echo"),
        ([URL, "--mode", "echo", "--publishers", "2"], "--publishers has no meaning"),
        ([URL, "--mode", "shout"], "'--mode'"),
        ([URL, "--auth", "{"], "--auth is no JSON"),
        ([URL, "--auth", "1"], "--auth must be a JSON object"),
        ([URL, "--clients", "20000", "--publishers", "20000"], "at most 5,000,000"),
        ([], "missing argument"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("shoal: ")
    assert err.count("\n") == 1
    assert words in err


def test_help_describes_what_a_server_must_do(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for word in ("chat-message", "echo", "join", "--in-flight", "--rate", "--json"):
        assert word in out


def a_plan(url: str = URL, mode: str = "broadcast", clients: int = 10, rooms: int | None = None) -> Plan:
    return check(
        Plan(
            url=url,
            path="/socket.io/",
            namespace="/",
            auth=None,
            transport="websocket",
            mode=mode,  # type: ignore[arg-type]
            clients=clients,
            publishers=clients,
            rooms=rooms,
            event="chat",
            reply_event="chat-message",
            join_event="join",
            rate=None,
            in_flight=1,
            payload=64,
            duration=1,
            warmup=0,
            ramp=0,
            verify=True,
        )
    )


def test_who_receives_from_whom_follows_from_the_rooms() -> None:
    """Everybody without rooms, one's own room with them, oneself in mode echo."""
    assert a_plan().receivers(3) == 10
    assert [a_plan(rooms=3).receivers(i) for i in range(4)] == [4, 3, 3, 4]
    assert a_plan(mode="echo").receivers(3) == 1


def test_the_port_follows_from_the_scheme() -> None:
    assert a_plan("https://example.org").address == ("example.org", 443)
    assert a_plan("http://[::1]:8080/").address == ("::1", 8080)
    assert a_plan("https://example.org").secure
