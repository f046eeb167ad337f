"""What comes over a bare connection."""

from __future__ import annotations

from shoal.testing import TestConnection


async def drain(connection: TestConnection) -> list[str | bytes]:
    """All packets that came."""
    packets = []
    while True:
        try:
            packets.append(await connection.receive(timeout=0.1))
        except TimeoutError:
            return packets
