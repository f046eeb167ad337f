"""What is kept for clients that may come back: how many of them, how much was said meanwhile, and for how long.

Beyond each bound a client begins anew, as if it had never been there, and that is counted; a second client's messages
keep flowing meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.integration.hostile import Raw, Witness, bounded
from tests.interop.wire import case
from tests.servers import ServerProcess, lanes

AWAY = 1.5
RECOVERY = {
    "SHOAL_CONNECTION_STATE_RECOVERY": "true",
    "SHOAL_MAX_DISCONNECTION_DURATION": str(AWAY),
    "SHOAL_RECOVERY_STATES": "3",
    "SHOAL_RECOVERY_BUFFER": "50000",
}


@pytest.fixture(scope="module", params=lanes("fastlane", "behind"))
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with bounded(request.param, **RECOVERY) as server:
        yield server


async def enter(raw: Raw, auth: dict[str, str] | None = None) -> dict[str, Any]:
    """Enter `/`, perhaps with what an earlier client showed; the reply to CONNECT."""
    assert (await raw.next())[:2] == b"0{"
    await raw.send_text("40" + (json.dumps(auth) if auth else ""))
    reply = await raw.next()
    assert reply.startswith(b"40{"), reply
    return json.loads(reply[2:])


async def visit(server: ServerProcess, auth: dict[str, str] | None = None) -> dict[str, Any]:
    """Come, and lose the connection at once."""
    async with await Raw.websocket(server.port) as raw:
        return await enter(raw, auth)


async def left(witness: Witness, socket_id: str) -> None:
    """Return once the server knows that a client has gone."""
    while not await witness.ask("reason-of", socket_id):
        await asyncio.sleep(0.01)


@case
async def test_too_many_who_are_away(server: ServerProcess) -> None:
    """Of five the first two to leave begin anew, the others come back: each to its own id."""
    async with Witness(server.port) as witness:
        before = (await witness.counters())["server"]
        visits = []
        for _ in range(5):
            visits.append(await visit(server))
            await left(witness, visits[-1]["sid"])
        await witness.counted("server", "states_dropped", before["states_dropped"] + 2)
        async with AsyncExitStack() as stack:
            for number, visit_before in enumerate(visits):
                raw = await stack.enter_async_context(await Raw.websocket(server.port))
                again = await enter(raw, {"pid": visit_before["pid"]})
                assert (again["sid"] == visit_before["sid"]) is (number > 1)
            await witness.counted("server", "not_recovered", before["not_recovered"] + 2)


@case
async def test_more_said_than_is_kept(server: ServerProcess) -> None:
    """Who missed a message that is not kept any more begins anew, however few of the others were for it."""
    async with Witness(server.port) as witness:
        before = (await witness.counters())["server"]["not_recovered"]
        first = await visit(server)
        await left(witness, first["sid"])
        async with await Raw.websocket(server.port) as raw:
            victim = await enter(raw)
            await witness.ask("flood", victim["sid"], 10, 10_000)
        again = await visit(server, {"pid": first["pid"]})
        assert again["sid"] != first["sid"]
        await witness.counted("server", "not_recovered", before + 1)


@case
async def test_away_for_too_long(server: ServerProcess) -> None:
    """Who comes back in time finds its id, who comes later does not."""
    async with Witness(server.port) as witness:
        before = (await witness.counters())["server"]["not_recovered"]
        first = await visit(server)
        await left(witness, first["sid"])
        in_time = await visit(server, {"pid": first["pid"]})
        assert in_time["sid"] == first["sid"]
        await asyncio.sleep(AWAY + 0.3)
        too_late = await visit(server, {"pid": first["pid"]})
        assert too_late["sid"] != first["sid"]
        await witness.counted("server", "not_recovered", before + 1)
