"""`shoal serve`: the options that uvicorn has too, as a process that is asked, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.brokers import Broker
from tests.certificates import make_certificate
from tests.ports import free_port
from tests.requirements import need
from tests.serve_process import Serve
from tests.servers import HOST, ROOT, die_with_parent
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from shoal.cli import main
from shoal.errors import ConfigurationError
from shoal.serving.listening import listen, reserve

SHOP = """
import os, sys
from shoal import Server

def make():
    io = Server()

    @io.asgi
    async def shop(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = f"{os.environ['GREETING']} {os.environ['KEPT']} {io.node}"
        await send({"type": "http.response.body", "body": body.encode()})

    return shop
"""


def test_a_factory_in_a_directory_with_a_file_of_variables_over_tls(tmp_path: Path) -> None:
    """What is in the environment already stays; the node's name may come from the file, too."""
    certificate, key = make_certificate(tmp_path, password="secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "shop.py").write_text(SHOP)
    (tmp_path / "shop.env").write_text('# variables\nGREETING="good day"\nKEPT=lost\nSHOAL_NODE=till\n')
    options = ["--factory", "--app-dir", "elsewhere", "--env-file", "shop.env", "--ssl-certfile", str(certificate)]
    options += ["--ssl-keyfile", str(key), "--ssl-keyfile-password", "secret"]
    with Serve(tmp_path, "shop:make", *options, environment={"KEPT": "kept"}) as server:
        server.wait_for(f"(?m)^till is listening on port: {server.port}$")
        verify = ssl.create_default_context(cafile=certificate)
        answer = httpx.get(f"https://{server.url}/", verify=verify, trust_env=False)
        assert answer.text == "good day kept till"


NGINX = """
{user}
daemon off; error_log stderr warn; pid {folder}/nginx.pid; events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {site}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, path: Path) -> Iterator[str]:
    """nginx as deploy/ has it, in front of a Unix socket: its host and port."""
    where = f"{HOST}:{free_port()}"
    site = (ROOT / "deploy" / "nginx" / "unix-socket.conf").read_text(encoding="utf-8")
    for old, new in (("/run/shoal/io.sock", str(path)), ("listen 80", f"listen {where}")):
        assert old in site
        site = site.replace(old, new)
    user = "user root root;" if os.geteuid() == 0 else ""  # else nobody, for whom pytest's folders are closed
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, site=site, user=user), encoding="utf-8")
    command = [need("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent)
    try:
        yield where
    finally:
        process.terminate()
        process.wait()


def test_a_unix_socket_behind_nginx(tmp_path: Path) -> None:
    """Its name is the node's, and the client's address is what nginx says."""
    path = tmp_path / "shop.sock"
    with Serve(tmp_path, "tests.apps.cluster:io", "--uds", str(path)) as server, nginx(tmp_path, path) as front:
        server.wait_for(f"(?m)^shop is listening on socket: {path}$")
        server.until(lambda: _is_ready(f"http://{front}/readyz"))
        asyncio.run(asyncio.wait_for(meet(f"ws://{front}/socket.io/?EIO=4&transport=websocket"), 20))
        server.process.terminate()
        server.until(lambda: server.process.poll() is not None)
        assert not path.exists()


def _is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).status_code == 200
    return False


async def meet(url: str) -> None:
    async with connect(url, proxy=None, additional_headers={"X-Forwarded-For": "192.0.2.7"}) as client:
        assert str(await client.recv()).startswith("0{")
        await client.send("40")
        assert str(await client.recv()).startswith("40{")
        assert await client.recv() == '42["welcome","shop"]'
        await client.send('420["address"]')
        assert await client.recv() == '430["192.0.2.7"]'


MOUNTED = """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from shoal import Server

class Told(Server):
    async def close(self):
        await super().close()
        print("it is closed")

io = Told()

@asynccontextmanager
async def lifespan(app):
    await io.start()
    yield
    await io.close()

app, plain = FastAPI(lifespan=lifespan), FastAPI()
for each in (app, plain):
    each.mount("/live", io)
"""


@pytest.mark.parametrize(("name", "times"), [("plain", 1), ("app", 2)])
def test_a_mounted_server_begins_with_the_command_and_ends_with_it(tmp_path: Path, name: str, times: int) -> None:
    """It is in the cluster before anybody asks it, also where the application starts and closes it itself."""
    (tmp_path / "site_app.py").write_text(MOUNTED)
    with Broker() as broker, Serve(tmp_path, f"site_app:{name}", "--broker", broker.url) as server:
        server.wait_until_up().wait_for(f"broker {broker.url}: connected")
        asyncio.run(asyncio.wait_for(is_sent_away(f"ws://{server.url}/live/socket.io/", server), 20))
        server.until(lambda: server.process.poll() is not None)
        assert server.text.count("it is closed") == times
        assert "Traceback" not in server.text
        assert "ERROR" not in server.text


async def is_sent_away(url: str, server: Serve) -> None:
    async with connect(f"{url}?EIO=4&transport=websocket", proxy=None) as client:
        assert str(await client.recv()).startswith("0{")
        server.process.terminate()
        with pytest.raises(ConnectionClosed):
            await client.recv()


def test_a_port_is_held_for_workers_of_which_none_runs_yet() -> None:
    """A second command that begins meanwhile is refused; workers may listen."""
    port = free_port()
    with reserve(HOST, port):
        with pytest.raises(ConfigurationError, match="Address already in use"), reserve(HOST, port):
            pass
        with listen(HOST, port, shared=True), listen(HOST, port, shared=True):
            pass


def test_connections_of_a_server_before_do_not_hold_up_workers() -> None:
    port = free_port()
    with listen(HOST, port) as listener, socket.create_connection((HOST, port)) as client:
        listener.setblocking(True)
        listener.accept()[0].close()  # the side that closes first keeps it for a minute
        assert client.recv(1) == b""
    with reserve(HOST, port), listen(HOST, port, shared=True):
        pass


@pytest.fixture
def taken() -> object:
    with socket.create_server((HOST, 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reload", "--workers", "2"], "--reload runs one process: leave out --workers"),
        (["--reload-dir", "src"], "have no meaning without --reload"),
        (["--reload", "--reload-dir", "no-such-place"], "--reload-dir no-such-place: there is no such directory"),
        (["--workers", "0"], "'--workers'"),
        (["--workers", "2", "--shared-port", "1"], "--shared-port is for servers that are started one by one"),
        (["--workers", "2", "--ssl-certfile", "c", "--ssl-cert-reqs", "2"], "--ssl-cert-reqs 2 is not for several"),
        (["--workers", "2", "--port", "{taken}"], "cannot listen on 127.0.0.1:{taken}: Address already in use"),
        (["--reload", "--port", "{taken}"], "cannot listen on 127.0.0.1:{taken}: Address already in use"),
        (["--uds", "/no-such-place/x.sock"], "cannot listen on /no-such-place/x.sock: No such file"),
        (["--env-file", "no-such-file"], "cannot read --env-file no-such-file: No such file"),
        (["--app-dir", "no-such-place"], "there is no directory no-such-place"),
        (["--ssl-keyfile", "k"], "ssl_keyfile has no meaning without ssl_certfile"),
        (["--workers", "2", "--ssl-certfile", "no-such-file"], "cannot read ssl_certfile no-such-file: No such file"),
        (["--factory"], "is no factory: it is a Server that wants arguments"),
    ],
)
def test_what_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, taken: str, options: list[str], words: str
) -> None:
    """Before anything is started."""
    monkeypatch.setenv("SHOAL_NODE", "")
    with pytest.raises(SystemExit) as caught:
        main(["serve", "tests.apps.cluster:io", *(option.format(taken=taken) for option in options)])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (1, "")
    assert err.startswith("shoal: ")
    assert err.count("\n") == 1
    assert words.format(taken=taken) in err


NO_WATCH = """
import watchfiles
async def awatch(*directories, **options):
    raise OSError("OS file watch limit reached")
    yield
watchfiles.awatch = awatch
"""


def test_files_that_cannot_be_watched_end_the_command(tmp_path: Path) -> None:
    """In one line, and no server is left."""
    (tmp_path / "shop.py").write_text(SHOP)
    with Serve(tmp_path, "shop:make", "--factory", "--reload", prelude=NO_WATCH) as server:
        assert server.refusal() == "shoal: cannot watch .: OS file watch limit reached"
        assert "Traceback" not in server.text


@pytest.mark.parametrize(
    ("options", "missing", "words"),
    [
        (["--reload"], "watchfiles", "--reload needs watchfiles: run pip install 'shoal[reload]'"),
        (["--env-file", "x"], "dotenv", "--env-file needs python-dotenv: run pip install 'shoal[dotenv]'"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], missing: str, words: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    monkeypatch.setenv("SHOAL_NODE", "")
    with pytest.raises(SystemExit):
        main(["serve", "tests.apps.cluster:io", *options])
    assert capsys.readouterr().err == f"shoal: {words}\n"
