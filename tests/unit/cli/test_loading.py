"""`module:attribute` becomes an ASGI application, or one line that says why it does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shoal.cli.loading import load_app
from shoal.errors import ConfigurationError


def refusal(target: str, *, directory: str = "", factory: bool = False) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_app(target, directory=directory, factory=factory)
    return str(caught.value)


def test_an_application_is_found_in_the_working_directory(here: Path) -> None:
    (here / "mine.py").write_text("async def app(scope, receive, send): ...\n")
    assert load_app("mine:app").__name__ == "app"


def test_an_attribute_may_have_dots_and_an_application_may_be_an_object(here: Path) -> None:
    (here / "mine.py").write_text(
        "class App:\n    async def __call__(self, scope, receive, send): ...\nclass shop: io = App()\n"
    )
    assert type(load_app("mine:shop.io")).__name__ == "App"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("app = 3", "mine:app is no ASGI application: it is an int"),
        ("class app: ...", "the class app, not an instance of it"),
        ("def app(environ): ...", "the function app that does not take scope, receive and send"),
        ("other = 1", "cannot load mine:app: mine has no 'app'"),
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_what_is_no_application_is_refused_in_words(here: Path, source: str, words: str) -> None:
    (here / "mine.py").write_text(source + "\n")
    assert words in refusal("mine:app")


def test_a_failed_import_says_where_it_failed(here: Path) -> None:
    (here / "mine.py").write_text("\n\nboom\n")
    assert refusal("mine:app").endswith(f"({here / 'mine.py'}, line 3)")


@pytest.mark.parametrize("target", ["mine", "mine:", ":app", ""])
def test_both_halves_of_a_target_are_needed(here: Path, target: str) -> None:
    assert "write module:attribute" in refusal(target)


def test_a_missing_module_is_told_from_one_that_a_module_misses(here: Path) -> None:
    assert refusal("nowhere:app") == "cannot load nowhere:app: there is no module 'nowhere' here"
    assert "no module 'nowhere'" in refusal("nowhere.deep:app")


APPLICATION = "async def app(scope, receive, send): ...\n"


def test_a_folder_of_its_own_is_looked_in_and_the_working_directory_is_not(here: Path) -> None:
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "mine.py").write_text(APPLICATION)
    assert "no module 'mine'" in refusal("mine:app")
    assert load_app("mine:app", directory="elsewhere").__name__ == "app"
    assert str(here / "elsewhere") in sys.path


def test_a_folder_that_is_not_there_is_named(here: Path) -> None:
    assert refusal("mine:app", directory="nowhere") == "cannot load mine:app: there is no directory nowhere"


def test_a_factory_is_called_where_it_is_said_to_be_one(here: Path) -> None:
    (here / "mine.py").write_text(f"{APPLICATION}def make(): return app\n")
    assert load_app("mine:make", factory=True).__name__ == "app"
    assert refusal("mine:make").endswith("that takes nothing: if it makes the application, say --factory")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("make = 3", "mine:make is no factory: it is an int"),
        ("def make(name): ...", "mine:make is no factory: it is the function make that wants arguments"),
        ("def make(): return 3", "mine:make is no ASGI application: it is an int"),
        ("def make(): 1 / 0", "cannot load mine:make: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_factory_is_refused_in_words(here: Path, source: str, words: str) -> None:
    (here / "mine.py").write_text(source + "\n")
    assert words in refusal("mine:make", factory=True)
