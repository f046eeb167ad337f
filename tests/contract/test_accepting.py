"""How many connections a loop takes in one of its turns, alone and with a :class:`Crowd` that counts them.

Should a version of uvloop take all that there are, the first test fails, and ``shoal.serving.accepting`` can go.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import make_certificate

from shoal.serving.accepting import AT_ONCE, QUIET, SHARE, TURNS_OF_A_CROWD, WINDOW, Crowd, takes_one_at_a_time

uvloop = pytest.importorskip("uvloop")
CROWD = 5 * AT_ONCE  # asyncio takes no more than 100


class Arrivals:
    """Connections to a listening socket, and in which turn of the loop each came."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.turn = 0
        self.turns: list[int] = []
        self.crowd: Crowd | None = None
        self._handle = asyncio.get_running_loop().call_soon(self._count)

    def _count(self) -> None:
        self.turn += 1
        self._handle = asyncio.get_running_loop().call_soon(self._count)

    def connect(self) -> asyncio.Protocol:
        if self.crowd is not None:
            self.crowd.count()
        return Arrival(self.turns, self)

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.turns) < count:
                await asyncio.sleep(0)

    def sizes(self) -> list[int]:
        """Connections of each turn that brought some."""
        return list(Counter(self.turns).values())

    async def come(self, count: int) -> list[int]:
        """A crowd comes at one time."""
        self.turns.clear()
        with self.clients(count):
            await self.wait(count)
        await asyncio.sleep(0.02)  # until they are closed
        return self.sizes()

    async def come_alone(self, count: int) -> None:
        """Clients come one after the other."""
        for _ in range(count):
            self.turns.clear()
            with self.clients(1):
                await self.wait(1)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    @contextlib.contextmanager
    def clients(self, count: int) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                client = stack.enter_context(socket.socket(self.listener.family))
                client.connect(self.listener.getsockname())
            yield

    def end(self) -> None:
        self._handle.cancel()


class Arrival(asyncio.Protocol):
    def __init__(self, turns: list[int], arrivals: Arrivals) -> None:
        self._turns, self._arrivals = turns, arrivals

    def connection_made(self, transport: Any) -> None:
        self._turns.append(self._arrivals.turn)
        transport.abort()


@contextlib.asynccontextmanager
async def listening(path: Path | None, *, crowd: bool, tls: ssl.SSLContext | None = None) -> Any:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET if path is None else socket.AF_UNIX) as listener:
        listener.bind(("127.0.0.1", 0) if path is None else str(path))
        listener.listen(CROWD)
        listener.setblocking(False)
        arrivals = Arrivals(listener)
        server = await loop.create_server(arrivals.connect, sock=listener, ssl=tls)
        if crowd:
            arrivals.crowd = Crowd([listener], arrivals.connect, tls=tls, backlog=CROWD)
        try:
            yield arrivals
        finally:
            server.close()
            if arrivals.crowd is not None:
                arrivals.crowd.close()
            arrivals.end()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=[False, True], ids=["port", "unix"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "s" if request.param else None


@pytest.mark.parametrize(
    ("loop_factory", "alone"), [(uvloop.new_event_loop, 1), (asyncio.new_event_loop, CROWD)], ids=["uvloop", "asyncio"]
)
def test_what_a_loop_takes_by_itself(loop_factory: Any, alone: int, path: Path | None) -> None:
    async def measure() -> None:
        assert takes_one_at_a_time(asyncio.get_running_loop()) == (alone == 1)
        async with listening(path, crowd=False) as arrivals:
            assert max(await arrivals.come(CROWD)) == alone

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(measure())


def test_a_crowd_is_taken_many_at_a_time_until_it_is_gone(path: Path | None) -> None:
    async def measure() -> None:
        async with listening(path, crowd=True) as arrivals:
            before = descriptors()
            await arrivals.come_alone(3 * TURNS_OF_A_CROWD)
            assert descriptors() == before

            sizes = await arrivals.come(CROWD)
            assert sizes[:TURNS_OF_A_CROWD] == [1] * TURNS_OF_A_CROWD
            assert max(sizes) == AT_ONCE
            assert len(sizes) <= TURNS_OF_A_CROWD + 2 + CROWD // AT_ONCE
            assert descriptors() == before + AT_ONCE - 1

            await arrivals.come_alone(WINDOW // 4)
            assert max(await arrivals.come(CROWD)) == AT_ONCE  # it was not gone
            await arrivals.come_alone(2 * WINDOW)
            assert descriptors() == before
            assert max(await arrivals.come(CROWD)) == AT_ONCE

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure())


def test_when_nobody_comes_any_more_the_descriptors_are_given_back() -> None:
    async def measure() -> None:
        async with listening(None, crowd=True) as arrivals:
            before = descriptors()
            await arrivals.come(CROWD)
            await asyncio.sleep(0.6 * QUIET)
            assert descriptors() == before + AT_ONCE - 1
            await arrivals.come(CROWD)  # it comes again, and stays so long
            await asyncio.sleep(0.6 * QUIET)
            assert descriptors() == before + AT_ONCE - 1
            async with asyncio.timeout(10 * QUIET):
                while descriptors() > before:
                    await asyncio.sleep(0.01)
            assert max(await arrivals.come(CROWD)) == AT_ONCE

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure())


