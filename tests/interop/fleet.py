"""Servers that a test stops and starts itself, a real balancer before them, and a crowd that always comes back.

The configuration is what `shoal balancer` prints. The clients are light: a WebSocket each, and the official client's
delays. The module knows nothing of what a test wants to see.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import httpx
from tests.interop.wire import eventually
from tests.ports import free_ports
from tests.requirements import need
from tests.servers import ServerProcess, tracebacks
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from shoal.local.balancer import balancer_argv

START = 30.0  # seconds that a server may take
LONGEST_DELAY = 5.0  # the official client's reconnectionDelayMax, in seconds


class Fleet:
    """Places for servers, each with a port of its own, and a balancer that knows all of them.

    Args:
        balancer: "nginx" or "haproxy".
        folder: Where its files may lie.
        places: How many servers the balancer knows.
        arguments: More words for `shoal balancer`.
        app: What the servers serve.
        environment: Variables for the servers.
        reloads: HAProxy as its service runs it: a master process, which can be told to reload.
    """

    def __init__(
        self,
        balancer: str,
        folder: Path,
        places: int,
        *arguments: str,
        app: str = "tests.apps.cluster:io",
        environment: Mapping[str, str] = {},
        reloads: bool = False,
    ) -> None:
        self._app = app
        self._environment = environment
        self.port, *self.ports = free_ports(1 + places)
        self.running: dict[int, ServerProcess] = {}
        conf = folder / f"{balancer}.conf"
        conf.write_text(self.configuration(balancer, folder, *arguments))
        self._balancer = balancer_argv(balancer, need(balancer), str(conf), str(folder))
        if reloads:
            self._balancer = (*self._balancer, "-W")
        self._front: ServerProcess | None = None

    def configuration(self, balancer: str, folder: Path, *arguments: str) -> str:
        """The balancer's: what `shoal balancer` prints."""
        servers = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        options = ["--servers", servers, "--listen", f"127.0.0.1:{self.port}", "--directory", str(folder), *arguments]
        command = [sys.executable, "-m", "shoal", "balancer", balancer, *options]
        return subprocess.run(command, capture_output=True, check=True, timeout=START).stdout.decode()

    @contextlib.contextmanager
    def balanced(self, servers: int) -> Iterator[None]:
        """Run the balancer, and a server in each of the first places."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            for port in self.ports[:servers]:
                self.spawn(port)
            for server in self.running.values():
                server.wait_until_up(path="/readyz")
            front = self._front = ServerProcess(self._balancer, self.port)
            stack.callback(front.close)
            front.wait_until_up(path="/healthz")
            yield

    def reload(self) -> None:
        """Let HAProxy begin anew: another worker takes new connections, the old one ends with its last, or in time."""
        assert self._front is not None
        os.kill(self._front.pid, signal.SIGUSR2)

    def workers(self) -> list[int]:
        """The processes of a balancer that reloads, but for their master."""
        assert self._front is not None
        master = self._front.pid
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def spawn(self, port: int) -> None:
        """Start the server of a place, without waiting for it."""
        argv = [sys.executable, "-m", "shoal", "serve", self._app, "--port", str(port)]
        self.running[port] = ServerProcess(argv, port, self._environment)

    def _close(self) -> None:
        for server in self.running.values():
            server.close()

    async def start(self, port: int) -> None:
        """Start the server of a place; returns when it is ready."""
        self.spawn(port)
        await asyncio.to_thread(self.running[port].wait_until_up, path="/readyz")

    async def stop(self, port: int) -> None:
        """SIGTERM for the server of a place; returns when it has ended, in good order."""
        server = self.running.pop(port)
        try:
            # uvicorn raises the signal again after an orderly stop.
            assert await asyncio.to_thread(server.stop) in (0, -signal.SIGTERM)
        finally:
            server.close()
        assert not tracebacks(server.final_log), server.final_log

    async def restart(self, port: int) -> float:
        """Stop and start it. The seconds from one to the other."""
        began = time.monotonic()
        await self.stop(port)
        await self.start(port)
        return time.monotonic() - began

    async def session(self, port: int) -> str:
        """A long-polling session that the balancer gives to the server of a place, as soon as it does; its id."""
        deadline = time.monotonic() + START
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            while time.monotonic() < deadline:
                answer = await http.get(self.polling())
                sid: str = json.loads(answer.text[1:])["sid"]
                if sid.startswith(f"{port}."):
                    return sid
        raise AssertionError(f"the balancer gives no session to {port}")

    def polling(self, sid: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/socket.io/?EIO=4&transport=polling" + (f"&sid={sid}" if sid else "")


class Crowd:
    """Clients that connect through a fleet's balancer, and again each time that they lose their server.

    Args:
        fleet: Where to.
        delay: The official client's reconnectionDelay, in seconds: it waits for half to one and a half of it.
    """

    def __init__(self, fleet: Fleet, delay: float = 1.0) -> None:
        self._url = f"ws://127.0.0.1:{fleet.port}/socket.io/?EIO=4&transport=websocket"
        self._fleet = fleet
        self._delay = delay
        self._random = random.Random(14)
        self._tasks: list[asyncio.Task[None]] = []
        self._on: dict[int, str] = {}
        """The node that each client is on."""
        self.failed = 0
        """Attempts that did not lead to a server."""

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, fleet: Fleet, count: int, delay: float = 1.0) -> AsyncIterator[Crowd]:
        """So many clients, connected."""
        crowd = cls(fleet, delay)
        try:
            await crowd.grow(count)
            yield crowd
        finally:
            for task in crowd._tasks:
                task.cancel()
            await asyncio.gather(*crowd._tasks, return_exceptions=True)

    async def grow(self, count: int) -> None:
        """So many more; returns when all are connected."""
        for _ in range(count):
            self._tasks.append(asyncio.create_task(self._live(len(self._tasks))))
            await asyncio.sleep(0.002)  # not faster than two cores take them
        await self.complete()

    async def complete(self) -> None:
        """Return when every client is on a server."""
        await eventually(lambda: len(self._on) == len(self._tasks), START)

    def counts(self) -> list[int]:
        """How many are on each server that runs."""
        found = Counter(self._on.values())
        return [found[str(port)] for port in self._fleet.running]

    async def _live(self, number: int) -> None:
        delay = self._delay
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with connect(self._url, proxy=None, compression=None, ping_interval=None) as socket:
                    await socket.send("40")
                    async for frame in socket:
                        if frame == "2":
                            await socket.send("3")
                        elif isinstance(frame, str) and frame.startswith('42["welcome"'):
                            self._on[number] = json.loads(frame[2:])[1]
                            delay = self._delay
            self.failed += number not in self._on
            self._on.pop(number, None)
            await asyncio.sleep(delay * self._random.uniform(0.5, 1.5))
            delay = min(LONGEST_DELAY, 2 * delay)


def unevenness(counts: list[int]) -> float:
    """The most over the least."""
    return max(counts) / max(min(counts), 1)
