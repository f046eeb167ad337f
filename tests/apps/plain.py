"""A server, one that is mounted below FastAPI without a lifespan of its own, and an engine, all with their defaults."""

from __future__ import annotations

from fastapi import FastAPI

from shoal import Engine, Server

io = Server()
engine = Engine()
below = FastAPI()
below.mount("/", Server())