def test_at_the_end_nothing_listens(path: Path | None) -> None:
    async def measure() -> None:
        async with listening(None, crowd=False):
            pass  # libuv opens a descriptor of its own with the first socket that listens
        before = descriptors()
        async with listening(path, crowd=True) as arrivals:
            await arrivals.come(CROWD)
            address, family = arrivals.listener.getsockname(), arrivals.listener.family
            arrivals.turns.clear()
            with arrivals.clients(CROWD):  # which are being taken, and more sockets are about to be watched
                await arrivals.wait(TURNS_OF_A_CROWD)
        assert descriptors() <= before + CROWD  # no more than connections that are not closed yet
        with socket.socket(family) as late, pytest.raises(ConnectionRefusedError):
            late.connect(address)
        await asyncio.sleep(0.05)
        assert descriptors() == before

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure())


def test_a_crowd_over_tls(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)

    async def measure() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        async with listening(None, crowd=True, tls=context) as arrivals:
            before = descriptors()
            trusting = ssl.create_default_context(cafile=cert)
            for _ in range(2):
                host, port = arrivals.listener.getsockname()
                arrivals.turns.clear()
                async with asyncio.timeout(20):
                    await asyncio.gather(*(_greet(host, port, trusting) for _ in range(CROWD)))
                await arrivals.wait(CROWD)
            assert before < descriptors()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure())


async def _greet(host: str, port: int, context: ssl.SSLContext) -> None:
    with contextlib.suppress(ConnectionError):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.close()


def test_more_descriptors_are_tried_less_and_less_often_where_they_did_not_pay() -> None:
    async def measure() -> None:
        async with listening(None, crowd=True) as arrivals:
            assert await _times_watched(arrivals.crowd, turns=30 * WINDOW, came=1) in range(2, 9)
            assert await _times_watched(arrivals.crowd, turns=20 * WINDOW, came=AT_ONCE) == 1
            assert await _times_watched(arrivals.crowd, turns=4 * WINDOW, came=1) > 1  # since then they have paid

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure())


async def _times_watched(crowd: Crowd, *, turns: int, came: int) -> int:
    """How many times more descriptors are opened in so many turns, each of which brings so many connections."""
    times, before = 0, descriptors()
    for _ in range(turns):
        for _ in range(came):
            crowd.count()
        await asyncio.sleep(0)
        now = descriptors()
        times += now > before
        before = now
    return times


def test_most_descriptors_are_left_to_clients() -> None:
    async def measure() -> None:
        async with listening(None, crowd=True) as arrivals:
            before = descriptors()
            await arrivals.come(CROWD)
            assert descriptors() == before + 8

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8 * SHARE, limits[1]))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("left", [0, 10])
def test_without_descriptors_they_are_taken_one_at_a_time(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    class Poor(socket.socket):
        copies = 0

        def dup(self) -> socket.socket:
            if Poor.copies == left:
                raise OSError(errno.EMFILE, "too many open files")
            Poor.copies += 1
            return super().dup()

    async def measure() -> None:
        monkeypatch.setattr(socket, "socket", Poor)
        async with listening(None, crowd=True) as arrivals:
            before = descriptors()
            assert max(await arrivals.come(CROWD)) == 1
            assert descriptors() == before  # clients have those that were left

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure())
