"""``shoal serve``: one server, one process."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

__all__ = ["serve"]

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")

HTTP_LOG_LEVELS = ("critical", "error", "debug")
"""Levels that uvicorn gets too. Its information is for those who debug it: the one line for a server that listens is
ours."""


def check_log_level(level: str) -> str:
    """Return ``level`` in lower case, or have Typer show what is allowed."""
    if level.lower() not in LOG_LEVELS:
        raise typer.BadParameter(f"{level!r} is not one of {', '.join(LOG_LEVELS)}")
    return level.lower()


def serve(
    app: Annotated[str, typer.Argument(metavar="MODULE:ATTRIBUTE", help="The application, as in `app:io`.")],
    host: Annotated[str, typer.Option(help="Interface to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 1111,
    node: Annotated[
        str | None, typer.Option(help="Name of this node.", show_default="$SHOAL_NODE, else the port")
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(help="URL of the broker, redis://host:port.", show_default="$SHOAL_BROKER"),
    ] = None,
    shared_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Listen on this port too, shared (SO_REUSEPORT) with other servers here."),
    ] = None,
    log_level: Annotated[str, typer.Option(callback=check_log_level, help=f"One of {', '.join(LOG_LEVELS)}.")] = "info",
    ssl_certfile: Annotated[str | None, typer.Option(help="Certificate, to serve https and wss.")] = None,
    ssl_keyfile: Annotated[str | None, typer.Option(help="Its private key, if that is a file of its own.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Load the application and stop: can it be served?")] = False,
) -> None:
    """Serve one application: a Shoal server, an engine, or any ASGI application.

    It is imported from the working directory or from what is installed, after the node's name and the broker were
    put into SHOAL_NODE and SHOAL_BROKER, where `Server()` finds them.
    """
    name = node or os.environ.get("SHOAL_NODE") or str(port)
    os.environ["SHOAL_NODE"] = name
    if broker is not None:
        os.environ["SHOAL_BROKER"] = broker

    from .loading import load_app  # noqa: PLC0415 - see the package's docstring

    application = load_app(app)
    if check:
        return
    logging.basicConfig(level=log_level.upper(), format="%(levelname)s %(name)s: %(message)s")

    from ..fastlane import serving  # noqa: PLC0415 - see the package's docstring

    serving.run(
        application,
        host=host,
        port=port,
        shared_port=shared_port,
        log_level=log_level if log_level in HTTP_LOG_LEVELS else "warning",
        on_started=lambda: print(f"{name} is listening on port: {port}", flush=True),
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )
