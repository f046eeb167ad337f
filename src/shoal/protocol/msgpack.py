"""Socket.IO packets on the wire of ``socket.io-msgpack-parser`` 3: one msgpack map in one binary message.

Binary needs no placeholders here. Dates, ``undefined`` and array buffers are extensions of type 0, as notepack.io 2.2
writes them, on which that parser stands: fixext 8 with milliseconds since 1970, fixext 1, and ext of any length. What
a peer may send is checked as in :mod:`.socketio`; the two modules offer the same functions.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..errors import PayloadError, SocketProtocolError
from .socketio import ACK, CONNECT, DISCONNECT, EVENT, RESERVED_EVENTS, AckId, Packet, PacketType
from .values import as_json, iso_text

__all__ = ["append", "decode", "encode"]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder()
# What is left as it is when everything else becomes lists, dicts, text and numbers.
KEPT: Final = (bytes, bytearray, memoryview, dt.datetime, dt.date, dt.time, dt.timedelta)
SAME: Final = frozenset({str, int, float, bool, bytes, type(None)})
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND: Final = dt.timedelta(milliseconds=1)
CARRIED: Final = {int(kind): kind for kind in PacketType if kind < PacketType.BINARY_EVENT}
MAX_ACK_ID: Final = 2**53


def encode(kind: PacketType, namespace: str, data: Any, ack_id: AckId | None = None) -> tuple[bytes, Sequence[bytes]]:
    """Encode one packet. Returns no text, and the packet as the only attachment.

    Raises:
        PayloadError: ``data`` holds something that msgpack cannot.
    """
    packet: dict[str, Any] = {"type": int(kind), "nsp": namespace}
    if ack_id is not None:
        packet["id"] = int(ack_id)
    try:
        if data is not None:
            if not _is_plain(data):
                data = _wired(msgspec.to_builtins(data, builtin_types=KEPT, enc_hook=as_json))
            packet["data"] = data
        return b"", [_encoder.encode(packet)]
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadError(f"cannot be sent: {error}") from error


def append(namespace: str, text: bytes, attachments: Sequence[bytes], argument: bytes) -> tuple[bytes, Sequence[bytes]]:
    """An encoded event with one more argument, a text of ASCII. See :func:`.socketio.append`.

    Its ``data`` stands last, so only the head of that array is written anew (msgpack's specification, array format).
    """
    [packet] = attachments
    start = _length_of_head(namespace)
    first = packet[start]
    if first == 0xDC:
        count, end = int.from_bytes(packet[start + 1 : start + 3], "big"), start + 3
    elif first == 0xDD:
        count, end = int.from_bytes(packet[start + 1 : start + 5], "big"), start + 5
    else:
        count, end = first & 0x0F, start + 1
    text_of_it = _encoder.encode(argument.decode("ascii"))
    return text, [b"%b%b%b%b" % (packet[:start], _array_head(count + 1), packet[end:], text_of_it)]


def _array_head(count: int) -> bytes:
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big") if count < 2**16 else b"\xdd" + count.to_bytes(4, "big")


@functools.lru_cache(maxsize=1024)
def _length_of_head(namespace: str) -> int:
    """Bytes of an event's packet in front of its data."""
    return len(_encoder.encode({"type": int(EVENT), "nsp": namespace, "data": []})) - 1


def decode(message: bytes, max_depth: int) -> Packet:
    """Decode one packet.

    Raises:
        SocketProtocolError: It is none, or is nested deeper than ``max_depth``.
    """
    try:
        fields = _decoder.decode(message)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise SocketProtocolError(f"bad msgpack: {error}") from error
    if not isinstance(fields, dict):
        raise SocketProtocolError("a packet must be a map")
    kind = CARRIED.get(fields.get("type", -1)) if type(fields.get("type")) is int else None
    namespace, ack_id = fields.get("nsp", "/"), fields.get("id")
    if kind is None or type(namespace) is not str or not namespace.startswith("/"):
        raise SocketProtocolError("unknown packet type, or a bad namespace")
    if ack_id is not None and not (type(ack_id) is int and 0 <= ack_id < MAX_ACK_ID):
        raise SocketProtocolError("bad acknowledgement id")
    data = fields.get("data")
    try:
        if not (max_depth and _is_plain(data)):
            data = _plain(data, max_depth, Fixed(message))
    except RecursionError as error:  # a key may be a list, nested as deep as msgspec allows
        raise SocketProtocolError("nested too deep") from error
    _check(kind, data)
    return Packet(kind, namespace, data, ack_id)


def _is_plain(data: Any) -> bool:
    """Whether it is what most events are, a list in which nothing has to be converted on either way."""
    return type(data) is list and SAME.issuperset(map(type, data))


def _check(kind: PacketType, data: Any) -> None:
    """The parser's own ``isDataValid``."""
    if kind is EVENT:
        if not isinstance(data, list) or not data or not isinstance(data[0], str) or data[0] in RESERVED_EVENTS:
            raise SocketProtocolError("an event must be a list that begins with its name")
    elif kind is ACK:
        if not isinstance(data, list):
            raise SocketProtocolError("an acknowledgement must be a list")
    elif kind is CONNECT:
        if data is not None and not isinstance(data, dict):
            raise SocketProtocolError("the payload of CONNECT must be a map")
    elif kind is DISCONNECT:
        if data is not None:
            raise SocketProtocolError("DISCONNECT has no payload")
    elif not isinstance(data, dict):
        raise SocketProtocolError("the payload of CONNECT_ERROR must be a map")


def _wired(value: Any) -> Any:
    """Dates as notepack writes them: msgspec's own timestamp is no date to it."""
    kind = type(value)
    if kind is list or kind is tuple:
        return [_wired(item) for item in value]
    if kind is dict:
        return {key: _wired(item) for key, item in value.items()}
    if isinstance(value, dt.datetime):
        milliseconds = ((value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)) - EPOCH) // MILLISECOND
        return msgspec.msgpack.Ext(0, milliseconds.to_bytes(8, "big", signed=True))
    if isinstance(value, dt.date | dt.time | dt.timedelta):
        return as_json(value)
    return bytes(value) if kind is memoryview else value


