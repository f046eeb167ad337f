"""A page that starts a Celery task and shows how far it is, in every window that watches."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

from celery.result import AsyncResult
from fastapi import FastAPI
from fastapi.responses import FileResponse
from tasks import REDIS, queue, resize

from shoal import Server, Socket

io = Server(broker=REDIS)
web = FastAPI()
app = io.asgi(web)


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


@io.on("start")
async def start(socket: Socket, pictures: int) -> dict[str, str]:
    """Start a job. Its room is joined first, so that not even the first progress is missed."""
    if not 1 <= pictures <= 100:
        return {"error": "1 to 100 pictures, please"}
    job = secrets.token_hex(16)
    await socket.join(f"job:{job}")
    await asyncio.to_thread(resize.apply_async, (pictures,), task_id=job)  # Celery blocks, so not on the loop
    return {"job": job}


@io.on("watch")
async def watch(socket: Socket, job: str) -> dict[str, Any]:
    """The state so far, for a page that was reloaded, or a second one. Whoever knows the job's id may watch it."""
    await socket.join(f"job:{job}")
    return await asyncio.to_thread(state_of, job)


def state_of(job: str) -> dict[str, Any]:
    result = AsyncResult(job, app=queue)
    state, info = result.state, result.info
    if state == "SUCCESS":
        return {"done": info}
    if state == "FAILURE":
        return {"failed": str(info)}
    return {"progress": info} if state == "PROGRESS" else {}
