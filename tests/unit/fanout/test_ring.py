"""A ring sends what `os.write` would have sent, to many sockets at once, and says what each of them took."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.requirements import needs_io_uring
from tests.unit.fuzz import examples

from shoal.fanout import ring as module
from shoal.fanout.ring import ENTRIES, Ring

pytestmark = needs_io_uring
Pairs = list[tuple[socket.socket, socket.socket]]


def make_pairs(stack: contextlib.ExitStack, count: int, buffer: int | None = None) -> Pairs:
    """Sockets that wait for nothing, with their other ends."""
    pairs = [socket.socketpair() for _ in range(count)]
    for pair in pairs:
        for end in pair:
            stack.enter_context(end)
            end.setblocking(False)
        if buffer is not None:
            pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    return pairs


def read(end: socket.socket) -> bytes:
    """All that is there."""
    data = bytearray()
    with contextlib.suppress(BlockingIOError):
        while piece := end.recv(1 << 20):
            data += piece
    return bytes(data)


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    ring.close()


def numbers(pairs: Pairs) -> list[int]:
    return [ours.fileno() for ours, _ in pairs]


@pytest.mark.parametrize("count", [1, 2, ENTRIES - 1, ENTRIES, ENTRIES + 1, 3 * ENTRIES + 7])
def test_all_of_them_get_all_of_it_in_order(ring: Ring, stack: contextlib.ExitStack, count: int) -> None:
    """However many there are, and wherever in its queues the ring is."""
    pairs = make_pairs(stack, count)
    for turn in range(5):
        assert ring.send_all(numbers(pairs), b"all %d," % turn) is None
        assert ring.send_each(numbers(pairs), [b"%d of %d," % (turn, i) for i in range(count)]) is None
    for i, (_, theirs) in enumerate(pairs):
        assert read(theirs) == b"".join(b"all %d,%d of %d," % (turn, turn, i) for turn in range(5))


def test_nobody_and_nothing_are_fine(ring: Ring, stack: contextlib.ExitStack) -> None:
    pairs = make_pairs(stack, 2)
    assert ring.send_all([], b"x") is None
    assert ring.send_each([], []) is None
    assert ring.send_all(numbers(pairs), b"") is None
    assert ring.send_each(numbers(pairs), [b"", b"x"]) is None
    assert [read(theirs) for _, theirs in pairs] == [b"", b"x"]


def test_what_a_call_before_sent_counts_too(ring: Ring, stack: contextlib.ExitStack) -> None:
    """One that has left, behind a whole call's worth of others that took it all."""
    pairs = make_pairs(stack, 2 * ENTRIES + 3)
    pairs[-2][1].close()
    expected = [5] * (len(pairs) - 2) + [0, 5]
    assert ring.send_all(numbers(pairs), b"hello") == expected
    assert ring.send_each(numbers(pairs), [b"hello"] * len(pairs)) == expected


