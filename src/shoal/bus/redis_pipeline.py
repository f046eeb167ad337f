"""One connection that publishes and receives, in the protocol RESP3: answers and messages arrive in one order.

That order is what ``redis+streams://`` stands on: a script's answer says what the broker knew between two messages.
What is appended to a log is kept until the broker has confirmed it, and sent again after a lost link; the broker
recognizes what it has done already. Plain publishes and other scripts are sent once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import hiredis

from ..errors import BrokerError
from .base import BusStats, LogOptions, encode_channel
from .redis_scripts import APPEND, digest
from .redis_subscribe import Subscriptions
from .redis_wire import MORE, RedisLink, encode_command

__all__ = ["Answer", "Pipeline", "PipelineLink", "new_epoch"]

READ_SIZE: Final = 256 * 1024
SLICE_BYTES: Final = 256 * 1024
"""Of one script call: a broker serves nobody else meanwhile."""
SLICE_MESSAGES: Final = 500

Answer = Callable[[Any], None]
"""Takes an answer of the broker, or a :class:`BrokerError`."""

logger: Final = logging.getLogger("shoal.bus")


class PipelineLink(RedisLink):
    """The connection.

    Args:
        subscriptions: Take confirmations.
        on_message: Takes a channel's name and a payload.
        on_lost: See :class:`RedisLink`.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        on_message: Callable[[bytes, bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__("link", on_lost, read_size=READ_SIZE)
        self._subscriptions = subscriptions
        self._on_message = on_message
        self._unanswered: deque[Answer] = deque()
        self.on_writable: Callable[[], None] | None = None

    def command(self, block: bytes, answer: Answer) -> None:
        """Send a command; ``answer`` takes what the broker answers, or an error when the link is lost."""
        self._unanswered.append(answer)
        self.write(block)

    def received(self, count: int) -> None:
        try:
            self.reader.feed(self.buffer, 0, count)  # type: ignore[arg-type]  # it takes any buffer
            gets = self.reader.gets
            while (reply := gets()) is not MORE:
                if reply.__class__ is hiredis.PushNotification:
                    self._push(reply)
                elif self._unanswered:
                    self._unanswered.popleft()(_as_error(reply))
                else:
                    self.lose("the broker sent something that was not asked for")
        except (hiredis.ProtocolError, TypeError) as error:
            self.lose(f"the broker broke its protocol: {error}")

    def _push(self, reply: list[Any]) -> None:
        kind = reply[0]
        if kind == b"message":
            self._on_message(reply[1], reply[2])
        elif kind in (b"subscribe", b"unsubscribe"):
            self._subscriptions.confirm()

    def fail(self) -> None:
        """The link is lost: nothing will be answered any more."""
        unanswered, self._unanswered = self._unanswered, deque()
        for answer in unanswered:
            answer(BrokerError("the link to the broker was lost"))

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()


def _as_error(reply: Any) -> Any:
    return BrokerError(str(reply)) if isinstance(reply, Exception) else reply


class _Message(NamedTuple):
    channel: bytes
    log: bytes
    payload: bytes
    sequence: int
    """Counts what this node appends; -1: not appended, only published."""
    done: Callable[[BrokerError | None], None] | None

    @property
    def size(self) -> int:
        return len(self.channel) + len(self.log) + len(self.payload)


class Pipeline:
    """Takes messages and script calls at any time, and sends them in order while it has a link.

    Args:
        limit: Bytes that may wait.
        stats: Where messages are counted.
        label: Names the broker in the log.
        options: Of the logs.
        subscriptions: Must be sent in front of what is published after them.
        refused: Called with the reason when the broker does not take a message; the link ends.
    """

    def __init__(
        self,
        limit: int,
        stats: BusStats,
        label: str,
        options: LogOptions,
        subscriptions: Subscriptions,
        refused: Callable[[str], None],
    ) -> None:
        self._limit = limit
        self._stats = stats
        self._label = label
        self._options = options
        self._subscriptions = subscriptions
        self._refused = refused
        self._append = digest(APPEND)
        self._waiting: deque[_Message] = deque()
        self._sent: deque[list[_Message]] = deque()
        """Appended, and not confirmed: one list for each call of the script."""
        self._size = 0
        """Bytes of both."""
        self._sequence = 0
        self._dropped = 0
        self._link: PipelineLink | None = None
        self._scheduled = False
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self.last = 0
        """The newest number that was received; the next epoch begins behind it."""

    # ---- for the bus

    @property
    def waiting(self) -> int:
        """Bytes that wait, and those that the broker has not confirmed."""
        return self._size

    def publish(self, channel: str, payload: bytes) -> None:
        """Publish a message that is not kept."""
        self._put(_Message(encode_channel(channel), b"", payload, -1, None))

    def append(
        self, channel: str, log: str, payload: bytes, done: Callable[[BrokerError | None], None] | None = None
    ) -> None:
        """Number a message, keep it in a log, and publish it on a channel.

        Args:
            channel, payload: The message.
            log: Name of the log.
            done: Called when the broker has it, or with an error when it never will.
        """
        self._sequence += 1
        self._put(_Message(encode_channel(channel), encode_channel(log), payload, self._sequence, done))

    def run(self, script: bytes, keys: Iterable[bytes], args: Iterable[bytes | int], answer: Answer) -> None:
        """Call a script, behind all that was sent before. Without a link ``answer`` gets an error at once."""
        if self._link is None:
            answer(BrokerError("the link to the broker is down"))
            return
        self.flush()
        self._subscriptions.flush()
        names = list(keys)
        words = [b"EVALSHA", digest(script), b"%d" % len(names), *names]
        words += [arg if isinstance(arg, bytes) else b"%d" % arg for arg in args]
        self._link.command(encode_command(tuple(words)), answer)

    def attach(self, link: PipelineLink) -> None:
        """Send through ``link`` from now on: first what was not confirmed, then what waits."""
        self._link = link
        link.on_writable = self.flush
        self.flush()

    def detach(self) -> None:
        """Keep what is appended and published from now on."""
        link, self._link = self._link, None
        if link is not None:
            for messages in reversed(self._sent):
                kept = [message for message in messages if message.sequence >= 0]
                self._waiting.extendleft(reversed(kept))
                self._stats.unconfirmed += len(messages) - len(kept)
                self._size -= sum([message.size for message in messages if message.sequence < 0])
            self._sent.clear()
            self._drop_oldest()
        self._wake()

    async def drain(self, timeout: float) -> None:
        """Wait until the broker has answered everything, at most ``timeout`` seconds, or until the link is lost."""
        self.flush()
        if self._link is None:
            return
        self._drained = asyncio.get_running_loop().create_future()
        self._link.command(encode_command((b"PING",)), lambda answer: self._wake())
        await asyncio.wait({self._drained}, timeout=timeout)

    def close(self) -> None:
        """Drop what waits and everything that comes from now on."""
        self.detach()
        self._closed = True
        self._limit = -1
        self._drop_oldest()

    # ---- inside

    def _put(self, message: _Message) -> None:
        self._waiting.append(message)
        self._size += message.size
        if self._size > self._limit:
            self.flush()  # nothing is dropped that the socket would take
            self._drop_oldest()
        if self._link is not None and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_soon)

    def _drop_oldest(self) -> None:
        before = self._dropped
        while self._size > self._limit and self._waiting:
            message = self._waiting.popleft()
            self._size -= message.size
            self._dropped += 1
            if message.done is not None:
                message.done(BrokerError("more waits for the broker than the bound allows: the event was dropped"))
        self._stats.dropped += self._dropped - before
        if self._dropped and not before and not self._closed:
            logger.warning(
                "%s: more than %d bytes wait to be published, the oldest are dropped", self._label, self._limit
            )

    def _flush_soon(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        link = self._link
        if link is None or not self._waiting:
            return
        self._subscriptions.flush()
        while self._waiting and not link.paused and self._link is link:
            messages = self._take()
            self._sent.append(messages)
            self._stats.published += len(messages)
            link.command(self._encode(messages), self._confirmed)
        if self._dropped and not self._waiting:
            logger.warning("%s: %d messages were dropped meanwhile", self._label, self._dropped)
            self._dropped = 0

    def _take(self) -> list[_Message]:
        """The next messages that can go in one command: a published one alone, appended ones together."""
        waiting = self._waiting
        messages = [waiting.popleft()]
        size = messages[0].size
        if messages[0].sequence >= 0:
            while waiting and waiting[0].sequence >= 0 and len(messages) < SLICE_MESSAGES:
                size += waiting[0].size
                if size > SLICE_BYTES:
                    break
                messages.append(waiting.popleft())
        return messages

    def _encode(self, messages: list[_Message]) -> bytes:
        first, options = messages[0], self._options
        if first.sequence < 0:
            return encode_command((b"PUBLISH", first.channel, first.payload))
        words: list[bytes] = [b"EVALSHA", self._append, b"2", options.counter]
        words.append(f"{options.prefix}#sent#{options.sender}".encode())
        words += (b"%d" % first.sequence, new_epoch(), b"%d" % self.last, b"%d" % options.length)
        words += (b"%d" % int(options.lifetime * 1000), options.logs)
        # Their numbers must follow one another: what was dropped between two is left out of the count.
        expected = first.sequence
        for position, message in enumerate(messages):
            if message.sequence != expected + position:
                self._waiting.extendleft(reversed(messages[position:]))
                del messages[position:]
                break
            words += (message.channel, message.log, message.payload)
        return encode_command(tuple(words))

    def _confirmed(self, reply: Any) -> None:
        """The broker's answer to the oldest command that has none."""
        if not self._sent:
            return
        if isinstance(reply, BrokerError):
            if self._sent[0][0].sequence >= 0:
                if self._link is not None:  # not the link's own end
                    self._refused(str(reply))
                return
            if self._link is None:
                return
            self._stats.dropped += 1
        messages = self._sent.popleft()
        self._size -= sum([message.size for message in messages])
        for message in messages:
            if message.done is not None:
                message.done(None)

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)


def new_epoch() -> bytes:
    """A word for a count of messages that has nothing to do with any other."""
    return secrets.token_hex(4).encode()
