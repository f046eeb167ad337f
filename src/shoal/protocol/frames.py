"""The WebSocket frames that nearly all traffic consists of: whole, unfragmented messages (RFC 6455 section 5.2).

Building a server's frame is a header in front of the payload; reading a client's is a mask over it.
Everything else, and every error, is left to ``websockets``; property tests hold both to the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled wheel for this platform
    from websockets.utils import apply_mask

__all__ = ["CLOSE_NORMAL", "apply_mask", "binary_frame", "message_frames", "parse_header", "text_frame", "unmask"]

TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE_NORMAL: Final = b"\x88\x02\x03\xe8"  # code 1000
# From here on a view of the masked bytes costs less than a copy.
_LARGE: Final = 2048
_SHORT_TEXT: Final = [bytes((TEXT, length)) for length in range(126)]


def text_frame(payload: bytes) -> bytes:
    """A final, unmasked text frame."""
    length = len(payload)
    if length < 126:
        return _SHORT_TEXT[length] + payload
    return _header(TEXT, length) + payload


def binary_frame(payload: bytes) -> bytes:
    """A final, unmasked binary frame."""
    return _header(BINARY, len(payload)) + payload


def message_frames(text: bytes, attachments: Sequence[bytes]) -> list[bytes]:
    """A text, if it is not empty, and the binaries behind it as frames in pieces, to be joined once: the payload of a
    binary frame is a piece of its own."""
    pieces = [text_frame(text)] if text else []
    for data in attachments:
        pieces += (_header(BINARY, len(data)), data)
    return pieces


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def parse_header(data: bytes | bytearray, start: int) -> tuple[int, int] | None:
    """Sizes of the client's frame at ``data[start:]``: of its header, mask included, and of its payload, in bytes.

    ``None`` while the header is not complete. An unmasked frame, which is an error, has sizes too.
    """
    if len(data) - start < 2:
        return None
    length = data[start + 1] & 127
    extended = 2 if length == 126 else 8 if length == 127 else 0
    header = 2 + extended + (4 if data[start + 1] & 128 else 0)
    if len(data) - start < header:
        return None
    if extended:
        length = int.from_bytes(data[start + 2 : start + 2 + extended], "big")
    return header, length


def unmask(data: bytes | bytearray, start: int, stop: int) -> bytes:
    """The payload of a client's frame: ``data[start:stop]``, with its mask in front."""
    masked = memoryview(data)[start:stop] if stop - start > _LARGE else data[start:stop]
    return apply_mask(masked, data[start - 4 : start])
