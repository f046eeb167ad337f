"""Emitters over a real broker, of both kinds: threads, forks, a broker that is away and comes back, a silent server."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.brokers import Broker
from tests.ports import free_port

from shoal import BrokerError, ConfigurationError, Emitter, Server, SyncEmitter
from shoal.testing import TestClient, TestServer

SCHEMES = ("redis", "redis+streams")
both = pytest.mark.parametrize("scheme", SCHEMES)


def real_time(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a test's coroutine on a loop whose time is that of the broker."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def url_of(broker: Broker, scheme: str) -> str:
    return broker.url.replace("redis://", f"{scheme}://")


@contextlib.asynccontextmanager
async def servers(url: str, *names: str) -> AsyncIterator[list[TestServer]]:
    """Servers of one cluster, which know each other."""
    made = [Server(node=name, broker=url, channel_prefix="emitters") for name in names]
    async with contextlib.AsyncExitStack() as stack:
        running = [await stack.enter_async_context(TestServer(io)) for io in made]
        for io in made:
            while len((await io.server_side_call("nobody")).responses) < len(made) - 1:
                await asyncio.sleep(0.01)
        yield running


async def waiting(client: TestClient, count: int) -> list[Any]:
    """What a client has received, once these are as many as that."""
    async with asyncio.timeout(20):
        while len(client.received) < count:
            await asyncio.sleep(0.01)
    return [tuple(event)[:2] for event in client.received]  # a log puts an offset behind


def emitter_of(url: str, **options: Any) -> Emitter:
    return Emitter(url, channel_prefix="emitters", **options)


def sync_of(url: str, **options: Any) -> SyncEmitter:
    return SyncEmitter(url, channel_prefix="emitters", **options)


async def threaded(function: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(function, *args)


@both
@real_time
async def test_events_orders_and_questions_reach_every_server(broker: Broker, scheme: str) -> None:
    """As those of a server: to everyone, to rooms, to one; joined, asked and described."""
    async with servers(url_of(broker, scheme), "a", "b") as nodes, emitter_of(url_of(broker, scheme)) as emitter:
        one, two = [await node.connect() for node in nodes]
        one.on("sum", lambda *numbers: sum(numbers[:2]))
        two.on("sum", lambda *numbers: 0)
        assert await emitter.to(one.id).join("x") == []
        await emitter.emit("e", 1)
        await emitter.to("x").emit("e", 2)
        await emitter.except_("x").emit("e", 3)
        await emitter.volatile.emit("e", 4)
        assert await waiting(one, 3) == [("e", 1), ("e", 2), ("e", 4)]
        assert await waiting(two, 3) == [("e", 1), ("e", 3), ("e", 4)]
        assert sorted((await emitter.call("sum", 1, 2)).responses) == [0, 3]
        assert {(socket.id, socket.node) for socket in await emitter.fetch_sockets()} == {(one.id, "a"), (two.id, "b")}
        assert await emitter.to("x").disconnect() == []
        await one.disconnected()


@real_time
async def test_a_log_confirms_and_pub_sub_says_that_it_cannot(broker: Broker) -> None:
    """`emit_confirmed` returns when the event is in the log."""
    url = url_of(broker, "redis+streams")
    io = Server(broker=url, channel_prefix="emitters")
    async with TestServer(io) as node, emitter_of(url) as emitter:
        client = await node.connect()
        await emitter.emit_confirmed("kept", 1)
        assert [entry.event for entry in await io.history()][-1:] == ["kept"]
        assert await waiting(client, 1) == [("kept", 1)]
    async with emitter_of(broker.url) as emitter:
        with pytest.raises(ConfigurationError, match="confirms nothing"):
            await emitter.emit_confirmed("kept", 1)


@both
@real_time
async def test_threads_share_one_and_keep_their_order(broker: Broker, scheme: str) -> None:
    """What each of eight threads emits arrives, in its order; there is one thread more, until `close`."""
    url = url_of(broker, scheme)

    def work(emitter: SyncEmitter) -> int:
        def emit(thread: int) -> None:
            for number in range(25):
                emitter.to("x").emit("e", [thread, number])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(emit, range(8)))
        return [thread.name for thread in threading.enumerate()].count("shoal emitter")

    async with servers(url, "a") as [node]:
        client = await node.connect()
        with sync_of(url) as emitter:
            await threaded(emitter.join, "x")
            assert await threaded(work, emitter) == 1
            values = [args for _, args in await waiting(client, 200)]
        assert "shoal emitter" not in [thread.name for thread in threading.enumerate()]
    for thread in range(8):
        assert [number for of, number in values if of == thread] == list(range(25))


@both
@real_time
async def test_a_fork_connects_anew(broker: Broker, scheme: str) -> None:
    """The child of a process that has used its emitter emits, and leaves the parent's connection alone."""
    url = url_of(broker, scheme)
    program = f"""
import os
from shoal import SyncEmitter

emitter = SyncEmitter({url!r}, channel_prefix="emitters")
emitter.emit("e", "parent")
for number in range(3):
    pid = os.fork()
    if not pid:
        emitter.emit("e", f"child {{number}}")
        emitter.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    emitter.emit("e", f"parent {{number}}")
"""
    async with servers(url, "a") as [node]:
        client = await node.connect()
        ended = await threaded(run_program, program)
        assert (ended.returncode, ended.stderr) == (0, "")
        texts = [text for _, text in await waiting(client, 7)]
    assert texts == ["parent", *(f"{who} {number}" for number in range(3) for who in ("child", "parent"))]


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@real_time
async def test_a_program_that_ends_without_close_has_sent_all(broker: Broker) -> None:
    """The end of the interpreter closes it."""
    async with servers(broker.url, "a") as [node]:
        client = await node.connect()
        program = f"""
from shoal import SyncEmitter

SyncEmitter({broker.url!r}, channel_prefix="emitters").emit("e", 1)
emitter = SyncEmitter({broker.url!r}, channel_prefix="emitters")
emitter.emit("e", 2)
"""
        ended = await threaded(run_program, program)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert await waiting(client, 2) == [("e", 1), ("e", 2)]


