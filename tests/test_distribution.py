"""What `make dist` builds can be installed where nothing of this tree is, and runs there.

The empty environment gets copies of the packages that the wheel's metadata asks for, and no others, so that pip needs
no network, and what is used and not declared is missing.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.ports import free_port
from tests.requirements import ROOT, missing
from tests.servers import ServerProcess, tracebacks

from shoal.http.client_files import NAMES

PACKAGE = ROOT / "src" / "shoal"
CLIENT = PACKAGE / "http" / "client"


def run(argv: Sequence[str | Path], cwd: Path = ROOT) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Built:
    """What one run of the script left."""

    sdist: Path
    wheel: Path

    def files(self) -> dict[str, bytes]:
        """The contents of the wheel."""
        return contents(self.wheel)

    def metadata(self) -> importlib.metadata.PackageMetadata:
        [name] = [name for name in self.files() if name.endswith(".dist-info/METADATA")]
        return importlib.metadata.PathDistribution(zipfile.Path(self.wheel, f"{Path(name).parent}/")).metadata  # type: ignore[arg-type]


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    if not (CLIENT / "LICENSE.txt").is_file():
        missing("the browser client was not fetched (make programs)")
    folder = tmp_path_factory.mktemp("dist")
    run([ROOT / "scripts" / "dist", folder])
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def test_the_wheel_is_the_same_from_the_sdist_and_from_the_tree(built: Built, tmp_path: Path) -> None:
    run([sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, "."])
    [direct] = tmp_path.glob("*.whl")
    assert contents(direct) == built.files()


def test_the_wheel_has_the_whole_package_and_nothing_else(built: Built) -> None:
    """The marker of typed packages and the browser client among it."""
    here = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    expected = {name for name in here if "__pycache__" not in name}
    assert {name for name in built.files() if ".dist-info/" not in name} == expected
    needed = {"shoal/py.typed", "shoal/project/_template/app.py", *(f"shoal/http/client/{name}" for name in NAMES)}
    assert needed <= expected


def test_the_licences_are_in_it(built: Built) -> None:
    """Ours, and that of each npm package that the client's bundles were made from."""
    files = built.files()
    assert built.metadata()["License-Expression"] == "MIT"
    assert files[f"shoal-{built.metadata()['Version']}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    text = files["shoal/http/client/LICENSE.txt"].decode()
    sources = [
        source
        for name in NAMES
        if name.endswith(".map")
        for source in json.loads(files[f"shoal/http/client/{name}"])["sources"]
    ]
    places = {re.sub(r"^(\.\./)+(node_modules/)?", "", source).partition("/")[0] for source in sources}
    assert {"build", "engine.io-client", "socket.io-parser", "notepack.io"} <= places
    renamed = {"build": "socket.io-client", "socket.io-component-emitter": "@socket.io/component-emitter"}
    packages = {renamed.get(place, place) for place in places}
    sections = text.split("\n---- ")[1:]
    assert {section.split()[0] for section in sections} == packages
    assert all("permission" in section.lower() for section in sections)


def test_the_sdist_can_be_worked_in(built: Built) -> None:
    """It has what `make` needs, and nothing that was made."""
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "scripts/setup", "package-lock.json", "tests/test_distribution.py", "docs/index.md"} <= names
    made = (".venv", "node_modules", "build", "dist", ".shoal", ".mypy_cache", ".git/")
    assert [name for name in names if name.startswith(made) or "__pycache__" in name] == []


def test_the_extra_named_all_is_all(built: Built) -> None:
    metadata = built.metadata()
    extras = set(metadata.get_all("Provides-Extra") or ())
    assert {"redis", "local", "all"} <= extras
    asked = [Requirement(line) for line in metadata.get_all("Requires-Dist") or ()]

    def needed(extra: str) -> set[str]:
        return {
            f"{each.name}{sorted(each.extras)}"
            for each in asked
            if each.marker and each.marker.evaluate({"extra": extra})
        }

    assert needed("all") == set().union(*map(needed, extras - {"all"}))
    assert needed("redis") < needed("local")


# ---- installed


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and what it asks for, and a folder that is not this tree."""

    python: Path
    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run its Python, with nothing else on PATH."""
        argv = [self.python, *arguments]
        return subprocess.run(
            argv, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": str(self.python.parent), "HOME": str(self.folder), "COLUMNS": "500"}


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("elsewhere")
    place = folder / "environment"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    library = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    for name in closure(built.metadata().get_all("Requires-Dist") or ()):
        copy(name, library)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run([*pip, "install", "--quiet", "--no-index", built.wheel])
    run([*pip, "check"])
    return Installed(python, folder)


def closure(lines: Sequence[str]) -> set[str]:
    """The names of the packages that requirements need, with what those need."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        wanted = waiting.pop()
        if wanted.name not in found and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            found.add(wanted.name)
            assert not wanted.extras, f"{wanted}: this test follows no extras"
            waiting += map(Requirement, importlib.metadata.requires(wanted.name) or ())
    return found


def copy(name: str, library: Path) -> None:
    """Copy an installed package, but for its commands."""
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (library / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(distribution.locate_file(file)), library / file)


def test_it_tells_its_version(installed: Installed, built: Built) -> None:
    done = installed.run("-m", "shoal", "--version")
    assert done.stdout == f"shoal {built.metadata()['Version']}\n", done.stderr


def test_every_module_is_imported_with_what_is_declared(installed: Installed) -> None:
    """But the broker's, whose driver is an extra."""
    program = """
import importlib, pathlib, pkgutil, shoal

assert pathlib.Path(shoal.__file__).is_relative_to(pathlib.Path().resolve()), shoal.__file__
count = 0
for module in pkgutil.walk_packages(shoal.__path__, "shoal."):
    if module.name != "shoal.__main__":
        try:
            importlib.import_module(module.name)
            count += 1
        except ModuleNotFoundError as error:
            assert error.name.partition(".")[0] in ("redis", "hiredis"), error
print(count)
"""
    done = installed.run("-W", "error", "-c", program)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_a_server_runs_and_gives_the_browser_its_client(installed: Installed) -> None:
    (installed.folder / "chat.py").write_text(
        "from shoal import Server\n\nio = Server()\n\n\n@io.on('hello')\ndef hello(socket, name):\n    return name\n"
    )
    port = free_port()
    argv = [str(installed.python.with_name("shoal")), "serve", "chat:io", "--port", str(port)]
    # PYTHONPATH and the like would lead back into this tree.
    server = ServerProcess(
        argv, port, {name: "" for name in os.environ if name.startswith("PYTHON")}, cwd=installed.folder
    )
    try:
        server.wait_until_up()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{server.url}/socket.io/socket.io.min.js", timeout=10) as answer:
            assert answer.read() == (CLIENT / "socket.io.min.js").read_bytes()
        with opener.open(f"{server.url}/socket.io/?EIO=4&transport=polling", timeout=10) as answer:
            assert answer.read().startswith(b'0{"sid":')
        log = server.log()
        server.stop()
        assert not tracebacks(log), log
    finally:
        server.close()


def test_a_cluster_says_what_is_missing(installed: Installed) -> None:
    """In one line, and what to do about it."""
    done = installed.run("-m", "shoal", "up", "--balancer", "kernel", "--port", str(free_port()))
    assert done.returncode == 1
    assert "no broker" in done.stderr
    assert "pip install 'shoal[local]'" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_broker_says_which_extra_it_needs(installed: Installed) -> None:
    done = installed.run("-m", "shoal", "emit", "hello", "--broker", "redis://127.0.0.1:1")
    assert done.returncode == 1
    assert "pip install 'shoal[redis]'" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
