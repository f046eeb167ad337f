"""``run()`` and ``await serve()``: the same server, on a loop of its own or on the one that runs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import ssl
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.certificates import make_certificate
from tests.ports import free_port
from tests.servers import HOST, ServerProcess
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed

from shoal import ConfigurationError, Engine, Server
from shoal.serving import run as serving
from shoal.serving.accepting import AT_ONCE

WAIT = 20.0


async def joined(url: str, **options: Any) -> ClientConnection:
    """A client in the namespace ``/``."""
    client = await connect(f"{url}/socket.io/?EIO=4&transport=websocket", proxy=None, **options)
    assert str(await client.recv()).startswith("0{")
    await client.send("40")
    assert str(await client.recv()).startswith("40{")
    return client


class Serving:
    """``io.serve()`` in a task, once it accepts connections."""

    def __init__(self, app: Server | Engine, **options: Any) -> None:
        self.port = free_port()
        self._started = asyncio.Event()
        self.task = asyncio.create_task(app.serve(host=HOST, port=self.port, on_started=self._started.set, **options))

    async def __aenter__(self) -> Serving:
        async with asyncio.timeout(WAIT):
            waiting = asyncio.create_task(self._started.wait())
            await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self.task.done():
                await self.task
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(self.task), WAIT)


def case(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on asyncio's own loop, as an application does that calls ``asyncio.run``."""

    def runs(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    runs.__doc__ = test.__doc__
    runs.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return runs


@case
async def test_it_serves_until_it_is_cancelled() -> None:
    """Cancelled, it closes its connections in order, runs disconnect handlers, and listens no more."""
    io = Server()
    reasons: list[str] = []

    @io.on("disconnect")
    async def gone(socket: Any, reason: str) -> None:
        reasons.append(reason)

    async with Serving(io) as served:
        client = await joined(f"ws://{HOST}:{served.port}")
        io.emit("hello")
        assert await client.recv() == '42["hello"]'
    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert client.close_code == 1000
    assert reasons == ["server shutting down"]
    with pytest.raises(OSError, match="onnect"):
        await asyncio.open_connection(HOST, served.port)


@case
async def test_it_can_be_served_again() -> None:
    """On the same loop, after the first time has ended."""
    io = Server()
    for _ in range(2):
        async with Serving(io) as served:
            client = await joined(f"ws://{HOST}:{served.port}")
            await client.close()


@case
async def test_connections_that_come_while_it_stops_do_not_delay_it() -> None:
    """One comes in each turn of the loop, so some are accepted, but not yet known, when it looks for connections."""
    with contextlib.ExitStack() as stack:
        async with Serving(Server()) as served:
            served.task.cancel()
            began = time.monotonic()
            recent: deque[socket.socket] = deque()
            with contextlib.suppress(ConnectionRefusedError):
                while True:
                    recent.append(stack.enter_context(socket.socket()))
                    recent[-1].connect((HOST, served.port))
                    if len(recent) > 100:
                        recent.popleft().close()
                    await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await served.task
            assert time.monotonic() - began < serving.GRACEFUL_SHUTDOWN


def test_a_crowd_is_taken_many_at_a_time() -> None:
    """On uvloop: the socket is listened at under more descriptors, and under none at the end."""
    uvloop = pytest.importorskip("uvloop")

    def descriptors(listener: os.stat_result) -> int:
        found = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # of the listing itself
                found.append(os.fstat(int(name)).st_ino == listener.st_ino)
        return sum(found)

    async def check() -> None:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server((HOST, 0), backlog=100))
            listener.setblocking(False)
            address, file = listener.getsockname(), os.fstat(listener.fileno())
            async with Serving(Server(), sockets=[listener]):
                assert descriptors(file) == 1
                for _ in range(5 * AT_ONCE):  # they wait: nobody accepts before the loop's next turn
                    stack.enter_context(socket.create_connection(address))
                async with asyncio.timeout(WAIT):
                    while descriptors(file) < AT_ONCE:
                        await asyncio.sleep(0)
                assert descriptors(file) == AT_ONCE
            assert descriptors(file) == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(check())


@case
async def test_an_engine_is_served_as_well() -> None:
    engine = Engine()
    engine.on("message")(lambda session, data: session.send(data))
    async with Serving(engine) as served:
        client = await connect(f"ws://{HOST}:{served.port}/engine.io/?EIO=4&transport=websocket", proxy=None)
        await client.recv()
        await client.send("4hello")
        assert await client.recv() == "4hello"
        await client.close()


@case
async def test_with_a_certificate_it_serves_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    async with Serving(Server(), ssl_certfile=str(certificate), ssl_keyfile=str(key)) as served:
        client = await joined(f"wss://{HOST}:{served.port}", ssl=ssl.create_default_context(cafile=certificate))
        await client.close()


@case
async def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, password="secret")
    files = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    async with Serving(Server(), ssl_keyfile_password="secret", **files) as served:
        client = await joined(f"wss://{HOST}:{served.port}", ssl=ssl.create_default_context(cafile=certificate))
        await client.close()
    with pytest.raises(ConfigurationError, match="ssl_keyfile_password is not given"):
        await Server().serve(host=HOST, port=free_port(), **files)  # and nobody is asked at a terminal
    with pytest.raises(ConfigurationError, match="ssl_keyfile_password does not open it"):
        await Server().serve(host=HOST, port=free_port(), ssl_keyfile_password="wrong", **files)


