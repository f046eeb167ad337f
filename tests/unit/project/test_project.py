"""A new application is written whole, under its name, or not at all."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

from shoal.errors import ConfigurationError
from shoal.project import create_project

FILES = {"Dockerfile", "README.md", "app.py", "index.html", "pyproject.toml", "test_app.py", "web.py"}


def refusal(name: str, parent: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        create_project(name, parent)
    return str(caught.value)


def test_all_files_are_there_with_the_name_in_them(tmp_path: Path) -> None:
    folder = create_project("My_Chat", tmp_path)
    assert folder == tmp_path / "My_Chat"
    assert {file.name for file in folder.iterdir()} == FILES
    texts = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert [name for name, text in texts.items() if re.search(r"__[A-Z]+__", text)] == []
    assert "<title>My_Chat</title>" in texts["index.html"]
    assert texts["README.md"].startswith("# My_Chat\n")
    assert "docker build -t my-chat ." in texts["Dockerfile"]
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    assert project["name"] == "My_Chat"
    assert f"shoal>={version('shoal')}" in project["dependencies"]


def test_the_readme_names_every_file(tmp_path: Path) -> None:
    text = (create_project("chat", tmp_path) / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\S+)` \|", text, re.M)) == FILES - {"README.md", "pyproject.toml"}


def test_the_image_has_the_files_that_the_application_reads(tmp_path: Path) -> None:
    """All but its tests and what is for people: the Dockerfile copies what is there, and nothing is left out."""
    folder = create_project("chat", tmp_path)
    [copied] = re.findall(r"^COPY ((?!--).+) /app/$", (folder / "Dockerfile").read_text(encoding="utf-8"), re.M)
    assert set(copied.split()) == FILES - {"Dockerfile", "README.md", "pyproject.toml", "test_app.py"}


@pytest.mark.parametrize("name", ["c", "chat2", "my-chat", "my_chat", "C" * 64])
def test_a_usual_name_is_taken(tmp_path: Path, name: str) -> None:
    assert (create_project(name, tmp_path) / "app.py").is_file()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/tmp", "-x", "2chat", "chat-", "chat_", "my chat", "chât", "c" * 65, "chat\n"]
)
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    assert "cannot be the name of an application" in refusal(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["shoal", "Shoal"])
def test_shoals_own_name_is_refused(tmp_path: Path, name: str) -> None:
    assert "cannot be called 'shoal'" in refusal(name, tmp_path)


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "chat").mkdir()
    assert {file.name for file in create_project("chat", tmp_path).iterdir()} == FILES


@pytest.mark.parametrize("name", ["notes.txt", ".git"])
def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / name).write_text("mine")
    assert refusal("chat", tmp_path).endswith("chat is not empty: choose another name, or empty it first")
    assert [file.name for file in (tmp_path / "chat").iterdir()] == [name]


def test_a_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "chat").write_text("mine")
    assert refusal("chat", tmp_path).endswith("chat: File exists")
    assert (tmp_path / "chat").read_text() == "mine"


def test_what_cannot_be_written_whole_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full the folder is gone again, and the error says why."""
    written: list[str] = []
    write_text = Path.write_text

    def full(self: Path, data: str, encoding: str | None = None) -> int:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(self.name)
        return write_text(self, data, encoding)

    monkeypatch.setattr(Path, "write_text", full)
    assert refusal("chat", tmp_path).endswith("chat: No space left on device")
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []


def test_the_template_is_part_of_the_package() -> None:
    """So it is in the wheel, which holds the package as it is."""
    template = files("shoal.project").joinpath("_template")
    assert {file.name for file in template.iterdir() if file.is_file()} == FILES
