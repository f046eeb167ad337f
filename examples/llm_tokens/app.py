"""A model's answer, token by token: it may be stopped, and a client that was away gets what it missed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse

from shoal import Server, Socket

DELAY = 0.05  # seconds for a token

io = Server(connection_state_recovery=True)
web = FastAPI()
app = io.asgi(web)


@dataclass
class Conversation:
    text: str = ""
    task: asyncio.Task[None] | None = None


conversations: dict[str, Conversation] = {}


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


async def model(prompt: str) -> AsyncIterator[str]:
    """Stands for your model's client: it repeats the prompt, counting."""
    for number in range(1, 101):
        for word in prompt.split():
            await asyncio.sleep(DELAY)
            yield f"{word} "
        yield f"({number}) "


async def answer(name: str, prompt: str) -> None:
    conversation, room = conversations[name], io.to(f"conversation:{name}")
    reason = "stopped"
    try:
        async for token in model(prompt):
            conversation.text += token
            room.emit("token", token)
        reason = "complete"
    finally:
        conversation.task = None
        room.emit("end", reason)


@io.on("enter")
async def enter(socket: Socket, name: str) -> dict[str, Any]:
    """The text so far, for those who come anew. Whoever recovered is in the room already, and needs none."""
    conversation = conversations.setdefault(name, Conversation())
    socket.join(f"conversation:{name}")  # no await between this and the answer, so no token is lost or comes twice
    return {"text": conversation.text, "busy": conversation.task is not None}


@io.on("ask")
async def ask(socket: Socket, name: str, prompt: str) -> dict[str, Any]:
    conversation = conversations.get(name)
    if conversation is None or conversation.task is not None or not prompt.strip():
        return {"error": "not now"}
    conversation.text = ""
    io.to(f"conversation:{name}").emit("begin", prompt)
    conversation.task = asyncio.create_task(answer(name, prompt))
    return {"ok": True}


@io.on("stop")
def stop(socket: Socket, name: str) -> None:
    conversation = conversations.get(name)
    if conversation is not None and conversation.task is not None:
        conversation.task.cancel()
