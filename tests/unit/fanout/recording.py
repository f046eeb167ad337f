"""A lane that remembers what it was given, as packets, whether they came so or as frames; one on a real socket, with
the ways of uvloop's transport; and an outbox's owner."""

from __future__ import annotations

import socket
from typing import Any

from shoal.fanout.outbox import Outbox
from shoal.protocol.frames import parse_header


class Recorder:
    """`write` is what a lane gives to an outbox.

    Args:
        framed: Whether it takes frames.
    """

    def __init__(self, framed: bool) -> None:
        self.framed = framed
        self.packets: list[str | bytes] = []
        self.raw: list[Any] = []

    @property
    def writes(self) -> int:
        return len(self.raw)

    def write(self, data: Any) -> None:
        assert data, "an empty write"
        self.raw.append(data)
        if self.framed:
            assert isinstance(data, bytes)
            self.packets += unframe(data)
        else:
            assert isinstance(data, list)
            self.packets += data


class Wire:
    """A lane on a socket that takes little at a time. It blocks its outbox with the first byte that it keeps back.

    Args:
        outbox: Gets the socket's descriptor, too, and may write past this lane.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.ours.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, 1
        )  # the kernel's least, some 4 KiB with its own share
        self.outbox = outbox
        self.writes = 0
        self.kept = b""
        self.read = bytearray()
        outbox.attach(self.write, framed=True, descriptor=self.ours.fileno())

    @property
    def packets(self) -> list[str | bytes]:
        return unframe(bytes(self.read))

    def write(self, data: bytes) -> None:
        assert data, "an empty write"
        self.writes += 1
        self.kept += data
        self._send()
        if self.kept:
            self.outbox.block()

    def _send(self) -> None:
        try:
            while self.kept:
                self.kept = self.kept[self.ours.send(self.kept) :]
        except BlockingIOError:
            pass

    def drain(self) -> None:
        """The client reads all there is, and what comes after it."""
        while True:
            while self._receive():
                self._send()
            if self.outbox.writable:
                return
            self.outbox.unblock()

    def _receive(self) -> bool:
        try:
            data = self.theirs.recv(1 << 20)
        except BlockingIOError:
            return False
        self.read += data
        return bool(data)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class Owner:
    """Whose outbox it is. Counts how often it heard of an overflow."""

    def __init__(self) -> None:
        self.overflows = 0

    def overflow(self) -> None:
        self.overflows += 1


def unframe(data: bytes) -> list[str | bytes]:
    """A server's frames as packets: text is `str`, binary is `bytes`."""
    packets: list[str | bytes] = []
    position = 0
    while position < len(data):
        sizes = parse_header(data, position)
        assert sizes is not None
        header, length = sizes
        payload = data[position + header : position + header + length]
        assert len(payload) == length
        packets.append({0x81: payload.decode, 0x82: lambda p=payload: p}[data[position]]())
        position += header + length
    return packets
