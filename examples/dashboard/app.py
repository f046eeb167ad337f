"""A live dashboard: figures ten times a second, which are dropped for those who cannot take them."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from shoal import Server, Socket

INTERVAL = 0.1  # seconds

io = Server(outbox_policy="drop-volatile", max_outbox=1_000_000)


def figures() -> dict[str, float]:
    """What this machine and this process are doing."""
    return {
        "time": time.time(),
        "load": os.getloadavg()[0],
        "processor": time.process_time(),
        "clients": io.engine.clients_count,
        "deliveries": io.stats.deliveries,
    }


async def publish() -> None:
    while True:  # each server has this task, so each tells its own clients
        io.local.to("dashboard").volatile.emit("figures", figures())
        await asyncio.sleep(INTERVAL)


@contextlib.asynccontextmanager
async def lifespan(web: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(publish())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


web = FastAPI(lifespan=lifespan)
app = io.asgi(web)


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


@io.on("connect")
async def connect(socket: Socket) -> None:
    await socket.join("dashboard")
    socket.emit("figures", figures())
