"""Redis and Valkey with a log beside each channel: messages are numbered, kept, and received once and in order.

All of them have one count, that of the epoch that the broker is in. A node that lost its link subscribes again, asks
for what its logs have behind the last number that it received, and goes on; what arrives meanwhile waits for that. The
bus knows logs and channels by name and looks into no payload.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from ..errors import BrokerError, ConfigurationError
from .base import DEFAULT_LIMITS, BusLimits, LogOptions
from .redis import PROBE_TICKS, RedisBus
from .redis_pipeline import Answer, Pipeline, PipelineLink, new_epoch
from .redis_scripts import OPEN, READ, SCRIPTS
from .redis_wire import encode_command, open_link

__all__ = ["RedisStreamsBus"]

SCHEMES: Final = ("redis+streams", "rediss+streams")
LOGS_PER_READ: Final = 500
"""A broker serves nobody else while it reads them."""
CATCH_UP_BYTES: Final = 64 * 1024 * 1024
"""What a node reads at most when its link is back; it waits in memory until the last log was read. A node that missed
more lets its clients come back one by one."""

logger: Final = logging.getLogger("shoal.bus")

OnEntry = Callable[[int, bytes], None]
"""Takes a message's number and its payload."""
OnGap = Callable[[Iterable[str] | None, bool], None]
"""Told that messages of these logs (``None``: of any) are lost to this node, and whether to everybody."""


def _ignore(*_: Any) -> None:
    """Nobody has started the bus yet."""


def _no_logs() -> list[str]:
    return []


