"""Ids of sessions and sockets.

Each begins with the tag of the node that made it, so that any node knows where to ask for it. The rest is random, from
``secrets``: 128 bits in a session's id, which is a secret; 84 bits in a socket's, which other clients may see and which
has the 20 characters that Socket.IO peers expect.
"""

from __future__ import annotations

import secrets
from typing import Final

__all__ = ["TAG_LENGTH", "new_session_id", "new_socket_id", "new_tag", "tag_of"]

TAG_LENGTH: Final = 6
SOCKET_ID_LENGTH: Final = 20


def new_tag() -> str:
    """A tag for a node, new with each process: 36 random bits."""
    return secrets.token_urlsafe(9)[:TAG_LENGTH]


def new_session_id(tag: str) -> str:
    return tag + secrets.token_urlsafe(16)


def new_socket_id(tag: str) -> str:
    return tag + secrets.token_urlsafe(11)[: SOCKET_ID_LENGTH - TAG_LENGTH]


def tag_of(identifier: str) -> str:
    """The tag that an id begins with."""
    return identifier[:TAG_LENGTH]
