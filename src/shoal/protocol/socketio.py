"""Socket.IO v5 packets: JSON with binary attachments, and how both become Engine.IO messages.

``encode`` gives the message's text as UTF-8 bytes, Engine.IO's ``4`` in front, and the attachments that follow it;
``Decoder`` takes messages as they come and gives whole packets. Encoding looks for binary in the same pass that writes
the JSON, through orjson's ``default`` hook. Every bound on what a peer may send is checked here; who may send what, and
when, is not known here (https://socket.io/docs/v4/socket-io-protocol/).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

import orjson

from ..errors import PayloadError, SocketProtocolError
from .values import as_json

__all__ = [
    "ACK",
    "CONNECT",
    "CONNECT_ERROR",
    "DISCONNECT",
    "EVENT",
    "LAST_ATTACHMENT",
    "MAX_ACK_ID_DIGITS",
    "RESERVED_EVENTS",
    "AckId",
    "Decoder",
    "Limits",
    "Packet",
    "PacketType",
    "append",
    "encode",
    "encode_answer",
    "loads",
]


class PacketType(IntEnum):
    """The packet types. A binary packet is reported as EVENT or ACK, with its attachments in place."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


CONNECT: Final = PacketType.CONNECT
DISCONNECT: Final = PacketType.DISCONNECT
EVENT: Final = PacketType.EVENT
ACK: Final = PacketType.ACK
CONNECT_ERROR: Final = PacketType.CONNECT_ERROR
BINARY: Final = {PacketType.BINARY_EVENT: EVENT, PacketType.BINARY_ACK: ACK}
BINARY_DIGIT: Final = {EVENT: b"45", ACK: b"46"}
TYPE_BY_DIGIT: Final = {48 + int(kind): kind for kind in PacketType}

LAST_ATTACHMENT: Final = b'{"_placeholder":true,"num":0}]'
"""How a packet ends whose only attachment is its last argument."""

_HEADS: Final = tuple(b"4%d" % kind for kind in PacketType)
ANSWER: Final = _HEADS[ACK]

# Names that mean something to the library on either side; a peer that sends one is broken (socket.io-parser 4.2.4).
RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
EVENT_NAME_TYPES: Final = (str, int, float)  # JavaScript allows a number as an event's name
MAX_ACK_ID_DIGITS: Final = 16  # 2**53 has 16 digits; beyond it a JavaScript peer could not have counted there

# [attachments-][/namespace,][id] of a packet, behind the type digit. The comma may be missing at the end.
_HEAD: Final = re.compile(rb"(?:(\d{1,9})-)?(?:(/[^,]*)(?:,|$))?(\d+)?")


@dataclass(slots=True)
class Packet:
    """One whole packet.

    ``data`` is the list ``[event, *args]`` of an EVENT, the list of arguments of an ACK, the payload of a CONNECT
    (``None`` when there was none), and ``None`` for DISCONNECT.
    """

    type: PacketType
    namespace: str = "/"
    data: Any = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what a peer may send; see :class:`shoal.settings.ServerSettings` for their reasons."""

    attachments: int = 10
    attachment_bytes: int = 10_000_000
    depth: int = 64


AckId: TypeAlias = int | bytes
"""An acknowledgement's id: a number or, of one that only goes back to the peer, its digits."""


