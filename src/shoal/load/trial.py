"""Carries out one load test: connect, join, probe, warm up, measure, drain, close. Prints nothing; calls a watcher."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import randbits

from ..errors import ConfigurationError, ShoalError
from .client import Client, ClientLost
from .latency import Latencies
from .marks import make_tag
from .plan import Plan
from .polling import open_polling
from .result import Reading, Result, conclude
from .traffic import Traffic, room_of
from .websocket import open_websocket

__all__ = ["LoadTestFailed", "Progress", "run_trial"]

HANDSHAKES = 64  # connections that are being opened at one time; a server's listen queue holds at least 100
CONNECT_SECONDS = 30.0
ANSWER_SECONDS = 5.0
DRAIN_SECONDS = 3.0  # how long after the last arrival late messages are waited for
LINGER_SECONDS = 0.2  # everything may be there, and second copies still on their way
CLOSE_SECONDS = 5.0
TICK_SECONDS = 0.5


class LoadTestFailed(ShoalError):
    """The server cannot be tested like this; the message says what it did not do."""


@dataclass(frozen=True)
class Progress:
    """What a watcher gets twice a second.

    Attributes:
        phase: ``connecting``, ``joining``, ``warming up`` or ``measuring``.
        share: Of this phase that is done, 0 to 1.
        connected: Clients that are connected.
        sent_per_s, received_per_s: Since the last time.
        p50_ms, p99_ms: Latencies since the last time; None where there were none.
        tester_cpu: Share of a core that this program used since the last time.
    """

    phase: str
    share: float
    connected: int
    sent_per_s: float = 0.0
    received_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    tester_cpu: float = 0.0


Watcher = Callable[[Progress], None]


async def run_trial(plan: Plan, watch: Watcher) -> Result:
    """Carry out the plan.

    Args:
        plan: What to do; already checked.
        watch: Called about twice a second, in the loop; must not take long.

    Raises:
        LoadTestFailed: A client could not connect or join, or nothing came back. All connections are closed.
    """
    trial = _Trial(plan, watch)
    try:
        return await trial.run()
    finally:
        await trial.close()


class _Trial:
    def __init__(self, plan: Plan, watch: Watcher) -> None:
        self._plan = plan
        self._watch = watch
        self._traffic = Traffic(plan, make_tag(randbits(64)))
        self._clients = [Client(n, plan.namespace, plan.auth, self._traffic) for n in range(plan.clients)]
        self._publishers = self._clients[: plan.publishers]
        self._connecting = Latencies()
        self._seen = self._read()

    async def run(self) -> Result:
        started = time.monotonic()
        await self._connect_all()
        connect_seconds = time.monotonic() - started
        if self._plan.rooms is not None:
            await self._join_all()
        await self._probe()
        first, last = await self._measure()
        await self._settle(DRAIN_SECONDS)
        await asyncio.sleep(LINGER_SECONDS)
        return conclude(self._plan, self._traffic, first, last, self._connecting, connect_seconds)

    async def close(self) -> None:
        """Close every connection, with a close frame or packet where the server still answers."""
        self._traffic.stopped = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*(client.close() for client in self._clients))
        await asyncio.sleep(0)  # one turn of the loop, in which the connections close

    # -- before

    async def _connect_all(self) -> None:
        tls = _tls(self._plan)
        gate = asyncio.Semaphore(HANDSHAKES)
        started = time.monotonic()
        gap = self._plan.ramp / self._plan.clients

        async def connect(client: Client) -> None:
            await asyncio.sleep(started + client.number * gap - time.monotonic())
            async with gate:
                await self._connect(client, tls)

        await self._all_of(connect, "connecting")

    async def _connect(self, client: Client, tls: ssl.SSLContext | None) -> None:
        begun = time.monotonic_ns()
        opener = open_websocket if self._plan.transport == "websocket" else open_polling
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await opener(client, self._plan, tls)
                await client.ready
        except TimeoutError:
            raise self._failed(client, f"no answer within {CONNECT_SECONDS:.0f} s") from None
        except (OSError, EOFError, ClientLost, asyncio.LimitOverrunError) as error:
            raise self._failed(client, str(error) or "the server closed the connection") from error
        self._connecting.add_all(((time.monotonic_ns() - begun) // 1000,))

    def _failed(self, client: Client, reason: str) -> LoadTestFailed:
        return LoadTestFailed(f"client {client.number + 1} of {self._plan.clients} could not connect: {reason}")

    async def _join_all(self) -> None:
        plan = self._plan

        async def join(client: Client) -> None:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await client.call(plan.join_event, room_of(plan, client))
            except TimeoutError:
                raise LoadTestFailed(f"the server did not acknowledge the event {plan.join_event!r}") from None
            except ClientLost as lost:
                raise LoadTestFailed(f"a client was cut off while it joined a room: {lost}") from lost

        await self._all_of(join, "joining")

    async def _all_of(self, step: Callable[[Client], object], phase: str) -> None:
        """Take a step with every client at the same time; the first that fails ends it."""
        done = 0

        async def counted(client: Client) -> None:
            nonlocal done
            await step(client)  # type: ignore[misc]
            done += 1

        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                ticker = group.create_task(self._tick_forever(phase, lambda: done / self._plan.clients))
                tasks = [group.create_task(counted(client)) for client in self._clients]
                await asyncio.wait(tasks)
                ticker.cancel()
        except* ShoalError as errors:
            failure = errors.exceptions[0]
        if failure is not None:  # raised in there, Python 3.11.2 would put it into a group again
            raise failure from None

    async def _probe(self) -> None:
        """Check that one message comes back before thousands are sent."""
        traffic, client = self._traffic, self._clients[0]
        traffic.stopped = True
        traffic.publish(client, 0)
        await self._settle(ANSWER_SECONDS)
        traffic.stopped = False
        if traffic.has_received_its_own(client):
            return
        if client.connected and traffic.received == 0:
            raise LoadTestFailed(_nothing_came_back(self._plan))
        if client.connected:
            raise LoadTestFailed(
                "others received a message, but not its sender: the server must broadcast to all in the room"
            )
        raise LoadTestFailed(f"the first client was cut off when it had sent a message: {traffic.cut_reason}")

    # -- measuring

    async def _measure(self) -> tuple[Reading, Reading]:
        plan, traffic = self._plan, self._traffic
        publisher = None
        if plan.rate is None:
            traffic.start(self._publishers)
        else:
            publisher = asyncio.create_task(traffic.publish_at_rate(self._publishers))
        try:
            await self._tick_for("warming up", plan.warmup)
            traffic.fold()
            traffic.latency, traffic.measuring = Latencies(), True
            first = self._read()
            await self._tick_for("measuring", plan.duration)
            last = self._read()
        finally:
            if publisher is not None:
                publisher.cancel()
                with suppress(asyncio.CancelledError):
                    await publisher
        traffic.measuring, traffic.stopped = False, True
        traffic.fold()
        return first, last

    async def _tick_for(self, phase: str, seconds: float) -> None:
        started = time.monotonic()
        while (spent := time.monotonic() - started) < seconds:
            await asyncio.sleep(min(TICK_SECONDS, seconds - spent))
            self._tick(phase, (time.monotonic() - started) / seconds)
            if self._traffic.cut_off == len(self._clients):
                raise LoadTestFailed(f"every client was cut off, the first because {self._traffic.cut_reason}")

    async def _tick_forever(self, phase: str, share: Callable[[], float]) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._tick(phase, share())

    def _tick(self, phase: str, share: float) -> None:
        seen, now = self._seen, self._read()
        self._seen = now
        seconds = max(now.at - seen.at, 1e-9)
        recent = Latencies()
        recent.add_all(self._traffic.fold())
        self._watch(
            Progress(
                phase,
                min(share, 1.0),
                sum(client.connected for client in self._clients),
                (now.sent - seen.sent) / seconds,
                (now.received - seen.received) / seconds,
                recent.milliseconds(0.5),
                recent.milliseconds(0.99),
                (now.cpu - seen.cpu) / seconds,
            )
        )

    async def _settle(self, timeout: float) -> None:
        """Wait until everything has arrived, or nothing has for so many seconds."""
        traffic, received, last_arrival = self._traffic, -1, time.monotonic()
        while traffic.unique < traffic.expected and time.monotonic() - last_arrival < timeout:
            if traffic.received != received:
                received, last_arrival = traffic.received, time.monotonic()
            await asyncio.sleep(0.02)

    def _read(self) -> Reading:
        t = self._traffic
        return Reading(time.monotonic(), time.process_time(), t.sent, t.received, t.bytes)


def _nothing_came_back(plan: Plan) -> str:
    if plan.mode == "echo":
        return f"the server did not acknowledge the event {plan.event!r}; see --event"
    return (
        f"nothing came back for the event {plan.event!r}: the server must broadcast it as {plan.reply_event!r} to all,"
        " its sender included; see --event, --reply-event and --mode"
    )


def _tls(plan: Plan) -> ssl.SSLContext | None:
    if not plan.secure:
        return None
    try:
        context = ssl.create_default_context()
    except ssl.SSLError as error:
        raise ConfigurationError(f"TLS cannot be set up: {error}") from error
    if not plan.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