def _plain(value: Any, depth: int, fixed: Fixed) -> Any:
    """Lists and maps as JSON would hold them: keys are text, dates are text, nothing is too deep."""
    if depth == 0 and isinstance(value, list | dict):
        raise SocketProtocolError("nested too deep")
    if isinstance(value, list):
        return [_plain(item, depth - 1, fixed) for item in value]
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else str(key): _plain(item, depth - 1, fixed) for key, item in value.items()
        }
    if isinstance(value, msgspec.msgpack.Ext):
        return _extension(value, fixed)
    return iso_text(value) if hasattr(value, "isoformat") else value


class Fixed:
    """What stands behind the marks of fixexts in a message, found once: a search for each extension is quadratic."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    @functools.cached_property
    def undefined(self) -> set[bytes]:
        return set(re.findall(rb"(?s)(?<=\xd4\x00).", self._message))

    @functools.cached_property
    def dates(self) -> set[bytes]:
        return set(re.findall(rb"(?s)(?=\xd7\x00(.{8}))", self._message))


def _extension(value: msgspec.msgpack.Ext, fixed: Fixed) -> Any:
    """A date as text, ``undefined`` as ``None``, all else as bytes.

    msgspec does not tell a fixext from an ext of the same length: the message does.
    """
    data = bytes(value.data)
    if value.code == 0 and len(data) == 1 and data in fixed.undefined:
        return None
    if value.code == 0 and len(data) == 8 and data in fixed.dates:
        try:
            return iso_text(EPOCH + int.from_bytes(data, "big", signed=True) * MILLISECOND)
        except OverflowError:  # beyond the years that Python counts
            return None
    return data