class RedisStreamsBus(RedisBus):
    """A :class:`shoal.bus.Bus` that keeps what is appended.

    Args:
        url: ``redis+streams://`` or ``rediss+streams://``, and the rest as for :class:`.redis.RedisBus`.
        options: Of the logs.
        limits: Bounds and intervals.

    Raises:
        ConfigurationError: The URL cannot be used.
    """

    def __init__(self, url: str, options: LogOptions, *, limits: BusLimits = DEFAULT_LIMITS) -> None:
        scheme, _, rest = url.partition("://")
        if scheme not in SCHEMES:
            raise ConfigurationError(f"broker {scheme}://: not one of {', '.join(SCHEMES)}")
        super().__init__(f"{scheme.partition('+')[0]}://{rest}", limits=limits)
        self._label = f"broker {self._endpoint.label.replace('://', '+streams://', 1)}"
        self.options = options
        self.epoch: str = ""
        """What the broker's count belongs to; empty before the first link."""
        self.epochs: int = 0
        """Times that the broker was found to have lost its memory, or a part of it."""
        self.pipeline: Pipeline = Pipeline(
            limits.buffer_bytes, self.stats, self._label, options, self._subscriptions, self._is_refused
        )
        self._publisher = self.pipeline  # type: ignore[assignment] # what the base asks of a publisher, it can
        self.logs: Callable[[], Iterable[str]] = _no_logs
        """Names the logs that this node must not miss anything of."""
        self.on_entry: OnEntry = _ignore
        self.on_gap: OnGap = _ignore
        self._run_id = b""
        """Of the broker: changes when it is started again."""
        self._well_at = 0.0
        """When the link was last known to work."""
        self.catching_up: bool = False
        self._pending: list[tuple[int, bytes]] = []
        """What arrives while logs are read."""

    @property
    def last(self) -> int:
        """The newest number that was received."""
        return self.pipeline.last

    def append(
        self, channel: str, log: str, payload: bytes, done: Callable[[BrokerError | None], None] | None = None
    ) -> None:
        """Number a message, keep it in a log, and publish it. See :meth:`.Pipeline.append`."""
        self.pipeline.append(channel, log, payload, done)

    def run(self, script: bytes, keys: Iterable[bytes], args: Iterable[bytes | int], answer: Answer) -> None:
        """Call a script. See :meth:`.Pipeline.run`; its answer comes in line with the messages."""
        self.pipeline.run(script, keys, args, answer)

    def publish_first(self, channel: str, payload: bytes) -> None:
        """Publish; nothing is held."""
        self.publish(channel, payload)

    def hold(self) -> None:
        """Nothing is held: who was away reads what it missed."""

    def release(self) -> int:
        return 0

    # ---- the life of the link

    async def _connect(self) -> None:
        timeout = self._limits.connect_timeout
        make = functools.partial(PipelineLink, self._subscriptions, self._receive, self._link_is_down)
        self.catching_up, self._pending = True, []
        try:
            async with asyncio.timeout(timeout):
                link = await open_link(self._endpoint, make)
                self._links.append(link)
                self._raise_if_lost()
                await self._command(link, b"HELLO", b"3")
                for script in SCRIPTS:
                    await self._command(link, b"SCRIPT", b"LOAD", script)
                run = await self._find_run(link)
        except TimeoutError as error:
            raise BrokerError(f"no answer within {timeout:g} s") from error
        self._subscriptions.attach(link)
        placed = await self._subscriptions.placed(timeout)
        self._raise_if_lost()
        if not placed:
            raise BrokerError(f"subscriptions not confirmed within {timeout:g} s")
        try:
            async with asyncio.timeout(4 * timeout):  # all logs
                await self._open(link, run)
        except TimeoutError as error:
            raise BrokerError(f"no answer within {timeout:g} s") from error
        self._raise_if_lost()
        self.pipeline.attach(link)

    async def _find_run(self, link: PipelineLink) -> bytes:
        """What the broker calls its run; nothing where it does not say."""
        try:
            info = await self._command(link, b"INFO", b"server")
        except BrokerError:  # no right to ask
            self._raise_if_lost()
            return b""
        found = re.search(rb"run_id:(\w+)", info if isinstance(info, bytes) else str(info).encode())
        return found[1] if found else b""

    async def _open(self, link: PipelineLink, run: bytes) -> None:
        """See which epoch the broker is in; read what was missed."""
        last = self.last
        arguments = (self.epoch.encode(), b"%d" % last, new_epoch(), run, self._run_id)
        try:
            epoch, number = await self._eval(link, OPEN, (self.options.counter,), arguments)
        except BrokerError as error:
            self._raise_if_lost()
            raise BrokerError(_refusal(str(error))) from error
        known, self.epoch, self._run_id = self.epoch, epoch.decode(), run
        away, self._well_at = self._now() - self._well_at, self._now()
        is_expired = int(number) > last and away >= self.options.lifetime  # logs of that time may be forgotten
        if known == self.epoch and not is_expired:
            await self._catch_up(link, last)
            return
        self.pipeline.last = int(number)
        self.catching_up = False
        if known:
            self.epochs += known != self.epoch
            self.on_gap(None, True)
        self._release()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _catch_up(self, link: PipelineLink, last: int) -> None:
        names = [name.encode("utf-8", "surrogatepass") for name in self.logs()]
        found: dict[int, bytes] = {}
        gaps: list[str] = []
        size = 0
        for start in range(0, len(names), LOGS_PER_READ):
            arguments = (b"%d" % last, b"%d" % self.options.length, self.options.logs)
            answer = await self._eval(link, READ, (), (*arguments, *names[start : start + LOGS_PER_READ]))
            gaps += [name.decode("utf-8", "surrogatepass") for name in answer[0]]
            entries = answer[1]
            for number, payload in zip(entries[::2], entries[1::2], strict=True):
                found[int(number)] = payload
                size += len(payload)
            if size > CATCH_UP_BYTES:
                break
        self.catching_up = False
        if size > CATCH_UP_BYTES:
            self.on_gap(None, False)
            found.clear()
        elif gaps:
            self.on_gap(gaps, False)
        self._pending.extend(found.items())
        self._release()

    def _release(self) -> None:
        """Pass on what waited, in the order of the numbers."""
        pending, self._pending = dict(self._pending), []
        for number in sorted(pending):
            if number > self.last:
                self._deliver(number, pending[number])

    async def _command(self, link: PipelineLink, *words: bytes) -> Any:
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        link.command(encode_command(words), functools.partial(_resolve, answered))
        await asyncio.wait({answered, *([self._lost] if self._lost is not None else [])}, return_when="FIRST_COMPLETED")
        self._raise_if_lost()
        answer = answered.result()
        if isinstance(answer, BrokerError):
            raise answer
        return answer

    async def _eval(
        self, link: PipelineLink, script: bytes, keys: tuple[bytes, ...], arguments: tuple[bytes, ...]
    ) -> Any:
        return await self._command(link, b"EVAL", script, b"%d" % len(keys), *keys, *arguments)

    def _is_refused(self, reason: str) -> None:
        """The broker takes no messages, for want of memory, of rights, or since it is a replica: what waits, waits."""
        self._link_is_down(_refusal(reason))

    def _link_is_down(self, reason: str) -> None:
        links = [link for link in self._links if isinstance(link, PipelineLink)]
        was_lost = self._lost is None or self._lost.done()
        super()._link_is_down(reason)
        if not was_lost:
            for link in links:
                link.fail()

    async def _watch(self, lost: asyncio.Future[str]) -> None:
        """Ask the broker for a sign of life now and then."""
        tick = self._limits.probe_timeout / PROBE_TICKS
        [link] = [link for link in self._links if isinstance(link, PipelineLink)]
        while True:
            await asyncio.wait({lost}, timeout=self._limits.probe_interval)
            self._raise_if_lost()
            answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            link.command(encode_command((b"PING",)), functools.partial(_resolve, answered))
            silent_ticks = 0
            while silent_ticks < PROBE_TICKS and not answered.done():
                before = self.stats.received
                await asyncio.wait({lost, answered}, timeout=tick, return_when="FIRST_COMPLETED")
                self._raise_if_lost()
                silent_ticks = 0 if self.stats.received > before else silent_ticks + 1
            if not answered.done():
                self._link_is_down(f"a probe was not answered within {self._limits.probe_timeout:g} s")
            else:
                self._well_at = self._now()

    # ---- what arrives

    def _receive(self, name: bytes, payload: bytes) -> None:
        if payload[:1] != b"L":
            self._subscriptions.deliver(name, payload)
            return
        head, _, body = payload.partition(b":")
        epoch, _, number = head[1:].partition(b".")
        if self.catching_up:
            self._pending.append((int(number), body))
        elif epoch.decode("ascii", "replace") != self.epoch:
            self._link_is_down("the broker has lost its memory: it counts messages anew")
        elif self._subscriptions.wants(name):
            self._deliver(int(number), body)

    def _deliver(self, number: int, payload: bytes) -> None:
        self.pipeline.last = number
        self.stats.received += 1
        try:
            self.on_entry(number, payload)
        except Exception:  # whatever the layer above raises: the next message must arrive all the same
            logger.exception("a message was not handled")


def _refusal(reason: str) -> str:
    """The same words for each script that the broker refuses: they are logged once."""
    return f"the broker takes no messages: {reason.partition(' script: ')[0]}"


def _resolve(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)
