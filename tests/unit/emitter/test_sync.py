"""What the waiting emitter refuses, and what it does before its first use: nothing. The rest needs a real broker."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shoal import BrokerError, ConfigurationError, PayloadError, SyncEmitter
from shoal.emitter.thread import LoopThreads


@pytest.mark.parametrize("broker", ["memory://", "memory://shared"])
def test_a_broker_inside_a_process_is_an_error(broker: str) -> None:
    """The thread of an emitter is not the servers'."""
    with pytest.raises(ConfigurationError, match="need a broker in common"):
        SyncEmitter(broker)


def test_it_starts_no_thread_before_its_first_use() -> None:
    """Making one, selecting with it and closing it cost nothing, so that it may stand in any module."""
    before = threading.enumerate()
    emitter = SyncEmitter("redis://127.0.0.1:1")
    selected = emitter.of("x").to("a").in_("b").except_("c").volatile.timeout(1)
    assert repr(selected) == "<broadcast in /x to ('a', 'b') except ('c',)>"
    emitter.close()
    assert threading.enumerate() == before


def test_what_cannot_be_sent_is_an_error_where_it_was_emitted() -> None:
    """And not in the thread."""
    with SyncEmitter("redis://127.0.0.1:1") as emitter, pytest.raises(PayloadError):
        emitter.emit("x", object())


def test_nobody_holds_it_so_its_thread_ends() -> None:
    """Without `close`."""
    emitter = SyncEmitter("redis://127.0.0.1:1")
    with pytest.raises(PayloadError):
        emitter.emit("x", object())
    assert "shoal emitter" in [thread.name for thread in threading.enumerate()]
    del emitter
    gc.collect()
    assert "shoal emitter" not in [thread.name for thread in threading.enumerate()]


def test_who_waits_when_it_is_closed_is_told() -> None:
    """By the error that they must expect anyway."""
    emitter = SyncEmitter("redis://127.0.0.1:1")
    with ThreadPoolExecutor(1) as pool:
        emit = pool.submit(emitter.timeout(30).emit, "x")
        while "shoal emitter" not in [thread.name for thread in threading.enumerate()]:
            time.sleep(0.001)
        emitter.close()
        with pytest.raises(BrokerError, match="was closed"):
            emit.result(10)


def test_a_thread_is_made_anew_after_its_end() -> None:
    """What runs on it runs in another thread than the caller's; `last` is awaited once for each."""
    ends: list[str] = []

    async def last() -> None:
        ends.append(threading.current_thread().name)

    async def here() -> int:
        return threading.get_ident()

    threads = LoopThreads("loop", last)
    first, again = threads.run(here), threads.run(here)
    threads.close()
    threads.close()
    assert first == again != threading.get_ident()
    threads.run(here)
    threads.close()
    assert ends == ["loop", "loop"]
