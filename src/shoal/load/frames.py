"""A client's side of WebSocket frames, sans-I/O: bytes in, messages and bytes to send out.

Whole, final, unmasked text frames, which is nearly all that a server sends, take a short cut; everything else goes to
``websockets``, frame by frame. A property test holds both ways to the same messages.
"""

from __future__ import annotations

from random import getrandbits

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled wheel for this platform
    from websockets.utils import apply_mask

__all__ = ["FrameClient", "masked_text", "split"]

MAX_MESSAGE = 16 * 2**20
"""Bytes of one message; a server that sends more is broken."""

_TEXT = 0x81
_HEAD_END = b"\r\n\r\n"
MAX_HEAD = 64 * 1024


def split(data: bytes, start: int = 0) -> tuple[list[bytes], int]:
    """Cut whole, final, unmasked text frames off ``data[start:]``.

    Returns:
        Their payloads, and where the first frame begins that is of another kind or not complete.
    """
    found: list[bytes] = []
    add = found.append
    at, size = start, len(data)
    while size - at >= 2 and data[at] == _TEXT:
        length, begin = data[at + 1], at + 2
        if length >= 126:
            if length > 127:
                break
            begin += 2 if length == 126 else 8
            length = int.from_bytes(data[at + 2 : begin], "big")
        end = begin + length
        if end > size or length > MAX_MESSAGE:
            break
        add(data[begin:end])
        at = end
    return found, at


def masked_text(payload: bytes) -> bytes:
    """A client's final text frame."""
    length, mask = len(payload), getrandbits(32).to_bytes(4, "big")
    if length < 126:
        return bytes((_TEXT, 0x80 | length)) + mask + apply_mask(payload, mask)
    if length < 65536:
        return bytes((_TEXT, 0xFE)) + length.to_bytes(2, "big") + mask + apply_mask(payload, mask)
    return bytes((_TEXT, 0xFF)) + length.to_bytes(8, "big") + mask + apply_mask(payload, mask)


class FrameClient:
    """The handshake and the incoming frames of one connection.

    Attributes:
        open: The handshake has succeeded.
        failure: Why the connection is of no more use; None while it is.
    """

    __slots__ = ("_fragments", "_protocol", "_rest", "failure", "open")

    def __init__(self, uri: str) -> None:
        self._protocol = ClientProtocol(parse_uri(uri), max_size=MAX_MESSAGE)
        self._rest = b""
        self._fragments: list[bytes] = []
        self.open: bool = False
        self.failure: str | None = None
        self._protocol.send_request(self._protocol.connect())

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived and return the text messages that are now complete, in order. Binary ones are dropped."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self.open:
            at = self._handshake(data)
            if not self.open:
                return []
            data = data[at:]
        return self._read(data)

    def to_send(self) -> bytes:
        """What is to be sent now: the request, pongs, a close."""
        return b"".join(self._protocol.data_to_send())

    def close(self) -> bytes:
        """The close frame of a connection that is open. Nothing is to be fed any more."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
        return self.to_send()

    def _handshake(self, data: bytes) -> int:
        """Where frames begin, once the response to the handshake is complete."""
        end = data.find(_HEAD_END)
        if end < 0:
            self._rest = data
            if len(data) > MAX_HEAD:
                self.failure = "the answer to the WebSocket handshake is too long"
            return 0
        # Only the head goes to the protocol, so that it never holds a part of a frame that is ours to split.
        self._protocol.receive_data(data[: end + len(_HEAD_END)])
        self._protocol.events_received()
        self.open = self._protocol.state is State.OPEN
        if not self.open:
            # The protocol would wait for the response's body before it reports anything.
            first = data.partition(b"\r\n")[0].decode("latin-1")
            self.failure = f"the server refused the WebSocket: {self._protocol.handshake_exc or first[:80]}"
        return end + len(_HEAD_END)

    def _read(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        at = 0
        while self.failure is None:
            if not self._fragments:
                found, at = split(data, at)
                messages += found
            end = _end_of_frame(data, at)
            if end is None:
                self._rest = data[at:]
                break
            messages += self._uncommon(data[at:end])
            at = end
        return messages

    def _uncommon(self, frame: bytes) -> list[bytes]:
        protocol = self._protocol
        protocol.receive_data(frame)
        found = [m for event in protocol.events_received() if (m := self._message(event)) is not None]
        if protocol.close_rcvd is not None:
            self.failure = f"the server closed the WebSocket: {protocol.close_rcvd}"
        elif protocol.state is not State.OPEN:
            self.failure = f"the server broke the WebSocket protocol: {protocol.parser_exc}"
        return found

    def _message(self, frame: object) -> bytes | None:
        """The text message that this frame completes."""
        if not isinstance(frame, Frame) or frame.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            return None
        if frame.opcode is not Opcode.CONT:
            self._fragments = [b"t" if frame.opcode is Opcode.TEXT else b"b"]
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return None
        kind, *parts = self._fragments
        self._fragments = []
        return b"".join(parts) if kind == b"t" else None


def _end_of_frame(data: bytes, at: int) -> int | None:
    """Where the frame that begins at ``at`` ends; None while it is not complete."""
    if len(data) - at < 2:
        return None
    length, begin = data[at + 1] & 127, at + 2
    if data[at + 1] & 128:
        begin += 4  # a mask, which a server must not send: the protocol reports it
    if length >= 126:
        width = 2 if length == 126 else 8
        if len(data) - at < 2 + width:
            return None
        length, begin = int.from_bytes(data[at + 2 : at + 2 + width], "big"), begin + width
    # A frame beyond the bound is handed over as far as it goes: its header alone is the error.
    if length > MAX_MESSAGE:
        return len(data)
    return begin + length if begin + length <= len(data) else None
