"""Engine.IO v4 packets and long-polling payloads (https://socket.io/docs/v4/engine-io-protocol/).

A packet is a ``str`` (its type digit and its text) or ``bytes`` (a binary message, which has no digit). That is what a
WebSocket frame carries as it is, and what a polling payload carries with binary in base64, packets parted by ``0x1e``.
The module does not know what a message means, nor when a packet may come: that is :mod:`.session`.
"""

from __future__ import annotations

import binascii
import functools
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from ..errors import EngineProtocolError

__all__ = [
    "CLOSE",
    "MESSAGE",
    "NOOP",
    "OPEN",
    "PING",
    "PONG",
    "SEPARATOR",
    "UPGRADE",
    "Packet",
    "binary_as_text",
    "binary_from_text",
    "decode_payload",
    "encode_open",
    "encode_payload",
    "payload_size",
]

Packet = str | bytes

OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
UPGRADE: Final = "5"
NOOP: Final = "6"
TYPES: Final = frozenset("0123456")
SEPARATOR: Final = "\x1e"


def encode_open(sid: str, upgrades: Sequence[str], ping_interval: float, ping_timeout: float, max_payload: int) -> str:
    """The first packet of a session. Durations are given in seconds and announced in whole milliseconds.

    The id must need no escape in JSON.
    """
    return f'{OPEN}{{"sid":"{sid}",{_open_rest(tuple(upgrades), ping_interval, ping_timeout, max_payload)}'


@functools.lru_cache
def _open_rest(upgrades: tuple[str, ...], ping_interval: float, ping_timeout: float, max_payload: int) -> str:
    """What the first packets of all sessions of an engine have in common."""
    handshake = {
        "upgrades": upgrades,
        "pingInterval": round(ping_interval * 1000),
        "pingTimeout": round(ping_timeout * 1000),
        "maxPayload": max_payload,
    }
    return orjson.dumps(handshake).decode()[1:]


def encode_payload(packets: Iterable[Packet]) -> bytes:
    """Join packets to the body of one polling request or response."""
    return SEPARATOR.join([packet if isinstance(packet, str) else binary_as_text(packet) for packet in packets]).encode(
        "utf-8", "surrogatepass"
    )


def binary_as_text(data: bytes) -> str:
    """A binary message where only text can travel: in a polling payload, or for a client without binary frames."""
    return "b" + b64encode(data).decode()


def binary_from_text(text: str) -> bytes:
    """The reverse of :func:`binary_as_text`.

    Raises:
        EngineProtocolError: What follows the ``b`` is no base64.
    """
    try:
        return binascii.a2b_base64(text[1:].encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError) as error:
        raise EngineProtocolError("bad base64 in payload") from error


def payload_size(packet: Packet) -> int:
    """Bytes, nearly, that a packet takes in a polling payload; exact for ASCII."""
    return len(packet) + 1 if isinstance(packet, str) else 4 * (len(packet) + 2) // 3 + 2


def decode_payload(body: bytes, max_packets: int) -> list[Packet]:
    """Part the body of a polling request into packets.

    Args:
        body: What the client posted.
        max_packets: More packets than this are an error.

    Raises:
        EngineProtocolError: Not UTF-8, an unknown packet type, bad base64, or too many packets.
    """
    if body.count(b"\x1e") >= max_packets:
        raise EngineProtocolError(f"more than {max_packets} packets in one request")
    try:
        texts = body.decode().split(SEPARATOR)
    except UnicodeDecodeError as error:
        raise EngineProtocolError("payload is not UTF-8") from error
    return [_decode_packet(text) for text in texts]


def _decode_packet(text: str) -> Packet:
    kind = text[:1]
    if kind in TYPES and kind:
        return text
    if kind == "b":
        return binary_from_text(text)
    raise EngineProtocolError(f"unknown packet type {kind!r}")
