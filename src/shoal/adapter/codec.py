"""Packets to bytes and back, on the wire that the option ``parser`` names: JSON with attachments, or msgpack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..errors import PayloadError
from ..protocol import msgpack, socketio
from ..protocol.socketio import EVENT, RESERVED_EVENTS, AckId, Decoder, Limits, Packet, PacketType
from ..settings import ServerSettings

__all__ = ["Codec"]


class Encode(Protocol):
    """:func:`shoal.protocol.socketio.encode`, and its like."""

    def __call__(
        self, kind: PacketType, namespace: str, data: Any, ack_id: AckId | None = None
    ) -> tuple[bytes, Sequence[bytes]]: ...


class Codec:
    """The wire of one server.

    Args:
        settings: Which parser, and the bounds of what a peer may send.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.is_msgpack: bool = settings.parser == "msgpack"
        self.limits: Limits = Limits(settings.max_attachments, settings.max_attachment_bytes, settings.max_depth)
        self.encode: Encode = msgpack.encode if self.is_msgpack else socketio.encode
        """A packet as text and attachments; see :func:`shoal.protocol.socketio.encode`."""
        self.append: Callable[[str, bytes, Sequence[bytes], bytes], tuple[bytes, Sequence[bytes]]] = (
            msgpack.append if self.is_msgpack else socketio.append
        )
        """An encoded event with one more argument, a text; see :func:`shoal.protocol.socketio.append`."""

    def encode_event(
        self, namespace: str, event: str, args: Sequence[Any], ack_id: int | None = None
    ) -> tuple[bytes, Sequence[bytes]]:
        """An event as text and attachments.

        Raises:
            PayloadError: The name is reserved, or an argument has no JSON form.
        """
        if event in RESERVED_EVENTS:
            raise PayloadError(f"{event!r} is a reserved event name")
        return self.encode(EVENT, namespace, [event, *args], ack_id)

    def decode(self, text: bytes, attachments: Sequence[bytes]) -> Packet | None:
        """The packet that another node encoded; ``None`` if attachments are missing.

        Raises:
            SocketProtocolError: It exceeds the bounds of what a client may send.
        """
        if self.is_msgpack:
            return msgpack.decode(b"".join(attachments), self.limits.depth)
        decoder = Decoder(self.limits)
        packet = decoder.feed_text(text[1:])  # behind Engine.IO's own digit
        for attachment in attachments:
            packet = decoder.feed_binary(attachment)
        return packet
