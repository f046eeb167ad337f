"""What docs/testing.md shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.surface import shown, specimens

from shoal import Server

PAGE = Path(__file__).resolve().parents[3] / "docs" / "testing.md"


def block(words: str) -> str:
    """The page's Python block that contains some words."""
    [found] = [text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if words in text]
    return found


def namespace_of(words: str, **given: Any) -> dict[str, Any]:
    names: dict[str, Any] = given
    exec(compile(block(words), str(PAGE), "exec"), names)
    return names


def beginning() -> dict[str, Any]:
    return namespace_of("test_everybody_gets_what_one_says")


def test_the_first_example_passes() -> None:
    beginning()["test_everybody_gets_what_one_says"]()


def test_the_example_of_the_clock_passes() -> None:
    """With a server that sends idle clients away."""
    import asyncio

    io = Server()

    @io.on("connect")
    def connect(socket: Any) -> None:
        asyncio.get_running_loop().call_later(600, socket.disconnect)

    given = beginning() | {"io": io}
    namespace_of("test_an_idle_player_is_sent_away", **given)["test_an_idle_player_is_sent_away"]()


def test_the_example_of_the_cluster_passes() -> None:
    def make_server(**options: Any) -> Server:
        io = Server(**options)
        io.on("chat")(lambda socket, text: io.emit("chat-message", text))
        return io

    given = beginning() | {"make_server": make_server}
    namespace_of("test_messages_cross_servers", **given)["test_messages_cross_servers"]()


def test_the_table_of_the_client_names_what_there_is() -> None:
    """Each method and attribute of the page's table exists."""
    from shoal.testing import TestClient

    [client] = [specimen.value for specimen in specimens() if isinstance(specimen.value, TestClient)]
    names = set(re.findall(r"^\| `(?:await |@)?client\.(\w+)", PAGE.read_text(), re.MULTILINE))
    assert names - set(shown(client)) == set()
