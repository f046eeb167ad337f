"""What breaks the WebSocket protocol, as a client's bytes, and the close code that RFC 6455 asks for.

The code 1003 is not among them: text and binary are both taken, so no kind of data is refused for being that kind.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass

TEXT, BINARY, CONTINUE, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
PROTOCOL_ERROR, INVALID_DATA, MESSAGE_TOO_BIG = 1002, 1007, 1009
COMPRESSED = 4  # the bit RSV1 (RFC 7692 section 6)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """One WebSocket frame of a client, right or wrong."""
    head, size = header(opcode, len(payload), fin=fin, masked=masked, rsv=rsv), len(payload)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    # One operation on long numbers: a loop over bytes takes 50 times as long.
    repeated = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(size)


def header(opcode: int, length: int, *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """The head of a frame that says it has `length` bytes; of a masked one, without the mask's four bytes."""
    first, bit = (0x80 if fin else 0) | rsv << 4 | opcode, 0x80 if masked else 0
    if length < 126:
        return bytes((first, bit | length))
    if length < 65536:
        return bytes((first, bit | 126)) + length.to_bytes(2, "big")
    return bytes((first, bit | 127)) + length.to_bytes(8, "big")


def fragments(payload: bytes, *, rsv: int = 0) -> bytes:
    """A text message in three frames, the second one empty, with a ping between them."""
    middle = len(payload) // 2
    first = frame(TEXT, payload[:middle], fin=False, rsv=rsv)
    return first + frame(CONTINUE, fin=False) + frame(PING, b"x") + frame(CONTINUE, payload[middle:])


def deflated(payload: bytes) -> bytes:
    """The payload of a message as permessage-deflate has it, in a window that every server takes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -9)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


@dataclass(frozen=True)
class Fault:
    """Bytes that break the protocol in a client that is in the namespace `/`.

    Attributes:
        data: They come with one write.
        code: Of the server's close frame.
        deflate: Whether the client has offered permessage-deflate, and the server took it.
    """

    data: bytes
    code: int
    deflate: bool = False


# Frames that break the protocol in themselves.
FRAMES = {
    "unmasked": (frame(TEXT, b'42["echo",1]', masked=False), PROTOCOL_ERROR),
    "unmasked ping": (frame(PING, b"x", masked=False), PROTOCOL_ERROR),
    "reserved bit": (frame(TEXT, b'42["echo",1]', rsv=4), PROTOCOL_ERROR),
    "another reserved bit": (frame(BINARY, b"x", rsv=1), PROTOCOL_ERROR),
    "reserved opcode": (frame(3, b"x"), PROTOCOL_ERROR),
    "reserved control opcode": (frame(11), PROTOCOL_ERROR),
    "fragmented ping": (frame(PING, b"x", fin=False), PROTOCOL_ERROR),
    "long ping": (frame(PING, b"x" * 126), PROTOCOL_ERROR),
    "fragment of nothing": (frame(CONTINUE, b"x"), PROTOCOL_ERROR),
    "message within a message": (frame(TEXT, b"42", fin=False) + frame(TEXT, b"42"), PROTOCOL_ERROR),
    "close of one byte": (frame(CLOSE, b"x"), PROTOCOL_ERROR),
    "close with no such code": (frame(CLOSE, struct.pack("!H", 999)), PROTOCOL_ERROR),
    "close with a code for no frame": (frame(CLOSE, struct.pack("!H", 1005)), PROTOCOL_ERROR),
    "close with a broken reason": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), INVALID_DATA),
}
COMPRESSED_FRAMES = {
    "no deflate stream": (frame(TEXT, b"\xff" * 9, rsv=COMPRESSED), PROTOCOL_ERROR),
    "compressed ping": (frame(PING, deflated(b"x"), rsv=COMPRESSED), PROTOCOL_ERROR),
    "compressed fragment": (
        frame(TEXT, deflated(b"42["), fin=False, rsv=COMPRESSED) + frame(CONTINUE, b"x", rsv=COMPRESSED),
        PROTOCOL_ERROR,
    ),
}
# Text messages that are no UTF-8 (section 8.1), of every packet that text can be.
TEXTS = {
    "byte that UTF-8 has not": b'42["echo","\xff"]',
    "continuation of nothing": b'42["echo","\x80"]',
    "character cut off": b'42["echo","\xc3"]',
    "overlong form": b'42["echo","\xc0\x80"]',
    "surrogate": b'42["echo","\xed\xa0\x80"]',
    "beyond Unicode": b'42["echo","\xf4\x90\x80\x80"]',
    "event with an acknowledgement": b'4299["echo","\xff"]',
    "acknowledgement": b'4399["\xff"]',
    "in broken JSON": b'42["echo",,,\xff',
    "namespace": b"42/\xff,[1]",
    "CONNECT": b'40/plain,{"token":"\xff"}',
    "no type of Socket.IO": b"4\xff",
    "no type of Engine.IO": b"\xff",
    "pong": b"3\xff",
    "noop": b"6\xff",
    "close packet": b"1\xff",
    "base64": b"b\xff",
    "above 125 bytes": b'42["echo","' + b"x" * 200 + b'\xff"]',
    "above 4096 bytes": b'42["echo","' + b"x" * 5_000 + b'\xff"]',
    "above 65535 bytes": b'42["echo","' + b"x" * 66_000 + b'\xff"]',
}
ATTACHMENT_DUE = frame(TEXT, b'451-["echo",{"_placeholder":true,"num":0}]')


def faults(limit: int) -> dict[str, Fault]:
    """All of them, by name, for a server that takes messages of `limit` bytes."""
    found = {name: Fault(*fault) for name, fault in FRAMES.items()}
    found |= {name: Fault(*fault, deflate=True) for name, fault in COMPRESSED_FRAMES.items()}
    for name, text in TEXTS.items():
        found |= {f"no UTF-8, {name}, {way}": fault for way, fault in _ways(text, INVALID_DATA).items()}
    found["no UTF-8, where an attachment is due"] = Fault(ATTACHMENT_DUE + frame(TEXT, b"42\xff"), INVALID_DATA)
    large = b'42["echo","' + b"x" * limit + b'"]'
    found |= {f"too large, {way}": fault for way, fault in _ways(large, MESSAGE_TOO_BIG).items()}
    return found


def _ways(text: bytes, code: int) -> dict[str, Fault]:
    """The ways in which one text message may come."""
    packed = deflated(text)
    return {
        "one frame": Fault(frame(TEXT, text), code),
        "behind another": Fault(frame(TEXT, b"3") + frame(TEXT, text), code),
        "fragmented": Fault(fragments(text), code),
        "compressed": Fault(frame(TEXT, packed, rsv=COMPRESSED), code, deflate=True),
        "compressed and fragmented": Fault(fragments(packed, rsv=COMPRESSED), code, deflate=True),
    }