@case
async def test_what_is_wrong_with_tls_is_said(tmp_path: Path) -> None:
    (certificate, key), (_, other) = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    for options, words in [
        ({"ssl_keyfile": str(key)}, "ssl_keyfile has no meaning without ssl_certfile"),
        ({"ssl_certfile": str(tmp_path / "none")}, "cannot read ssl_certfile .*: No such file"),
        ({"ssl_certfile": str(certificate)}, "there is no certificate in it, or no key in"),
        ({"ssl_certfile": str(certificate), "ssl_keyfile": str(other)}, "the key is of another certificate"),
        ({"ssl_certfile": str(certificate), "ssl_keyfile": str(key), "ssl_ciphers": "NONE-SUCH"}, "No cipher"),
        ({"ssl_certfile": str(certificate), "ssl_keyfile": str(key), "ssl_version": 99}, "protocol version 99"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            await Server().serve(host=HOST, port=free_port(), **options)  # type: ignore[arg-type]


async def joined_at(path: Path, **headers: str) -> ClientConnection:
    """As :func:`joined`, by a Unix socket."""
    url = "ws://localhost/socket.io/?EIO=4&transport=websocket"
    client = await unix_connect(str(path), url, additional_headers=headers)
    assert str(await client.recv()).startswith("0{")
    await client.send("40")
    assert str(await client.recv()).startswith("40{")
    return client


@case
async def test_a_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    """Any user may connect, as with uvicorn, and a proxy that does is believed."""
    io, path = Server(), tmp_path / "io.sock"
    addresses: list[str] = []
    io.on("connect")(lambda socket: addresses.append(socket.handshake.address))
    for _ in range(2):
        async with Serving(io, uds=str(path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            client = await joined_at(path, **{"X-Forwarded-For": "192.0.2.7"})
            io.emit("hello")
            assert await client.recv() == '42["hello"]'
            await client.close()
        assert not path.exists()
    assert addresses == ["192.0.2.7"] * 2


@case
async def test_a_unix_socket_that_was_left_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    left, taken, other = tmp_path / "left.sock", tmp_path / "taken.sock", tmp_path / "file"
    other.write_text("precious")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    left.chmod(0o600)
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(taken))
        alive.listen()
        with pytest.raises(ConfigurationError, match=r"taken\.sock: another server listens there"):
            await Server().serve(uds=str(taken))
    with pytest.raises(ConfigurationError, match="it is no socket, and stays"):
        await Server().serve(uds=str(other))
    assert other.read_text() == "precious"
    with pytest.raises(ConfigurationError, match=r"cannot listen on .*No such file"):
        await Server().serve(uds=str(tmp_path / "no" / "io.sock"))
    async with Serving(Server(), uds=str(left)):
        assert stat.S_IMODE(left.stat().st_mode) == 0o600  # whoever has set it
        client = await joined_at(left)
        await client.close()


@case
async def test_a_port_in_use_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="cannot listen on"):
            await Server().serve(host=HOST, port=taken.getsockname()[1])


@case
async def test_an_application_that_fails_to_start_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Of ours: it does not end the process, as uvicorn does."""

    async def other(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(ConfigurationError, match="failed to start"):
        await serving.serve(Server().asgi(other), host=HOST, port=free_port())
    assert "no database" in caplog.text


@case
async def test_run_in_a_running_loop_says_what_to_do() -> None:
    for app in (Server(), Engine()):
        with pytest.raises(ConfigurationError, match=r"`await io\.serve\(\.\.\.\)`"):
            app.run(port=free_port())


SCRIPT = """
import asyncio, sys
from shoal import Server
io = Server()
@io.on("disconnect")
def gone(socket, reason):
    print("gone:", reason, flush=True)
async def main():
    await io.serve(port=int(sys.argv[1]), log_level="error")
    print("served", flush=True)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_in_order(number: signal.Signals) -> None:
    """Clients are told, handlers run, and then the signal has its usual effect, as with uvicorn."""
    server = ServerProcess([sys.executable, "-c", SCRIPT, str(port := free_port())], port)
    try:
        server.wait_until_up()

        async def meet() -> None:
            client = await joined(f"ws://{HOST}:{port}")
            server._process.send_signal(number)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), WAIT)

        asyncio.run(meet())
        deadline = time.monotonic() + WAIT
        while server.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server._process.returncode == (0 if number is signal.SIGINT else -number)
        assert "gone: server shutting down" in server.log()
        assert ("interrupted" in server.log()) is (number is signal.SIGINT)
    finally:
        server.close()


def test_it_serves_in_another_thread() -> None:
    """Where it leaves signals alone."""
    io, port = Server(), free_port()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        await io.serve(host=HOST, port=port)

    def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        deadline = time.monotonic() + WAIT
        with httpx.Client(trust_env=False) as http:
            while True:
                try:
                    assert http.get(f"http://{HOST}:{port}/healthz").status_code == 200
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
    finally:
        stop[0]()
        thread.join(WAIT)
    assert not thread.is_alive()
