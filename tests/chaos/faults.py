"""Faults at random in a cluster that people talk through, and what came of it: `make chaos`, and test_streams.py.

Four nodes behind HAProxy on a broker that keeps all on disk, the official client in one Node process (talkers.cjs),
and every so often a fault: a node killed, stopped for a while or restarted, the broker stopped, killed or told to cut
its subscribers off, the balancer reloaded, which cuts 5 s later all connections that it had before. The same seed gives
the same faults, as far as the machine is as fast. What counts as a loss is the clients' business.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.brokers import Broker
from tests.interop.fleet import START, Fleet
from tests.interop.wire import eventually
from tests.requirements import need, need_npm
from tests.servers import ROOT, tracebacks

NODES = 4
UNHARMED = 2  # nodes that no fault is at work on, at least
INTERVAL = 2.0  # seconds from one fault to the next, in the long form
PACE = 0.12  # seconds between two messages of a client, on average
VERDICT = 60.0  # seconds: all reconnected, what is missing waited for; and a fifth of the run for the counting
LONGEST = 20.0  # seconds: a node that is stopped, in the long form
LINE = 2**26  # bytes of one line of the talkers
# Clients leave a node that has stopped before it goes on, some of the time.
HEARTBEAT = {"SHOAL_PING_INTERVAL": "0.5", "SHOAL_PING_TIMEOUT": "1.5"}
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
BAD = ("lost", "twice", "disorder", "unrecovered", "disconnected")
"""No promise is kept that counts one of these. The others are what docs/recovery.md excepts: "given_up" was said and
not acknowledged in time; of it, "given_up_heard" was done all the same, and "late" behind what was said since."""


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    verdict: dict[str, Any] = field(default_factory=dict)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    reloads: int = 0
    """Times that the balancer began anew."""

    @property
    def bad(self) -> dict[str, int]:
        """The kinds of failure that there were, with their number."""
        return {name: self.verdict[name] for name in BAD if self.verdict[name]}

    @property
    def mistakes(self) -> list[str]:
        """Tracebacks of the nodes."""
        return [line for log in self.logs for line in tracebacks(log)]

    def __str__(self) -> str:
        counts = {name: count for name, count in self.verdict.items() if isinstance(count, int) and name != "began"}
        lines = [f"seed {self.seed}", *(f"{at:7.2f} s  {what}" for at, what in self.timeline)]
        lines.append("verdict: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
        for kind, examples in self.verdict.get("examples", {}).items():
            lines += [f"  {kind}: {json.dumps(each)}" for each in examples[: None if kind in BAD else 1]]
        listeners = {each["listener"] for kind in BAD for each in self.verdict.get("examples", {}).get(kind, ())}
        lines += [f"  client {name}: {json.dumps(self.verdict['connects'][str(name)])}" for name in sorted(listeners)]
        return "\n".join(lines)


class Storm:
    """One run.

    Args:
        scheme: Of the broker's address: "redis+streams" or "redis".
        folder: For the files of the balancer.
        seconds: How long there are faults.
        clients: How many talk.
        seed: For all that is at random.
        interval: Seconds from one fault to the next, on average.
        quiet: Seconds without anything new, after which what is missing counts as lost.
        longest: Seconds for which a node is stopped at most, and a quarter of it the broker is.
    """

    def __init__(
        self,
        scheme: str,
        folder: Path,
        seconds: float,
        clients: int,
        seed: int,
        interval: float = INTERVAL,
        quiet: float = 4.0,
        longest: float = 3.0,
    ) -> None:
        need_npm("socket.io-client")
        self.node = need("node", "nodejs")
        self.broker = Broker(options=DURABLE)
        url = self.broker.url.replace("redis", scheme, 1)
        environment = {"SHOAL_BROKER": url, **HEARTBEAT}
        self.fleet = Fleet("haproxy", folder, NODES, app="tests.apps.rooms:io", environment=environment, reloads=True)
        self.seconds, self.clients, self.interval, self.quiet = seconds, clients, interval, quiet
        self.longest = longest
        self.outcome = Outcome(seed)
        self._random = random.Random(seed)
        self._harmed: set[int] = set()
        self._broker_busy = False
        self._began = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> Outcome:
        with self.broker, self.fleet.balanced(NODES):
            asyncio.run(self._run())
            servers = list(self.fleet.running.values())
            self.outcome.logs += [server.log() for server in servers]
        return self.outcome

    async def _run(self) -> None:
        async with self._talkers() as talkers:
            self._began = time.monotonic()
            await self._line(talkers, START)
            self._note("all talk")
            await self._all_faults()
            assert talkers.stdin is not None
            talkers.stdin.write(b"stop\n")
            self.outcome.verdict = await self._line(talkers, VERDICT + self.seconds / 5)
            self._note("all is settled")

    @contextlib.asynccontextmanager
    async def _talkers(self) -> AsyncIterator[Process]:
        settings = {"url": f"http://127.0.0.1:{self.fleet.port}", "clients": self.clients, "rooms": 6, "joined": 3}
        settings |= {"interval": PACE * 1000, "quiet": self.quiet * 1000, "seed": self.outcome.seed}
        environment = {**os.environ, "SHOAL_TEST_TALKERS": json.dumps(settings)}
        script = str(Path(__file__).parent / "talkers.cjs")
        process = await asyncio.create_subprocess_exec(
            self.node, script, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, limit=LINE
        )
        try:
            yield process
            await asyncio.wait_for(process.wait(), START)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _line(self, talkers: Process, seconds: float) -> dict[str, Any]:
        assert talkers.stdout is not None
        line = await asyncio.wait_for(talkers.stdout.readline(), seconds)
        assert line, "the clients ended before their time"
        found: dict[str, Any] = json.loads(line)
        return found

    def _note(self, what: str) -> None:
        self.outcome.timeline.append((time.monotonic() - self._began, what))

    # ---- faults

    async def _all_faults(self) -> None:
        until = time.monotonic() + self.seconds
        deck: list[Callable[[Storm, float, float], Coroutine[Any, Any, None]]] = []
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self.interval * self._random.uniform(0.6, 1.4)))
            for task in [task for task in self._tasks if task.done()]:
                self._tasks.remove(task)
                task.result()
            if not deck:
                deck = self._random.sample(FAULTS, len(FAULTS))  # each kind once before any comes again
            fault = deck.pop()
            which, length = self._random.random(), self._random.random()
            self._tasks.add(asyncio.create_task(fault(self, which, length)))
        await asyncio.gather(*self._tasks)

    @contextlib.asynccontextmanager
    async def _one_node(self, which: float) -> AsyncIterator[int | None]:
        """A node that is well and may be harmed, if there is one."""
        well = [port for port in self.fleet.ports if port not in self._harmed]
        if len(well) <= UNHARMED:
            yield None
            return
        port = well[int(which * len(well))]
        self._harmed.add(port)
        yield port
        self._harmed.discard(port)

    async def _kill(self, which: float, length: float) -> None:
        async with self._one_node(which) as port:
            if port is not None:
                self._note(f"kill -9 of node {port}")
                await self._again(port, lambda: asyncio.to_thread(self.fleet.running[port].kill), length)

    async def _terminate(self, which: float, length: float) -> None:
        async with self._one_node(which) as port:
            if port is not None:
                self._note(f"SIGTERM of node {port}")
                await self._again(port, lambda: asyncio.to_thread(self.fleet.running[port].stop), length)

    async def _again(self, port: int, end: Callable[[], Awaitable[Any]], length: float) -> None:
        await end()
        server = self.fleet.running[port]
        server.close()
        self.outcome.logs.append(server.final_log)
        await asyncio.sleep(length)
        self.fleet.spawn(port)
        await asyncio.to_thread(self.fleet.running[port].wait_until_up, START, "/readyz")
        self._note(f"node {port} is back")

    async def _stop(self, which: float, length: float) -> None:
        async with self._one_node(which) as port:
            if port is not None:
                seconds = 1 + (self.longest - 1) * length
                self._note(f"SIGSTOP of node {port} for {seconds:.2f} s")
                pid = self.fleet.running[port].pid
                os.kill(pid, signal.SIGSTOP)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    os.kill(pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def _the_broker(self) -> AsyncIterator[bool]:
        """Whether the broker is well and may be harmed."""
        is_well, self._broker_busy = not self._broker_busy, True
        yield is_well
        if is_well:
            self._broker_busy = False

    async def _cut(self, which: float, length: float) -> None:
        async with self._the_broker() as is_well:
            if is_well:
                self._note("CLIENT KILL TYPE pubsub")
                await asyncio.to_thread(self.broker.command, "CLIENT", "KILL", "TYPE", "pubsub")

    async def _stop_broker(self, which: float, length: float) -> None:
        async with self._the_broker() as is_well:
            if is_well:
                seconds = 1 + max(0.0, self.longest / 4 - 1) * length
                self._note(f"SIGSTOP of the broker for {seconds:.2f} s")
                self.broker.pause()
                try:
                    await asyncio.sleep(seconds)
                finally:
                    self.broker.resume()

    async def _restart_broker(self, which: float, length: float) -> None:
        async with self._the_broker() as is_well:
            if is_well:
                self._note("kill -9 of the broker")
                await asyncio.to_thread(self.broker.kill)
                await asyncio.sleep(length * max(1.0, self.longest / 4))
                await asyncio.to_thread(self.broker.start)
                self._note("the broker is back")

    async def _reload(self, which: float, length: float) -> None:
        self._note("reload of the balancer")
        before = self.fleet.workers()
        self.fleet.reload()
        await eventually(lambda: bool(set(self.fleet.workers()) - set(before)), START)
        await eventually(lambda: not set(self.fleet.workers()) & set(before), START)
        self._note("all connections of before the reload are cut")
        self.outcome.reloads += 1


FAULTS = (
    Storm._kill,
    Storm._stop,
    Storm._terminate,
    Storm._cut,
    Storm._stop_broker,
    Storm._restart_broker,
    Storm._reload,
)


def main() -> int:
    """Run the long form; 1 if it found something."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--scheme", default="redis+streams", choices=("redis+streams", "redis"))
    parser.add_argument("--logs", type=Path, help="a file for what the nodes say")
    options = parser.parse_args()
    print(f"chaos: seed {options.seed}, {options.minutes:g} minutes, {options.clients} clients", flush=True)
    with tempfile.TemporaryDirectory(prefix="shoal-chaos-") as folder:
        seconds = 60 * options.minutes
        storm = Storm(options.scheme, Path(folder), seconds, options.clients, options.seed, longest=LONGEST)
        try:
            outcome = storm.run()
        except BaseException:
            print(storm.outcome, flush=True)
            raise
    print(outcome)
    if options.logs:
        options.logs.write_text("\n----\n".join(outcome.logs))
    print("chaos:", outcome.bad or "nothing lost, nothing twice, nothing out of order, everybody recovered")
    if outcome.mistakes:
        print(f"chaos: {len(outcome.mistakes)} tracebacks in the nodes' logs (--logs FILE), as {outcome.mistakes[0]!r}")
    return int(bool(outcome.bad or outcome.mistakes))


if __name__ == "__main__":
    sys.exit(main())
