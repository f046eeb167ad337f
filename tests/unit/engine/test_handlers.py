"""Handlers of an engine on its own: one session's messages one at a time, bounded, to their end."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from shoal import Engine
from shoal.testing import TestServer, async_test


@async_test
async def test_a_sessions_messages_are_handled_one_at_a_time() -> None:
    """Coroutine handlers too: in order, between `connect` and `disconnect`, and one that fails stops nobody."""
    engine = Engine()
    seen: list[Any] = []
    at_work = 0

    async def note(what: Any) -> None:
        nonlocal at_work
        assert at_work == 0
        at_work += 1
        await asyncio.sleep(0)
        at_work -= 1
        seen.append(what)
        if what == "fails":
            raise RuntimeError("on purpose")

    engine.on("connect")(lambda session: note("connect"))
    engine.on("message")(lambda session, data: note(data))
    engine.on("message")(lambda session, data: seen.append(f"plain {data}"))
    engine.on("disconnect")(lambda session, reason: note(reason))
    async with TestServer(engine) as server:
        ws = await server.open()
        for message in ("4a", "4fails", "4b", "1"):
            ws.send(message)
        await server.settle()
    assert [entry for entry in seen if not entry.startswith("plain")] == [
        "connect",
        "a",
        "fails",
        "b",
        "transport close",
    ]
    assert len(seen) == 8


@async_test
async def test_messages_that_wait_are_bounded() -> None:
    """Beyond `max_waiting_events` nothing is read from that session, and nothing is lost; another one goes on."""
    engine = Engine(max_waiting_events=4)
    gate = asyncio.Event()
    seen: list[str] = []

    async def slow(session: Any, data: str) -> None:
        if data.startswith("slow"):
            await gate.wait()
        seen.append(data)

    engine.on("message")(slow)
    async with TestServer(engine) as server:
        flood, other = await server.open(), await server.open()
        for number in range(100):
            flood.send(f"4slow {number}")
        await server.settle()
        assert engine.stats.pauses == 1
        assert len(asyncio.all_tasks()) < 20
        other.send("4hello")
        await server.settle()
        assert seen == ["hello"]
        gate.set()
        await server.settle()
        assert seen[1:] == [f"slow {number}" for number in range(100)]


@async_test
async def test_disconnect_is_emitted_though_a_handler_hangs() -> None:
    """When the engine closes; what still waited is not handled."""
    engine = Engine()
    seen: list[str] = []

    async def hang(session: Any, data: str) -> None:
        await asyncio.Event().wait()

    engine.on("message")(hang)
    engine.on("disconnect")(lambda session, reason: seen.append(reason))
    async with TestServer(engine) as server:
        ws = await server.open()
        ws.send("4a")
        ws.send("4b")
        await server.settle()
        await engine.close()
        assert seen == ["server shutting down"]


@async_test
async def test_a_handler_that_awaits_something_cancelled_only_fails() -> None:
    """It is not the session's task that was cancelled: the next events are handled."""
    engine = Engine()
    seen: list[str] = []

    async def fail(session: Any, data: str) -> None:
        seen.append(data)
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    engine.on("message")(fail)
    engine.on("disconnect")(lambda session, reason: seen.append(reason))
    async with TestServer(engine) as server:
        ws = await server.open()
        for message in ("4a", "4b", "1"):
            ws.send(message)
        await server.settle()
    assert seen == ["a", "b", "transport close"]


@async_test
async def test_what_a_plain_handler_causes_comes_behind_it() -> None:
    """One that closes its own session is through before the handlers of `disconnect` begin."""
    engine = Engine()
    seen: list[str] = []

    def close(session: Any, data: str) -> None:
        seen.append("begins")
        session.close()
        seen.append("ends")

    engine.on("message")(close)
    engine.on("message")(lambda session, data: seen.append("the other"))
    engine.on("disconnect")(lambda session, reason: seen.append(reason))
    async with TestServer(engine) as server:
        ws = await server.open()
        ws.send("4a")
        await server.settle()
    assert seen == ["begins", "ends", "the other", "forced close"]


@async_test
async def test_coroutine_handlers_get_the_engines_end() -> None:
    engine = Engine()
    seen: list[str] = []

    async def gone(session: Any, reason: str) -> None:
        await asyncio.sleep(0)
        seen.append(reason)

    engine.on("disconnect")(gone)
    async with TestServer(engine) as server:
        await server.open()
        await engine.close()
        assert seen == ["server shutting down"]


@async_test
async def test_handlers_that_had_not_begun_when_the_engine_closes_never_begin() -> None:
    """Nor are their coroutines left behind, which Python would warn of."""
    engine = Engine()
    seen: list[str] = []

    @engine.on("message")
    async def hang(session: Any, data: str) -> None:
        seen.append("hangs")
        await asyncio.Event().wait()

    @engine.on("message")
    async def follow(session: Any, data: str) -> None:
        seen.append("follows")

    async with TestServer(engine) as server:
        connection = await server.open()
        connection.send("4a")
        await server.settle()
    gc.collect()
    assert seen == ["hangs"]
