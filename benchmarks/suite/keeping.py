"""What the broker's memory holds for a client, a room and a message that is kept: the load of one measurement.

A program of its own. Clients come, join rooms of their own and say something there; after each step it asks the broker
how much it has. Only a broker that keeps messages has something to tell.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import redis

from suite.returning import START_SECONDS, Client, Heard, come

CALM = 0.3  # seconds in which the broker's memory neither grows nor shrinks
ROUND_SECONDS = 30.0


async def measure(
    ports: Sequence[int], broker: str, *, clients: int, rooms: int, messages: int, size: int
) -> dict[str, Any]:
    """Return bytes of the broker's memory for each client, room and message.

    Args:
        ports: Of the nodes.
        broker: URL of the broker.
        clients: How many come.
        rooms: Of each client, with nobody else in them. The first message of a room is counted with it.
        messages: In each room, beside the first.
        size: Bytes of a text.
    """
    asked = redis.Redis.from_url(broker.replace("+streams", ""))
    heard = Heard()
    crowd = [Client(n, "all", [ports[n % len(ports)]], heard, False) for n in range(clients)]
    try:
        async with asyncio.timeout(START_SECONDS):
            empty = await _memory(asked)
            await come(crowd)
            came = await _memory(asked)
            for client in crowd:
                await client.join([f"of-{client.number}-{each}" for each in range(rooms)])
            joined = await _memory(asked)
        await _say(crowd, rooms, 0, size, heard)
        first = await _memory(asked)
        for turn in range(1, messages + 1):
            await _say(crowd, rooms, turn, size, heard)
        full = await _memory(asked)
    finally:
        for client in crowd:
            client.close()
        asked.close()
    count = clients * rooms
    return {
        "clients": clients,
        "rooms": count,
        "messages": count * messages,
        "client_bytes": round((came - empty) / clients),
        "joined_bytes": round((joined - came) / count),
        "room_bytes": round((first - came) / count),
        "message_bytes": round((full - first) / (count * messages), 1),
        "duplicates": heard.duplicates,
        "reordered": heard.reordered,
        "load_cpu": 0.0,
    }


async def _say(crowd: Sequence[Client], rooms: int, turn: int, size: int, heard: Heard) -> None:
    """One text in each room; returns when all are heard."""
    for each in range(rooms):
        for client in crowd:
            client.say(turn * rooms + each, time.monotonic(), size, f"of-{client.number}-{each}")
    async with asyncio.timeout(ROUND_SECONDS):
        while heard.received < (turn + 1) * rooms * len(crowd):
            await asyncio.sleep(0.005)


async def _memory(broker: "redis.Redis") -> int:
    """Bytes, without what the broker holds for its connections, once nothing changes any more."""
    found, since = 0, time.monotonic()
    while time.monotonic() - since < CALM:
        info = broker.info("memory")
        now = info["used_memory"] - info.get("mem_clients_normal", 0)
        if abs(now - found) > 1024:
            found, since = now, time.monotonic()
        await asyncio.sleep(0.05)
    return found


def main() -> int:
    """Measure as the command line says; print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", type=lambda text: [int(each) for each in text.split(",")], required=True)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rooms", type=int, default=10)
    parser.add_argument("--messages", type=int, default=150)
    parser.add_argument("--size", type=int, default=64, help="bytes of a text")
    options = vars(parser.parse_known_args()[0])
    print(json.dumps(asyncio.run(measure(options.pop("ports"), options.pop("broker"), **options))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