class Kernel:
    """Does what it finds in a ring, and puts what came of it there in any order."""

    def __init__(self, ring: Ring, dice: random.Random, position: int) -> None:
        self.ring = ring
        self.dice = dice
        ring._position = position
        for place in (ring._tail, ring._done_head, ring._done_tail):
            ring._queues[place] = position

    def __call__(self, number: int, fd: int, count: int, least: int, *rest: int) -> int:
        ring, queues = self.ring, self.ring._queues
        at = queues[ring._done_tail]
        assert queues[ring._done_head] == at
        assert queues[ring._tail] == (at + count) % 2**32
        results = []
        for entry in range(at % ENTRIES, at % ENTRIES + count):
            place = module.ENTRY_WORDS * entry
            data = ctypes.string_at(ring._longs[module.ENTRY_LONGS * entry + 2], ring._entries[place + 6])
            took = os.write(ring._entries[place + 1], data[: self.dice.randrange(len(data) + 1)])
            results.append((entry, took if took else self.dice.choice([0, 2**32 - errno.EAGAIN])))
        self.dice.shuffle(results)
        for entry, result in results:
            place = module.RESULT_WORDS * (at % (len(ring._done) // module.RESULT_WORDS))
            ring._done[place], ring._done[place + module.RESULT] = entry, result
            at = (at + 1) % 2**32
        queues[ring._done_tail] = at
        return count


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(0, 2**32))
def test_results_may_come_in_any_order_at_any_position(seed: int) -> None:
    """Positions count on, and begin anew behind 2**32."""
    dice = random.Random(seed)
    with contextlib.ExitStack() as stack:
        ring = Ring()
        stack.callback(ring.close)
        pairs = make_pairs(stack, dice.choice([2, 30, ENTRIES, ENTRIES + 40]))
        kernel = Kernel(
            ring, dice, dice.choice([0, ENTRIES - 3, 2 * ENTRIES - 1, 2**32 - 1, 2**32 - ENTRIES, 2**32 - 50])
        )
        sent = [b""] * len(pairs)
        with mock.patch.object(module, "_system_call", kernel):
            for _ in range(4):
                pieces = [os.urandom(dice.choice([1, 50])) for _ in pairs]
                taken = ring.send_each(numbers(pairs), pieces) or list(map(len, pieces))
                sent = [data + piece[:count] for data, piece, count in zip(sent, pieces, taken, strict=True)]
        assert not ring.failed
        assert [read(theirs) for _, theirs in pairs] == sent


@settings(max_examples=examples(30), deadline=None)
@given(st.integers(0, 2**32))
def test_a_socket_takes_what_it_takes_from_os_write(seed: int) -> None:
    """Some take little, some have left, some are closed. What each took is said, and no byte is lost or doubled."""
    dice = random.Random(seed)
    with contextlib.ExitStack() as stack:
        ring = Ring()
        stack.callback(ring.close)
        pairs = make_pairs(stack, dice.choice([3, 20, ENTRIES + 3]), dice.choice([None, 1, 20_000]))
        sent = [bytearray() for _ in pairs]
        for number in dice.sample(range(len(pairs)), 2):
            pairs[number][1].close()
        for _ in range(8):
            if dice.random() < 0.5:
                pieces = [os.urandom(dice.choice([1, 100, 3_000, 30_000]))] * len(pairs)
                taken = ring.send_all(numbers(pairs), pieces[0])
            else:
                pieces = [os.urandom(dice.choice([1, 100, 3_000])) for _ in pairs]
                taken = ring.send_each(numbers(pairs), pieces)
            counts = list(map(len, pieces)) if taken is None else taken
            for i, (piece, count) in enumerate(zip(pieces, counts, strict=True)):
                sent[i] += piece[:count]
        assert not ring.failed
        for (_, theirs), data in zip(pairs, sent, strict=True):
            assert data == (b"" if theirs.fileno() < 0 else read(theirs))


def test_an_error_is_no_byte_taken_and_costs_the_others_nothing(ring: Ring, stack: contextlib.ExitStack) -> None:
    """No such file, no socket, a client that left, a full buffer."""
    pairs = make_pairs(stack, 6)
    files = numbers(pairs)
    pairs[1][1].close()
    while pairs[2][0].send(b"x" * 100_000) == 100_000:
        pass
    null = os.open(os.devnull, os.O_WRONLY)
    stack.callback(os.close, null)
    files[3], files[4] = 1_000_000, null
    for _ in range(3):
        assert ring.send_all(files, b"hello") == [5, 0, 0, 0, 0, 5]
        assert ring.send_each(files, [b"hello"] * 6) == [5, 0, 0, 0, 0, 5]
    assert read(pairs[5][1]) == b"hello" * 6
    assert not ring.failed


def test_a_socket_that_is_closed_after_a_send_is_closed_at_once(ring: Ring, stack: contextlib.ExitStack) -> None:
    """The ring keeps no file: else a client would not hear that its connection has ended."""
    pairs = make_pairs(stack, 20)
    assert ring.send_all(numbers(pairs), b"bye") is None
    for ours, theirs in pairs:
        ours.close()
        assert (theirs.recv(10), theirs.recv(10)) == (b"bye", b"")


@pytest.mark.parametrize("taken", [0, 3, -1])
def test_what_the_kernel_did_not_take_was_not_sent(ring: Ring, stack: contextlib.ExitStack, taken: int) -> None:
    """A ring that it does not take everything from is not used again."""
    pairs = make_pairs(stack, 5)
    call = module._system_call

    def less(number: int, fd: int, count: int, least: int, *rest: int) -> int:
        return -1 if taken < 0 else int(call(number, fd, taken, taken, *rest)) if taken else 0

    with mock.patch.object(module, "_system_call", less):
        assert ring.send_all(numbers(pairs), b"x") == [1] * max(0, taken) + [0] * (5 - max(0, taken))
    assert ring.failed
    assert ring.send_all(numbers(pairs), b"y") == [0] * 5
    assert [read(theirs) for _, theirs in pairs] == [b"x"] * max(0, taken) + [b""] * (5 - max(0, taken))


def test_where_nobody_knows_what_was_sent_it_is_an_error(ring: Ring, stack: contextlib.ExitStack) -> None:
    pairs = make_pairs(stack, 5)
    with mock.patch.object(module, "_system_call", return_value=5), pytest.raises(OSError, match="not known") as raised:
        ring.send_all(numbers(pairs), b"x")
    assert raised.value.errno == errno.EIO
    assert ring.failed


def test_what_an_interrupted_call_left_in_the_queue_is_never_sent(ring: Ring, stack: contextlib.ExitStack) -> None:
    """Its memory is somebody else's by then."""
    pairs = make_pairs(stack, 10)
    with mock.patch.object(module, "_system_call", side_effect=MemoryError), pytest.raises(MemoryError):
        ring.send_all(numbers(pairs[:5]), b"secret")
    assert ring.send_all(numbers(pairs[5:]), b"x") == [0] * 5
    assert [read(theirs) for _, theirs in pairs] == [b""] * 10


def test_a_forked_process_has_no_ring_and_does_the_parents_no_harm(ring: Ring, stack: contextlib.ExitStack) -> None:
    """They share its memory. The kernel would refuse the child, but not before that is spoilt."""
    pairs = make_pairs(stack, 5)
    assert ring.send_all(numbers(pairs), b"before,") is None
    child = os.fork()
    if child == 0:
        taken = None
        try:
            taken = [ring.send_all(numbers(pairs), b"child,") for _ in range(3)]
        finally:
            os._exit(taken != [[0] * 5] * 3)
    assert os.waitpid(child, 0)[1] == 0
    assert ring.send_all(numbers(pairs), b"after") is None
    assert [read(theirs) for _, theirs in pairs] == [b"before,after"] * 5


def test_the_interpreters_lock_is_kept() -> None:
    """To get it back from a busy thread takes 5 ms."""
    assert module._system_call._flags_ & ctypes.PyDLL._func_flags_ & 0x4  # FUNCFLAG_PYTHONAPI


def test_another_thread_is_not_served(ring: Ring, stack: contextlib.ExitStack) -> None:
    """The kernel sees to it."""
    pairs = make_pairs(stack, 5)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(ring.send_all(numbers(pairs), b"x")))
    thread.start()
    thread.join()
    assert found == [[0] * 5]
    assert ring.failed


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.ENOMEM, errno.EMFILE])
def test_a_kernel_that_gives_no_ring_says_why(error: int) -> None:
    """Forbidden, unknown, older than the flags, or short of something."""
    with (
        mock.patch.object(module, "_system_call", return_value=-1),
        mock.patch.object(module.ctypes, "get_errno", return_value=error),
        pytest.raises(OSError, match="io_uring_setup") as raised,
    ):
        Ring()
    assert raised.value.errno == error


def test_another_system_has_none() -> None:
    with mock.patch.object(module.sys, "platform", "darwin"), pytest.raises(OSError, match="Linux"):
        Ring()


@pytest.mark.parametrize("way", [Ring.close, lambda ring: None], ids=["closed", "forgotten"])
def test_a_ring_leaves_nothing_open(way: Callable[[Ring], None]) -> None:
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    ring = Ring()
    assert len(os.listdir("/proc/self/fd")) > len(before)
    assert "io_uring" in Path("/proc/self/maps").read_text()
    way(ring)
    way(ring)
    del ring
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) == before
    assert "io_uring" not in Path("/proc/self/maps").read_text()
