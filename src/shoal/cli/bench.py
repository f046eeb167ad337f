"""``shoal bench``: put a load on a Socket.IO server and see how it bears it."""

from __future__ import annotations

import asyncio
import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..load.plan import Plan
    from ..load.result import Result

__all__ = ["bench"]


class Transport(StrEnum):
    """How clients are connected."""

    websocket = "websocket"
    polling = "polling"


class Mode(StrEnum):
    """What the server is to do with a message."""

    broadcast = "broadcast"
    echo = "echo"


def bench(
    url: Annotated[str, typer.Argument(help="The server, such as `http://127.0.0.1:1111`. Only test what is yours.")],
    mode: Annotated[Mode, typer.Option(help="Whether a message goes to all, or is acknowledged.")] = Mode.broadcast,
    transport: Annotated[Transport, typer.Option(help="Transport of every client.")] = Transport.websocket,
    clients: Annotated[int, typer.Option("--clients", "-c", help="Connections.")] = 100,
    publishers: Annotated[
        int | None, typer.Option(help="Clients that emit. Default: 1, with rooms one in each; in mode echo all do.")
    ] = None,
    rooms: Annotated[int | None, typer.Option(help="Spread the clients over so many rooms.")] = None,
    rate: Annotated[float | None, typer.Option(help="Open loop: messages per second in all.")] = None,
    in_flight: Annotated[
        int | None, typer.Option(help="Closed loop: messages that a publisher has under way. Default: 1.")
    ] = None,
    payload: Annotated[int, typer.Option(help="Bytes of each text.")] = 64,
    duration: Annotated[float, typer.Option("--duration", "-d", help="Seconds that are measured.")] = 10.0,
    warmup: Annotated[float, typer.Option(help="Seconds before them that are not.")] = 1.0,
    ramp: Annotated[float, typer.Option(help="Seconds over which the connections are opened.")] = 0.0,
    event: Annotated[
        str | None, typer.Option(help="Event that is emitted. Default: `chat`, with rooms `say`, in mode echo `echo`.")
    ] = None,
    reply_event: Annotated[str, typer.Option(help="Event that comes back.")] = "chat-message",
    join_event: Annotated[str, typer.Option(help="Acknowledged event that joins a room.")] = "join",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of every client.")] = "/",
    path: Annotated[str, typer.Option(help="Where Socket.IO answers.")] = "/socket.io/",
    auth: Annotated[str | None, typer.Option(metavar="JSON", help="What every client authenticates with.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Accept any certificate.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Load-test a Socket.IO server: throughput, latency, loss, duplicates and reorderings, as its clients see them.

    Any server can be tested that broadcasts the text of the event `chat` as `chat-message` to all its clients, the
    sender included, as Shoal's demo does. With `--mode echo` it must acknowledge `echo` with the text; with `--rooms`
    it must acknowledge `join` (room) and broadcast `say` (room, text) as `chat-message` to that room. The text must
    arrive as it was sent; anything may stand before it. Other names: `--event`, `--reply-event`, `--join-event`.

    For example: `shoal bench http://127.0.0.1:8080 --clients 1000 --rate 50`
    """
    from ..load.plan import Plan, check  # noqa: PLC0415 - see the package's docstring

    if rate is not None and in_flight is not None:
        raise typer.BadParameter("choose one of --rate and --in-flight")
    echo = mode is Mode.echo
    if echo and publishers is not None:
        raise typer.BadParameter("with --mode echo every client emits; --publishers has no meaning")
    plan = check(
        Plan(
            url=url,
            path=path,
            namespace=namespace,
            auth=_read_auth(auth),
            transport=transport.value,
            mode=mode.value,
            clients=clients,
            publishers=clients if echo else publishers if publishers is not None else rooms or 1,
            rooms=rooms,
            event=event or ("echo" if echo else "say" if rooms else "chat"),
            reply_event=reply_event,
            join_event=join_event,
            rate=rate,
            in_flight=in_flight if in_flight is not None else 1,
            payload=payload,
            duration=duration,
            warmup=warmup,
            ramp=ramp,
            verify=not insecure,
        )
    )
    _raise_open_files_limit(plan)
    result = _run(plan)
    if as_json:
        print(json.dumps(result.as_dict(), indent=2))
    else:
        _show(plan, result)


def _read_auth(text: str | None) -> Any:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--auth is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("--auth must be a JSON object")
    return value


def _raise_open_files_limit(plan: Plan) -> None:
    import resource  # noqa: PLC0415 - not on every system, see below

    needed = plan.clients * (2 if plan.transport == "polling" else 1) + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise typer.BadParameter(
                f"{plan.clients:,} clients need {needed:,} open files, and `ulimit -Hn` allows {hard:,}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _run(plan: Plan) -> Result:
    from rich.console import Console  # noqa: PLC0415

    from ..load.display import watching  # noqa: PLC0415
    from ..load.trial import run_trial  # noqa: PLC0415

    with watching(Console(stderr=True)) as watch, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(run_trial(plan, watch))


def _loop_factory() -> Any:
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    return uvloop.new_event_loop


def _show(plan: Plan, result: Result) -> None:
    from rich.console import Console  # noqa: PLC0415

    from ..load.display import show_result  # noqa: PLC0415

    # Output that is read by a program or goes to a file is not cut to the width of a terminal that is not there.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    show_result(console, plan, result)
