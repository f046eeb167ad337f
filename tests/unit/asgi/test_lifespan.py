"""An application whose lifespan does not reach its servers: they start before it, and are closed after it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal.asgi.lifespan import WithServers
from shoal.testing import async_test


class Server:
    """A server that says what is done to it."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    async def start(self) -> None:
        self._said.append("started")

    async def close(self) -> None:
        self._said.append("closed")


async def lifespan(said: list[str], answers: dict[str, str]) -> list[str]:
    """Run the lifespan of an application that answers so; what was said and done, in order."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            said.append(scope["type"])
            return
        if not answers:
            raise RuntimeError("no lifespan")
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            said.append(step)
            await send({"type": f"lifespan.{step}.{answers[step]}", "message": "no luck"})
            if answers[step] == "failed":
                return

    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    served = WithServers(app, [Server(said)])
    await served({"type": "http"}, None, None)
    task = asyncio.create_task(served({"type": "lifespan"}, asked.get, sent.put))
    for step in ("startup", "shutdown"):
        asked.put_nowait({"type": f"lifespan.{step}"})
        said.append((await sent.get())["type"].removeprefix("lifespan."))
        if said[-1].endswith("failed"):
            break
    await task
    return said


FINE = {"startup": "complete", "shutdown": "complete"}
BEGIN, END = ["http", "started"], ["closed", "shutdown.complete"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (FINE, [*BEGIN, "startup", "startup.complete", "shutdown", *END]),
        ({}, [*BEGIN, "startup.complete", *END]),
        ({"startup": "failed"}, [*BEGIN, "startup", "startup.failed"]),
        (
            FINE | {"shutdown": "failed"},
            [*BEGIN, "startup", "startup.complete", "shutdown", "closed", "shutdown.failed"],
        ),
    ],
)
def test_servers_surround_the_applications_own_lifespan(answers: dict[str, str], said: list[str]) -> None:
    @async_test
    async def check() -> None:
        assert await lifespan([], answers) == said

    check()
