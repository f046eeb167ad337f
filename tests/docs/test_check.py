"""`shoal check` with the frameworks that people have: it finds the server, and nothing odd about an example."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from tests.docs.running import EXAMPLES

from shoal import Server
from shoal.inspection import examine


def check(folder: Path, target: str, **environment: str) -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
    argv = [sys.executable, "-m", "shoal", "check", target, "--json"]
    result = subprocess.run(argv, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, check=False)
    report = json.loads(result.stdout)
    assert result.returncode == (0 if report["ok"] else 1)
    return report


def test_nothing_is_odd_about_an_example() -> None:
    folder = EXAMPLES / "tutorial" / "07_two_servers"
    report = check(folder, "app:app")
    assert (report["behind"], report["problems"], report["notes"]) == ("fastapi.FastAPI", [], [])
    handlers = report["namespaces"][0]["handlers"]
    assert "say" in {handler["event"] for handler in handlers}
    assert {handler["file"] for handler in handlers} == {str(folder / "app.py")}


def test_django_in_debug_mode_is_noted(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from django.conf import settings\n"
        "settings.configure(DEBUG=True, ROOT_URLCONF='app', SECRET_KEY='x')\n"
        "import django\ndjango.setup()\n"
        "from django.core.asgi import get_asgi_application\n"
        "from shoal import Server\n"
        "urlpatterns = []\nio = Server()\nio.on('connect')(lambda socket: None)\n"
        "app = io.asgi(get_asgi_application())\n"
    )
    report = check(tmp_path, "app:app")
    assert (report["ok"], report["behind"]) == (True, "django.ASGIHandler")
    assert [note["code"] for note in report["notes"]] == ["application-debug"]


def io_with_a_handler() -> Server:
    io = Server(broker="memory://")
    io.on("say")(lambda socket: None)
    return io


def mounted_in_fastapi() -> Any:
    web = FastAPI()
    web.add_middleware(CORSMiddleware)
    web.mount("/live", io_with_a_handler())
    return web


def mounted_in_starlette_twice() -> Any:
    inner = Starlette(routes=[Mount("/live", io_with_a_handler(), middleware=[Middleware(CORSMiddleware)])])
    return CORSMiddleware(Starlette(routes=[Mount("/api", inner)]))


@pytest.mark.parametrize(
    ("make", "endpoint"),
    [(mounted_in_fastapi, "/live/socket.io/"), (mounted_in_starlette_twice, "/api/live/socket.io/")],
)
def test_a_mounted_server_is_found(make: Any, endpoint: str) -> None:
    report = asyncio.run(examine(f"{__name__}:app", make(), environment={}))
    assert (report.kind, report.endpoint, report.ok) == ("server", endpoint, True)
    assert [note.code for note in report.notes] == ["no-fast-lane"]
