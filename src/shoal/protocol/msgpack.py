"""Socket.IO packets on the wire of ``socket.io-msgpack-parser`` 3: one msgpack map in one binary message.

Binary needs no placeholders here, and dates are msgpack's timestamps. What a peer may send is checked as in
:mod:`.socketio`; the two modules offer the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..errors import PayloadError, SocketProtocolError
from .socketio import ACK, CONNECT, DISCONNECT, EVENT, RESERVED_EVENTS, Packet, PacketType
from .values import as_json, iso_text

__all__ = ["decode", "encode"]


def _hook(value: Any) -> Any:
    if isinstance(value, memoryview):
        return bytes(value)
    return as_json(value)


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_hook)
_decoder: Final = msgspec.msgpack.Decoder()
CARRIED: Final = {int(kind): kind for kind in PacketType if kind < PacketType.BINARY_EVENT}
MAX_ACK_ID: Final = 2**53


def encode(kind: PacketType, namespace: str, data: Any, ack_id: int | None = None) -> tuple[bytes, Sequence[bytes]]:
    """Encode one packet. Returns no text, and the packet as the only attachment.

    Raises:
        PayloadError: ``data`` holds something that msgpack cannot.
    """
    packet: dict[str, Any] = {"type": int(kind), "nsp": namespace}
    if data is not None:
        packet["data"] = data
    if ack_id is not None:
        packet["id"] = ack_id
    try:
        return b"", [_encoder.encode(packet)]
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadError(f"cannot be sent: {error}") from error


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
    data = _plain(fields.get("data"), max_depth)
    _check(kind, data)
    return Packet(kind, namespace, data, ack_id)


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


def _plain(value: Any, depth: int) -> Any:
    """Lists and maps as JSON would hold them: keys are text, dates are text, nothing is too deep."""
    if depth == 0 and isinstance(value, list | dict):
        raise SocketProtocolError("nested too deep")
    if isinstance(value, list):
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, msgspec.msgpack.Ext):
        # notepack's old type 0 is `undefined`, a date or a buffer; only its absence of a value is worth keeping.
        return None if value.code == 0 else bytes(value.data)
    return iso_text(value) if hasattr(value, "isoformat") else value
