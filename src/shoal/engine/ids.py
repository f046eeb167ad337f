"""Ids of sessions and sockets.

Each begins with the tag of the process that made it, so that any node knows where to ask for it. The rest is random,
from ``secrets``: 128 bits in a session's id, which is a secret; 84 bits in a socket's, which other clients may see and
which has the 20 characters that Socket.IO peers expect.

In front of a session's tag stands the name of its node, where one was given: ``NAME.TAG...``. A balancer can be told
names before the nodes run, so it can send a session's requests to the right one. The tag stays what counts inside the
cluster: a node that was restarted has its old name, and none of its old sessions.
"""

from __future__ import annotations

import os
import secrets
from typing import Final

from ..settings import ROUTABLE_NAME

__all__ = ["TAG_LENGTH", "new_session_id", "new_socket_id", "new_tag", "session_prefix", "tag_of"]

TAG_LENGTH: Final = 6
SOCKET_ID_LENGTH: Final = 20
# Letters of base64 have 6 bits: 22 of them are 132.
SECRET_LENGTH: Final = 22
FETCHED: Final = 3_072
LETTERS: Final = FETCHED * 8 // 6


class _Letters:
    """Random letters, from the operating system by the thousand: each is given once."""

    def __init__(self) -> None:
        self._letters = ""
        self._given = LETTERS
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)  # else two processes would give the same

    def _forget(self) -> None:
        self._letters, self._given = "", LETTERS

    def take(self, count: int) -> str:
        if self._given + count > LETTERS:
            self._letters, self._given = secrets.token_urlsafe(FETCHED), 0
        # No call from here on: another thread's server may take some at any call, and would get the same.
        start = self._given
        self._given = end = start + count
        return self._letters[start:end]


_letters: Final = _Letters()


def new_tag() -> str:
    """A tag for a node, new with each process: 36 random bits."""
    return secrets.token_urlsafe(9)[:TAG_LENGTH]


def session_prefix(name: str, tag: str) -> str:
    """What the session ids of a process begin with: its tag, behind the node's name if that fits."""
    return f"{name}.{tag}" if ROUTABLE_NAME.fullmatch(name) else tag


def new_session_id(prefix: str) -> str:
    """A session's id. ``prefix``: see :func:`session_prefix`."""
    return prefix + _letters.take(SECRET_LENGTH)


def new_socket_id(tag: str) -> str:
    return tag + _letters.take(SOCKET_ID_LENGTH - TAG_LENGTH)


def tag_of(identifier: str) -> str:
    """The tag of the process that made an id, of a socket or a session, with a name in front of it or without."""
    return identifier.rpartition(".")[2][:TAG_LENGTH]
