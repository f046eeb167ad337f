"""The application behind the tests of bounds: every option comes from the environment, every counter can be asked for.

Written with public names alone. A test's clients tell it what to do: hold events back, flood a client, tell what it
has counted.
"""

from __future__ import annotations

import asyncio
import resource
from dataclasses import asdict
from pathlib import Path

from tests.internals import clients, rooms

from shoal import Server

io = Server(node="bounds", broker="memory://")
for name in ("/plain", *(f"/n{number}" for number in range(40))):
    io.of(name)

reasons: dict[str, str] = {}
held: dict[str, list[int]] = {}
gates: dict[str, asyncio.Event] = {}


@io.on("disconnect")
def gone(socket, reason):
    reasons[socket.id] = reason


@io.on("reason-of")
def reason_of(socket, socket_id):
    return reasons.get(socket_id)


@io.on("echo")
def echo(socket, *args):
    return args


@io.on("id")
def own_id(socket):
    return socket.id


@io.on("address")
def address(socket):
    return socket.handshake.address


@io.on("join")
async def join(socket, room):
    await socket.join(room)
    return len(socket.rooms)


@io.on("members")
async def members(socket, room):
    return [member.id for member in await io.to(room).fetch_sockets()]


@io.on("hold")
async def hold(socket, gate, number, padding=""):
    """Wait at a gate, then note the number: what comes meanwhile waits in line."""
    await gates.setdefault(gate, asyncio.Event()).wait()
    held.setdefault(gate, []).append(number)


@io.on("release")
def release(socket, gate):
    gates.setdefault(gate, asyncio.Event()).set()


@io.on("held")
def how_many_were_held(socket, gate):
    return held.get(gate, [])


@io.on("flood")
async def flood(socket, victim, count, size, volatile=False):
    """Send a client `count` events of `size` bytes, a few in each turn of the loop; how many it was there for."""
    target = io.to(victim).volatile if volatile else io.to(victim)
    for number in range(count):
        if victim not in io.sockets:
            return number
        target.emit("flood", number, "x" * size)
        if number % 4 == 3:
            await asyncio.sleep(0)
    return count


@io.on("counters")
def counters(socket):
    """Everything that is counted, and the size of every table."""
    return {
        "server": asdict(io.stats),
        "engine": asdict(io.engine.stats),
        "outbox": asdict(io.engine.outbox_stats),
        "refused": {str(code): count for code, count in io.engine.refused.items()},
        "sessions": len(io.engine.sessions),
        "clients": len(clients(io)),
        "addresses": dict(io.engine.table.addresses),
        "rooms": len(rooms(io.of("/"))),
        "final_packets": len(io.engine.table.final_packets),
        "wheel": len(io.engine.context.wheel),
        "tasks": len(asyncio.all_tasks()),
        "rss": _resident(),
        "cpu": resource.getrusage(resource.RUSAGE_SELF).ru_utime,
    }


def _resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