def encode(kind: PacketType, namespace: str, data: Any, ack_id: AckId | None = None) -> tuple[bytes, Sequence[bytes]]:
    """Encode one packet.

    Args:
        kind: Any type but the binary ones, which are chosen when ``data`` holds bytes.
        namespace: With its slash.
        data: Anything that JSON can hold, with bytes anywhere inside. ``None`` leaves the payload out.
        ack_id: Asks for an acknowledgement (EVENT) or is one (ACK).

    Returns:
        The text of the Engine.IO message, ``4`` included, and the attachments that must follow it at once.

    Raises:
        PayloadError: ``data`` holds something that has no JSON form.
    """
    attachments: Sequence[bytes] = ()
    try:
        # The short cut: nearly all data is plain JSON, and needs no hook to look for more.
        body = b"" if data is None else orjson.dumps(data, None, orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:
        body, attachments = _dumps(data)
    head = _HEADS[kind]
    if attachments:
        if kind not in BINARY_DIGIT:
            raise PayloadError("only events and acknowledgements can carry binary")
        head = b"%b%d-" % (BINARY_DIGIT[kind], len(attachments))
    if namespace != "/":
        head += namespace.encode() + b","
    if ack_id is not None:
        head += ack_id if isinstance(ack_id, bytes) else b"%d" % ack_id
    return head + body, attachments


def append(namespace: str, text: bytes, attachments: Sequence[bytes], argument: bytes) -> tuple[bytes, Sequence[bytes]]:
    """An encoded event with one more argument.

    Args:
        namespace: As it was encoded for.
        text, attachments: What :func:`encode` gave.
        argument: A text of ASCII letters, digits and punctuation that JSON need not escape.
    """
    return b'%b,"%b"]' % (text[:-1], argument), attachments


def encode_answer(args: list[Any], digits: bytes) -> bytes | None:
    """The short cut of :func:`encode` for what answers most events: an ACK in ``/`` of plain JSON, to an id in digits.

    ``None`` if it is not that plain.
    """
    try:
        return ANSWER + digits + orjson.dumps(args, None, orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:
        return None


def _dumps(data: Any) -> tuple[bytes, list[bytes]]:
    """JSON with placeholders for binary, and the binary, found in the same pass."""
    if type(data) is list and data and type(data[-1]) is bytes:
        # The short cut for nearly all that holds binary: only the last argument does.
        try:
            text = orjson.dumps([*data[:-1], None], None, orjson.OPT_PASSTHROUGH_DATETIME)
        except TypeError:
            pass
        else:
            return text[: -len(b"null]")] + LAST_ATTACHMENT, [data[-1]]
    attachments: list[bytes] = []

    def default(value: Any) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            attachments.append(bytes(value))
            return {"_placeholder": True, "num": len(attachments) - 1}
        return as_json(value)

    try:
        return orjson.dumps(data, default, orjson.OPT_PASSTHROUGH_DATETIME), attachments
    except TypeError:
        # Keys that are no strings are rare, and the option that takes them slows every dict down.
        attachments.clear()
    try:
        return orjson.dumps(data, default, orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS), attachments
    except (TypeError, RecursionError) as error:
        raise PayloadError(f"cannot be sent: {error}") from None  # which says it all, unlike the attempts before


def loads(text: bytes, depth: int) -> Any:
    """Decode JSON that a peer sent.

    Raises:
        SocketProtocolError: It is no JSON, no UTF-8, or nested deeper than ``depth``.
    """
    try:
        value = orjson.loads(text)
    except ValueError as error:
        value = _loads_lenient(text, error)
    # A text cannot be deeper than it has opening brackets, or half its length, so most need no second look.
    if len(text) > 2 * depth and text.count(b"[") + text.count(b"{") > depth and _is_deeper(text, depth):
        raise SocketProtocolError(f"JSON nested deeper than {depth}")
    return value


def _loads_lenient(text: bytes, cause: ValueError) -> Any:
    """JavaScript sends a string that was cut inside a surrogate pair; orjson refuses it. Put U+FFFD in its place."""
    try:
        if "surrogate" not in str(cause):
            raise cause
        clean = json.dumps(json.loads(text.decode()), ensure_ascii=False).encode("utf-16", "surrogatepass")
        return orjson.loads(clean.decode("utf-16", "replace"))
    except (ValueError, RecursionError) as error:
        raise SocketProtocolError(f"bad JSON: {cause}") from error


# Only for text that has been parsed: in broken JSON an unfinished string would make this quadratic.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(sorted(set(range(256)) - set(b"[]{}")))


def _is_deeper(text: bytes, depth: int) -> bool:
    """Whether brackets are nested deeper. Each pass takes the innermost pairs away, in C."""
    brackets = _STRING.sub(b"", text).translate(_TO_SQUARE, _NO_BRACKET)
    for _ in range(depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


class Decoder:
    """Puts the messages of one connection together to packets.

    ``feed_text`` and ``feed_binary`` return a packet, or ``None`` while attachments are missing.

    Args:
        limits: Bounds of what is accepted.
    """

    __slots__ = ("_attachments", "_missing", "_packet", "_size", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits: Limits = limits
        self._packet: Packet | None = None
        self._missing = 0
        self._size = 0
        self._attachments: list[bytes] = []

    @property
    def waiting(self) -> bool:
        """Whether a packet waits for attachments."""
        return self._packet is not None

    def feed_text(self, text: bytes) -> Packet | None:
        """Take a text message, from behind Engine.IO's ``4``.

        Raises:
            SocketProtocolError: It is no Socket.IO packet, or an attachment was due instead.
        """
        if self._packet is not None:
            raise SocketProtocolError("text where an attachment was due")
        packet, count = self._decode(text)
        if count == 0:
            return packet
        self._packet, self._missing, self._size = packet, count, 0
        return None

    def feed_binary(self, data: bytes) -> Packet | None:
        """Take a binary message.

        Raises:
            SocketProtocolError: No attachment was due, or the attachments are too large together.
        """
        packet = self._packet
        if packet is None:
            raise SocketProtocolError("binary where no attachment was due")
        self._size += len(data)
        if self._size > self.limits.attachment_bytes:
            raise SocketProtocolError(f"attachments of more than {self.limits.attachment_bytes} bytes")
        self._attachments.append(data)
        self._missing -= 1
        if self._missing:
            return None
        packet.data = _fill(packet.data, self._attachments)
        self._packet, self._attachments = None, []
        return packet

    def _decode(self, text: bytes) -> tuple[Packet, int]:
        kind = TYPE_BY_DIGIT.get(text[0]) if text else None
        if kind is None:
            raise SocketProtocolError("unknown packet type")
        head = _HEAD.match(text, 1)
        assert head is not None  # every part of the pattern is optional
        count = self._count(kind, head[1])
        if head[3] is not None and len(head[3]) > MAX_ACK_ID_DIGITS:
            raise SocketProtocolError("acknowledgement id too large")
        try:
            namespace = head[2].decode() if head[2] else "/"
        except UnicodeDecodeError as error:
            raise SocketProtocolError("namespace is not UTF-8") from error
        body = text[head.end() :]
        data = loads(body, self.limits.depth) if body else None
        kind = BINARY.get(kind, kind)
        _check(kind, data, bool(body))
        return Packet(kind, namespace, data, int(head[3]) if head[3] is not None else None), count

    def _count(self, kind: PacketType, digits: bytes | None) -> int:
        if (kind in BINARY) != (digits is not None):
            raise SocketProtocolError("attachment count missing or out of place")
        count = int(digits) if digits is not None else 0
        if count > self.limits.attachments:
            raise SocketProtocolError(f"more than {self.limits.attachments} attachments")
        return count


def _check(kind: PacketType, data: Any, present: bool) -> None:
    """Hold a payload to the shape of its type (socket.io-parser 4.2.4, ``isPayloadValid``)."""
    if kind is EVENT:
        if not isinstance(data, list) or not data or type(data[0]) not in EVENT_NAME_TYPES:
            raise SocketProtocolError("an event must be a list that begins with its name")
        if data[0] in RESERVED_EVENTS:
            raise SocketProtocolError(f"event {data[0]!r} is reserved")
    elif kind is ACK:
        if not isinstance(data, list):
            raise SocketProtocolError("an acknowledgement must be a list")
    elif kind is CONNECT:
        if present and not isinstance(data, dict):
            raise SocketProtocolError("the payload of CONNECT must be an object")
    elif kind is DISCONNECT:
        if present:
            raise SocketProtocolError("DISCONNECT has no payload")
    elif not isinstance(data, str | dict):
        raise SocketProtocolError("the payload of CONNECT_ERROR must be text or an object")


def _fill(value: Any, attachments: list[bytes]) -> Any:
    """Put attachments where their placeholders stand. Depth is bounded already, so recursion is safe."""
    if isinstance(value, list):
        return [_fill(item, attachments) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is not True:
        return {key: _fill(item, attachments) for key, item in value.items()}
    number = value.get("num")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(attachments):
        raise SocketProtocolError("placeholder of no attachment")
    return attachments[number]
