"""The envelopes of the native wire, and the channels that they travel on.

An envelope carries a packet that is encoded already: a node that receives it filters by room and writes bytes, without
looking inside. On the wire it is msgpack, arrays without keys. One message holds what a node published to one channel
in one turn of its loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ..errors import BrokerError

__all__ = [
    "Broadcast",
    "Claimed",
    "Envelope",
    "Hello",
    "Leave",
    "Message",
    "Reply",
    "Request",
    "channel_of",
    "cluster_channel",
    "decode",
    "encode",
    "node_channel",
    "reply_channel",
    "sender_prefix",
]

ID_LENGTH: Final = 20
TAG_LENGTH: Final = 6


class Envelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Anything that one node sends to others."""


class Broadcast(Envelope, tag=1, frozen=True, gc=False):
    """A packet for the members of some rooms, wherever they are."""

    namespace: str
    rooms: tuple[str, ...]
    """None: everyone in the namespace."""
    excluded: tuple[str, ...]
    text: bytes
    attachments: Sequence[bytes]
    volatile: bool = False


class Hello(Envelope, tag=2, frozen=True, gc=False):
    """A node is there. Sent at the start, every few seconds, and to each newcomer."""

    node: str
    """Its name."""
    address: str = ""
    """Where other nodes reach it: ``host:port``, or ``https://host:port``. Empty while it does not know."""
    key: bytes = b""
    """What requests to it must be signed with."""
    asks: bool = False
    """Its subscriptions are placed again, and it wants an answer from each node that hears this."""
    answers: bool = False
    """To the node that asked."""


class Leave(Envelope, tag=3, frozen=True, gc=False):
    """A node leaves in order."""


class Request(Envelope, tag=4, frozen=True, gc=False):
    """A question to every node, or an order that each confirms."""

    id: str
    kind: str
    body: msgspec.Raw
    timeout: float
    """Seconds that the asker waits."""


class Reply(Envelope, tag=5, frozen=True, gc=False):
    """One node's answer."""

    id: str
    body: msgspec.Raw


class Claimed(Envelope, tag=6, frozen=True, gc=False):
    """A client of the node that receives this is at another one: its old socket here has ended."""

    pid: str
    """The secret of its state."""


class Message(msgspec.Struct, array_like=True, gc=False):
    """What a node published to one channel in one turn."""

    sender: str
    """Tag of the node; empty for a program that is no node."""
    envelopes: Sequence[Broadcast | Hello | Leave | Request | Reply | Claimed]
    group: int = 0
    """Counts a node's messages, those for logs apart; 0: not counted. One that comes twice is known by it."""


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """A message as bytes."""
    return _encoder.encode(message)


def sender_prefix(tag: str) -> bytes:
    """What every message of a node begins with: enough to know one's own without decoding it."""
    return _encoder.encode(Message(tag, []))[:-2]


def decode(data: bytes) -> Message:
    """A message from bytes.

    Raises:
        BrokerError: They are none.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BrokerError(f"not a message of a node: {error}") from error


def channel_of(prefix: str, namespace: str, rooms: tuple[str, ...]) -> str:
    """The channel on which a broadcast to ``rooms`` travels.

    To exactly one room it is the room's own, subscribed only where it has members; to several or to everyone it is the
    namespace's. A room that looks like a socket's id has the channel of its first characters: they are the tag of
    the socket's node, so that a node receives all its sockets' ids on one channel, and a room which only looks
    so is still received wherever it has members.
    """
    if len(rooms) != 1:
        return f"{prefix}#{namespace}#"
    room = rooms[0]
    return f"{prefix}#{namespace}#{room[:TAG_LENGTH] if len(room) == ID_LENGTH else room}#"


def node_channel(prefix: str, namespace: str, tag: str) -> str:
    """The channel of the ids of one node's sockets."""
    return f"{prefix}#{namespace}#{tag}#"


def cluster_channel(prefix: str) -> str:
    """The channel that every node receives: presence and requests."""
    return f"{prefix}#"


def reply_channel(prefix: str, tag: str) -> str:
    """The channel of answers to one node."""
    return f"{prefix}#@{tag}"
