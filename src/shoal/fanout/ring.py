"""Linux's io_uring, as far as a fan-out needs it: bytes for many sockets with one system call.

A ring is two queues in memory that the kernel shares: what it shall do, and what came of it. This one takes nothing but
sends that wait for nothing (``MSG_DONTWAIT``), so all of them have happened when ``io_uring_enter(2)`` returns: between
two calls nothing is under way, and the kernel keeps no reference to a file. The layout is that of ``io_uring_setup(2)``
and ``<linux/io_uring.h>``; the flags need Linux 6.1. Who owns a socket is not known here.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

__all__ = ["Ring"]

# Sends with one system call, in which the interpreter's lock is held: 1 to 2.5 ms for small ones, half of the time that
# any other thread may hold it (sys.getswitchinterval).
ENTRIES: Final = 256

SETUP, ENTER = 425, 426  # system calls; elsewhere than on x86-64, ARM and most others these numbers are nobody's
# A failed entry stops none behind it, one thread submits, and the kernel does not interrupt it on the ring's behalf:
# IORING_SETUP_SUBMIT_ALL, _SINGLE_ISSUER, _DEFER_TASKRUN.
FLAGS: Final = 1 << 7 | 1 << 12 | 1 << 13
PARAMS: Final = struct.Struct("=10I 8IQ 8IQ")  # struct io_uring_params: itself, and where things are in the two queues
QUEUES_AT, ENTRIES_AT = 0, 0x10000000  # IORING_OFF_SQ_RING, IORING_OFF_SQES
ONE_MAPPING: Final = 1 << 0  # IORING_FEAT_SINGLE_MMAP
GET_EVENTS: Final = 1 << 0  # IORING_ENTER_GETEVENTS
ENTRY: Final = struct.Struct("=BBHiQQIIQ24x")  # struct io_uring_sqe
SEND: Final = 26  # IORING_OP_SEND
MSG_DONTWAIT, MSG_NOSIGNAL = 0x40, 0x4000
# Where fields are, in words of 32 bits: descriptor and length in an entry; what came of it in a result, whose first
# word is the entry's number. The address of an entry is in units of 64 bits.
DESCRIPTOR, LENGTH, ENTRY_WORDS, ADDRESS, ENTRY_LONGS = 1, 6, 16, 2, 8
RESULT, RESULT_WORDS = 2, 4
POSITION: Final = 0xFFFFFFFF  # positions in a queue count on, modulo 2**32


class Ring:
    """A ring of the calling thread, and of no other one; nor of a forked process, with which its memory is shared.

    Raises:
        OSError: The kernel is too old, or does not allow it here (in Docker its default profile does not), or three
            descriptors are not to be had.
    """

    __slots__ = (
        "_done",
        "_done_head",
        "_done_tail",
        "_entries",
        "_fd",
        "_longs",
        "_pid",
        "_position",
        "_queues",
        "_tail",
        "failed",
    )

    def __init__(self) -> None:
        self.failed: bool = False
        """Whether the kernel did not take all that it was given. Then the ring must not be used again."""
        self._fd, self._pid = -1, os.getpid()
        if not sys.platform.startswith("linux"):
            raise OSError(errno.ENOSYS, "io_uring is a part of Linux")
        params = ctypes.create_string_buffer(PARAMS.pack(0, 0, FLAGS, *[0] * 25), PARAMS.size)
        self._fd = _system_call(SETUP, ENTRIES, ctypes.addressof(params), 0, 0, 0, 0)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"io_uring_setup: {os.strerror(number)}")
        entries, completions, _, _, _, features, *offsets = PARAMS.unpack(params.raw)
        if not features & ONE_MAPPING or entries != ENTRIES:
            self.close()
            raise OSError(errno.ENOSYS, "io_uring_setup: not what was asked for")
        _, tail, _, _, _, _, order = offsets[4:11]
        done_head, done_tail, _, _, _, done = offsets[13:19]
        size = max(order + 4 * entries, done + 4 * RESULT_WORDS * completions)
        self._queues = memoryview(mmap.mmap(self._fd, size, offset=QUEUES_AT)).cast("I")
        self._tail, self._done_head, self._done_tail = tail // 4, done_head // 4, done_tail // 4
        self._done = self._queues[done // 4 :][: RESULT_WORDS * completions]
        self._entries = memoryview(mmap.mmap(self._fd, ENTRY.size * entries, offset=ENTRIES_AT)).cast("I")
        self._longs = self._entries.cast("B").cast("Q")
        self._position = 0  # in both queues: what was sent has been done
        flags = MSG_DONTWAIT | MSG_NOSIGNAL
        for number in range(entries):
            self._queues[order // 4 + number] = number
            ENTRY.pack_into(self._entries, ENTRY.size * number, SEND, 0, 0, 0, 0, 0, 0, flags, number)

    def send_all(self, descriptors: Sequence[int], data: bytes) -> list[int] | None:
        """Send the same bytes to many sockets.

        Returns:
            ``None`` if all of them took all of it; else how many bytes each one took, 0 where there was an error.
        """
        count = len(descriptors)
        lengths, addresses = array("I", [len(data)]) * count, array("Q", [_address(data)]) * count
        return self._send(array("I", descriptors), lengths, addresses)

    def send_each(self, descriptors: Sequence[int], pieces: Sequence[bytes]) -> list[int] | None:
        """Send to each of many sockets a piece of its own. Returns the same as :meth:`send_all`."""
        lengths, joined = array("I", list(map(len, pieces))), b"".join(pieces)
        addresses = array("Q", accumulate(lengths[:-1], initial=_address(joined)))
        return self._send(array("I", descriptors), lengths, addresses)

    def close(self) -> None:
        """Give the ring back to the kernel, which frees it once nobody has its memory, with the descriptors of that."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    __del__ = close

    def _send(self, descriptors: array[int], lengths: array[int], addresses: array[int]) -> list[int] | None:
        at, taken = 0, None
        while at < len(descriptors):
            end = at + ENTRIES - self._position % ENTRIES  # no further than to the end of the queue
            some = self._submit(descriptors[at:end], lengths[at:end], addresses[at:end])
            if taken is None and some is not None:
                taken = lengths[:at].tolist()
            if taken is not None:
                taken += lengths[at:end] if some is None else some
            at = end
        return taken

    def _submit(self, descriptors: array[int], lengths: array[int], addresses: array[int]) -> list[int] | None:
        """One system call. The entries and what comes of them are in one piece, in either queue."""
        count, before = len(descriptors), self._position
        if self.failed or self._pid != os.getpid():
            self.failed = True
            return [0] * count
        start = before % ENTRIES
        end = start + count
        self._entries[ENTRY_WORDS * start + DESCRIPTOR : ENTRY_WORDS * end : ENTRY_WORDS] = memoryview(descriptors)
        self._entries[ENTRY_WORDS * start + LENGTH : ENTRY_WORDS * end : ENTRY_WORDS] = memoryview(lengths)
        self._longs[ENTRY_LONGS * start + ADDRESS : ENTRY_LONGS * end : ENTRY_LONGS] = memoryview(addresses)
        self.failed = True  # unless it comes to an end: what is in the queue then must not be done with the next
        self._position = self._queues[self._tail] = (before + count) & POSITION
        done = max(0, _system_call(ENTER, self._fd, count, 0, GET_EVENTS, 0, 0))
        after = (before + done) & POSITION
        if self._queues[self._done_tail] != after:
            raise OSError(errno.EIO, "io_uring_enter: what became of the bytes is not known")
        self.failed = done != count
        start = RESULT_WORDS * before % len(self._done)
        end = start + RESULT_WORDS * done
        results = self._done[start + RESULT : end : RESULT_WORDS].tobytes()
        taken = None
        if results != lengths.tobytes():
            taken = [0] * count
            for number, result in zip(self._done[start:end:RESULT_WORDS], array("i", results), strict=True):
                taken[number - before % ENTRIES] = max(0, result)
        self._queues[self._done_head] = after
        return taken


def _system_call_of_libc() -> Any:
    """``syscall(2)``, with the interpreter's lock held: to wait for it would take longer than most calls do."""
    if not sys.platform.startswith("linux"):
        return None
    call = ctypes.PyDLL(None, use_errno=True).syscall
    call.argtypes = [ctypes.c_long] * 7
    call.restype = ctypes.c_long
    return call


_system_call: Final = _system_call_of_libc()


def _address(data: bytes) -> int:
    """Where bytes are in memory, as long as somebody keeps them."""
    return ctypes.c_void_p.from_buffer(ctypes.c_char_p(data)).value or 0
