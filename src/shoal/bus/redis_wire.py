"""One connection to a Redis broker: opened, greeted, read and written, and told when it is lost.

It stands directly on asyncio's protocols and on hiredis, not on redis-py's connections: measured on one core with
200-byte messages, redis-py's ``PubSub.get_message`` receives 50,000 a second, ``Connection.read_response`` 500,000,
the bus 850,000; its pipelines publish 65,000 a second, the bus 900,000. It knows no channels and never reconnects.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import Any, TypeVar, cast

import hiredis

from ..errors import BrokerError
from .redis_url import Command, Endpoint

__all__ = ["MORE", "RedisLink", "encode_command", "open_link", "reason_of"]

MORE = object()
"""What hiredis returns when the next reply is not complete."""
REASON_LENGTH = 200
"""Characters of a reason in a log line: a peer that is no broker may answer with a page of HTML."""


def encode_command(words: Command) -> bytes:
    """Return the bytes of one command."""
    return b"*%d\r\n%b" % (len(words), b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))


class RedisLink(asyncio.BufferedProtocol):
    """One connection. Subclasses say what arrives (``received``) and what a pause of writing means.

    A ``BufferedProtocol``, since asyncio's plain one allocates 256 KiB for every read: half its speed.

    Args:
        role: Names the connection, to the broker and in a reason.
        on_lost: Called once with the reason when the connection is lost, unless :meth:`abort` came first.
        read_size: Bytes of the buffer to read into.
    """

    def __init__(self, role: str, on_lost: Callable[[str], None], *, read_size: int) -> None:
        self.role = role
        self.paused: bool = False
        self.buffer: bytearray = bytearray(read_size)
        self.reader: hiredis.Reader = hiredis.Reader(notEnoughData=MORE)
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Future[None] | None = None  # there is a socket until it is done
        self._on_lost: Callable[[str], None] | None = on_lost
        self._answers: list[Any] = []
        self._expected = 0
        self._refused = ""
        self._greeted: asyncio.Future[list[Any] | BrokerError] | None = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._transport is not None

    async def greet(self, endpoint: Endpoint) -> None:
        """Log in, and make sure that the peer is a broker which takes commands.

        Raises:
            BrokerError: The broker refuses, is still loading, or the peer is no Redis broker.
        """
        name = encode_command((b"CLIENT", b"SETNAME", f"{endpoint.client_name}:{self.role}".encode()))
        commands = [*map(encode_command, endpoint.login), name, encode_command((b"PING",))]
        self._expected = len(commands)
        self.write(b"".join(commands))
        assert self._greeted is not None
        answers = await self._greeted
        if isinstance(answers, BrokerError):
            raise answers
        *logins, _, pong = answers  # a name is a courtesy: a broker may forbid CLIENT
        for answer in (*logins, pong):
            if isinstance(answer, Exception):
                raise BrokerError(str(answer))
        if pong != b"PONG":
            raise BrokerError(f"the peer answered PING with {pong!r}: it is no Redis broker")
        self._greeted = None

    def write(self, data: bytes) -> None:
        """Send ``data``; what the socket does not take now waits in the transport. See ``paused``."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Drop the connection without flushing or calling ``on_lost``."""
        self._on_lost = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    async def close(self) -> None:
        """Drop the connection and return when its socket is gone."""
        self.abort()
        if self._gone is not None:
            await self._gone

    def lose(self, reason: str) -> None:
        """Drop the connection and say why: to ``on_lost``, or to ``greet`` while that waits."""
        on_lost = self._on_lost
        self.abort()
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(BrokerError(reason))
        elif on_lost is not None:
            on_lost(reason)

    def reject(self, reply: Any) -> None:
        """A reply that is no message and no confirmation: the broker refuses a channel, or is none."""
        self.lose(str(reply) if isinstance(reply, Exception) else "the broker sent something that was not asked for")

    def received(self, count: int) -> None:
        """Handle the first ``count`` bytes of ``buffer``."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._gone = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._greeted is None:
            self.received(nbytes)
        else:
            self._collect(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        cause = f": {reason_of(exc)}" if exc else ""
        self.lose(self._refused or f"the {self.role}'s connection was closed by the broker{cause}")

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def _collect(self, count: int) -> None:
        """Gather the answers to the greeting. A complaint that nobody asked for, as "too many clients", ends it."""
        assert self._greeted is not None
        try:
            self.reader.feed(self.buffer, 0, count)  # type: ignore[arg-type]  # it takes any buffer
            while (answer := self.reader.gets()) is not MORE:
                self._answers.append(answer)
        except (hiredis.ProtocolError, TypeError) as error:  # TypeError: a map with a list for a key
            self.lose(f"the peer is no Redis broker: {error}")
            return
        if self._greeted.done():
            return
        if len(self._answers) >= self._expected:
            self._greeted.set_result(self._answers[: self._expected])
        elif self._answers and isinstance(self._answers[0], Exception):
            # "-ERR max number of clients reached", "-DENIED ...": said once, then the broker hangs up.
            self._refused = str(self._answers[0])


Link = TypeVar("Link", bound=RedisLink)


async def open_link(endpoint: Endpoint, make: Callable[[], Link]) -> Link:
    """Connect and greet.

    Args:
        endpoint: Where, and how to log in.
        make: Makes the protocol object.

    Returns:
        The link, which the caller owns and must ``close``.

    Raises:
        BrokerError: The peer refuses, or is no Redis broker.
        OSError: The peer cannot be reached, or TLS fails.
    """
    loop = asyncio.get_running_loop()
    link = make()
    try:
        await loop.create_connection(lambda: link, endpoint.host, endpoint.port, ssl=endpoint.tls)
        await link.greet(endpoint)
    except BaseException:
        await link.close()
        raise
    return link


def reason_of(error: BaseException) -> str:
    """Return what went wrong in one short line, whoever wrote the message."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"certificate not accepted: {error.verify_message}"
    elif isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        # asyncio writes "Connect call failed" and the address where uvloop writes what happened.
        text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    else:
        text = str(error) or type(error).__name__
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= REASON_LENGTH else line[:REASON_LENGTH] + "..."
