"""A port on loopback where the demo's servers ask for one of them to be killed.

One line comes, one goes: ``SECRET kill 2222``, and ``killed``, ``unknown`` or ``down``. The secret is made anew for
each cluster and is in the environment of its servers alone. Who may press the button is the servers' business
(:mod:`shoal.demo.controls`); this module knows no HTTP and no process.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import AsyncIterator, Callable

__all__ = ["kill_port"]

ENVIRONMENT = "SHOAL_DEMO_CONTROL"
PATIENCE = 3.0
"""Seconds that a line may take to come."""
LONGEST = 256
"""Bytes of a line."""
MOST = 16
"""Connections at once. There is one for each press of a button."""


@contextlib.asynccontextmanager
async def kill_port(who: str, kill: Callable[[str], str]) -> AsyncIterator[tuple[str, str]]:
    """Listen while the block runs.

    Args:
        who: Who may kill, in the words of :mod:`shoal.demo.controls`.
        kill: Called with the name of a server; returns the answer.

    Yields:
        Name and value of the variable that lets a server ask.
    """
    secret = secrets.token_urlsafe(32)
    asking: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        asking.add(task)
        try:
            if len(asking) <= MOST:
                writer.write(f"{await _answer(reader, secret, kill)}\n".encode())
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # gone, silent, or no line: there is nobody to tell
        finally:
            asking.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=LONGEST)
    try:
        yield ENVIRONMENT, f"{who}:{server.sockets[0].getsockname()[1]}:{secret}"
    finally:
        server.close()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _answer(reader: asyncio.StreamReader, secret: str, kill: Callable[[str], str]) -> str:
    async with asyncio.timeout(PATIENCE):
        words = (await reader.readline()).split()
    if not words or not hmac.compare_digest(words[0], secret.encode()):
        return "refused"
    match words[1:]:
        case [b"kill", name]:
            return kill(name.decode("ascii", "replace"))
        case _:
            return "unknown"
