"""A shared whiteboard: what all hands draw is gathered and sent 30 times a second, in one order."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse

from shoal import Server, Socket

RATE = 30  # times a second
KEPT = 20_000  # strokes that newcomers are shown

Stroke = list[int]  # from x, y to x, y
board: deque[Stroke] = deque(maxlen=KEPT)
fresh: list[Stroke] = []

io = Server(max_payload=100_000, max_events_per_second=2 * RATE)


async def publish() -> None:
    """One message for all that was drawn meanwhile: a room of 50 costs 50 deliveries a step, not 50 for each hand."""
    while True:
        await asyncio.sleep(1 / RATE)
        if fresh:
            io.emit("strokes", fresh.copy())
            board.extend(fresh)
            fresh.clear()


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
def connect(socket: Socket) -> None:
    socket.emit("strokes", list(board))


def is_stroke(stroke: object) -> bool:
    return isinstance(stroke, list) and len(stroke) == 4 and all(type(n) is int and 0 <= n < 10_000 for n in stroke)


@io.on("draw")
def draw(socket: Socket, strokes: object) -> dict[str, Any]:
    if not isinstance(strokes, list) or len(strokes) > 500 or not all(map(is_stroke, strokes)):
        return {"error": "these are no strokes"}
    fresh.extend(strokes)
    return {"ok": True}