@both
def test_a_broker_that_is_away_is_an_error_in_time(scheme: str) -> None:
    """It names the broker, and not its password; nothing is left running."""
    with sync_of(f"{scheme}://:secret@127.0.0.1:{free_port()}", request_timeout=0.3) as emitter:
        began = time.monotonic()
        with pytest.raises(BrokerError, match=r"cannot reach the broker at .*127\.0\.0\.1.* within 0\.3 s") as raised:
            emitter.emit("e")
        assert 0.3 <= time.monotonic() - began < 5
        assert "secret" not in str(raised.value)
        with pytest.raises(BrokerError, match="cannot reach"):
            emitter.fetch_sockets(timeout=0.1)


@both
@real_time
async def test_what_waits_for_the_broker_is_bounded(scheme: str) -> None:
    """Beyond `broker_buffer` an emit is an error at once."""
    url = f"{scheme}://127.0.0.1:{free_port()}"
    async with emitter_of(url, broker_buffer=1_000, request_timeout=0.5) as emitter:
        emits = [asyncio.create_task(emitter.emit("e", "x" * 400)) for _ in range(5)]
        await asyncio.wait(emits)
        words = [str(emit.exception()) for emit in emits]
        assert ["more waits" in text for text in words] == [False, False, True, True, True], words
        with pytest.raises(BrokerError, match="broker_buffer"):
            await emitter.emit("e", "x" * 2_000)


@both
@real_time
async def test_an_emit_waits_for_a_broker_that_comes_back(scheme: str) -> None:
    """One that was begun while it was away ends when it is back, and the emitter goes on as before."""
    with Broker() as broker:
        url = url_of(broker, scheme)
        async with servers(url, "a") as [node], emitter_of(url, request_timeout=30) as emitter:
            await emitter.emit("before")
            broker.kill()
            with pytest.raises(BrokerError, match="cannot reach"):
                await until_noticed(emitter)
            emit = asyncio.create_task(emitter.emit("while it is away"))
            broker.start()
            await emit
            await until_a_server_answers(emitter)
            client = await node.connect()
            await emitter.to(client.id).emit("after", 1)
            assert await waiting(client, 1) == [("after", 1)]


async def until_noticed(emitter: Emitter) -> None:
    """Emit until the loss of the broker is noticed."""
    while True:
        await emitter.timeout(0.2).emit("lost")


async def until_a_server_answers(emitter: Emitter) -> None:
    """Ask until a server is back at the broker."""
    while True:
        with contextlib.suppress(BrokerError):
            await emitter.fetch_sockets(timeout=0.5)
            return


@real_time
async def test_a_broker_that_hangs_confirms_nothing_in_time() -> None:
    """The error says that the event may still arrive; and it does, once."""
    with Broker() as broker:
        url = url_of(broker, "redis+streams")
        async with servers(url, "a") as [node], emitter_of(url) as emitter:
            client = await node.connect()
            await emitter.emit("first", 1)
            assert await waiting(client, 1) == [("first", 1)]
            broker.pause()
            try:
                with pytest.raises(BrokerError, match="may still"):
                    await emitter.emit_confirmed("second", 2, timeout=0.2)
            finally:
                broker.resume()
            await emitter.emit_confirmed("third", 3)
            assert await waiting(client, 3) == [("first", 1), ("second", 2), ("third", 3)]


@both
@real_time
async def test_a_server_that_does_not_answer_is_named(broker: Broker, scheme: str) -> None:
    """A process that hangs: the others' answers are there, within the time."""
    url = url_of(broker, scheme)
    async with servers(url, "a") as [node]:
        program = f"""
import asyncio
from shoal import Server
from shoal.testing import TestServer

async def main():
    async with TestServer(Server(node="hangs", broker={url!r}, channel_prefix="emitters")):
        print("up", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
        other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        try:
            assert other.stdout is not None
            assert await threaded(other.stdout.readline) == "up\n"
            client = await node.connect()
            client.on("ask", lambda *args: "answer")
            async with emitter_of(url) as emitter:
                assert len(await everyone(emitter)) == 1
                other.send_signal(19)
                found = await emitter.fetch_sockets(timeout=1)
                assert ([socket.id for socket in found], found.missing) == ([client.id], ["hangs"])
                answers = await emitter.call("ask", timeout=1)
                assert (answers.responses, answers.missing) == (["answer"], ["hangs"])
        finally:
            other.kill()
            other.communicate()


async def everyone(emitter: Emitter) -> Any:
    """The sockets of a cluster in which all answer."""
    while (found := await emitter.fetch_sockets()).missing:
        await asyncio.sleep(0.05)
    return found


def test_os_exit_needs_nothing_but_the_emit(broker: Broker) -> None:
    """A worker that is ended by `os._exit`, as Celery's are, has sent what it emitted."""
    url = broker.url

    async def listen() -> list[Any]:
        async with servers(url, "a") as [node]:
            client = await node.connect()
            program = (
                f"import os, shoal; shoal.SyncEmitter({url!r}, channel_prefix='emitters').emit('e', 1); os._exit(0)"
            )
            ended = await threaded(run_program, program)
            assert ended.returncode == os.EX_OK
            return await waiting(client, 1)

    assert asyncio.run(listen()) == [("e", 1)]
