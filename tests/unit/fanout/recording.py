"""A lane that remembers what it was given, as packets, whether they came so or as frames; and an outbox's owner."""

from __future__ import annotations

from typing import Any

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
