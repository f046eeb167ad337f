"""One whole packet through the decoder."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.protocol.socketio import Decoder, Limits, Packet

WIDE = Limits(attachments=1_000, depth=500)


def decode(text: bytes, attachments: Sequence[bytes] = (), limits: Limits = WIDE) -> Packet | None:
    """Feed one packet, Engine.IO's `4` in front, and its attachments."""
    decoder = Decoder(limits)
    packet = decoder.feed_text(text[1:])
    for data in attachments:
        assert packet is None
        assert decoder.waiting
        packet = decoder.feed_binary(data)
    assert not decoder.waiting or packet is None
    return packet
