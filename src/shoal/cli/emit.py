"""``shoal emit``: emit an event to the clients of a running cluster, from outside."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Annotated, Any

import typer

__all__ = ["emit", "read_argument"]


def read_argument(text: str) -> Any:
    """Read one argument of an event: JSON where it is JSON, else the text itself.

    What begins like an object, an array or a string but is none is a typing error, not a text.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        if text.lstrip().startswith(("{", "[", '"')):
            raise typer.BadParameter(f"{text!r} is no JSON: {error}") from None
        return text


def emit(
    event: Annotated[str, typer.Argument(help="Name of the event.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARG", help="Its arguments, each as JSON; what is no JSON is taken as text."),
    ] = None,
    room: Annotated[
        list[str] | None, typer.Option("--room", "-r", metavar="ROOM", help="Only to this room; may be repeated.")
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="To the clients of this namespace.")] = "/",
    broker: Annotated[
        str, typer.Option(envvar="SHOAL_BROKER", help="URL of the cluster's broker; `shoal up` prints its own.")
    ] = "redis://127.0.0.1:6379",
    prefix: Annotated[
        str, typer.Option(envvar="SHOAL_CHANNEL_PREFIX", help="The servers' option `channel_prefix`.")
    ] = "shoal",
    timeout: Annotated[float, typer.Option(help="Seconds that the broker may take.")] = 5.0,
) -> None:
    """Emit an event to the clients of a cluster, through its broker.

    For example: `shoal emit chat-message '"the shop closes at six"' --room chat`
    """
    values = [read_argument(text) for text in arguments or ()]

    from .. import Emitter  # noqa: PLC0415 - see the package's docstring

    async def send() -> None:
        async with Emitter(broker, channel_prefix=prefix, request_timeout=timeout) as emitter:
            await emitter.of(namespace).to(*(room or ())).emit(event, *values)

    logging.getLogger("shoal").addHandler(logging.NullHandler())  # a failure is one line, at the end
    asyncio.run(send())
