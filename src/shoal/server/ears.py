"""Tell sockets that listen to all that goes out of what was emitted to many: ``on_any_outgoing`` and broadcasts.

Such sockets are few, and a namespace without any pays nothing. How a broadcast reaches its clients is not known here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..cluster.messages import Broadcast as Envelope
from ..errors import SocketProtocolError
from ..protocol import msgpack
from ..protocol.socketio import EVENT, Decoder, Packet

if TYPE_CHECKING:
    from .namespace import Namespace
    from .socket import Socket

__all__ = ["tell_of_envelope", "tell_one", "tell_selected"]

log = logging.getLogger("shoal.server")


def tell_selected(
    namespace: Namespace, event: str, args: Any, rooms: tuple[str, ...], excluded: tuple[str, ...]
) -> None:
    """An event is on its way to the sockets that these rooms select."""
    for socket in namespace.ears.intersection(namespace.rooms.select(rooms, excluded)):
        tell_one(socket, event, args)


def tell_one(socket: Socket, event: str, args: Any) -> None:
    """Tell one socket. A listener that raises is logged: the others get their event all the same."""
    try:
        socket.tell_outgoing(event, args)
    except Exception:
        socket.namespace.stats.handler_errors += 1
        log.exception("socket %s: a listener of what goes out failed", socket.id)


def tell_of_envelope(namespace: Namespace, envelope: Envelope) -> None:
    """Another node's broadcast is on its way: it is opened for those who listen, and for no other."""
    try:
        packet = _decode(namespace, envelope)
    except SocketProtocolError as error:  # a server may say what exceeds the bounds of what its clients may
        log.debug("another node's broadcast is not told to listeners of what goes out: %s", error)
        return
    if packet is not None and packet.type is EVENT:
        tell_selected(namespace, packet.data[0], packet.data[1:], envelope.rooms, envelope.excluded)


def _decode(namespace: Namespace, envelope: Envelope) -> Packet | None:
    server = namespace.server
    if server.settings.parser == "msgpack":
        return msgpack.decode(b"".join(envelope.attachments), server.settings.max_depth)
    decoder = Decoder(server.limits)
    packet = decoder.feed_text(envelope.text[1:])  # behind Engine.IO's own digit
    for attachment in envelope.attachments:
        packet = decoder.feed_binary(attachment)
    return packet
