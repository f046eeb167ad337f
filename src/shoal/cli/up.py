"""``shoal up``: the whole system on this machine, in one terminal."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .console import use_colour
from .serve import LOG_LEVELS, check_log_level

__all__ = ["up"]

DEFAULT_APP = "shoal.demo:app"


def parse_ports(text: str) -> tuple[int, ...]:
    """Read ``1111,2222``."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"{text!r}: write numbers with commas between, as in 1111,2222") from None


def up(
    app: Annotated[
        str, typer.Option(metavar="MODULE:ATTRIBUTE", help="The application that every server runs.")
    ] = DEFAULT_APP,
    servers: Annotated[int | None, typer.Option(help="How many servers.", show_default="4, or one per port")] = None,
    ports: Annotated[str, typer.Option(metavar="P1,P2,...", help="Their ports.", show_default="1111,2222,...")] = "",
    port: Annotated[int, typer.Option(help="Port of the load balancer.")] = 8080,
    host: Annotated[str, typer.Option(help="Interface of balancer and servers; 0.0.0.0 is every one.")] = "127.0.0.1",
    broker: Annotated[
        str | None, typer.Option(metavar="URL", help="A broker that runs already.", show_default="start one")
    ] = None,
    broker_port: Annotated[
        int | None, typer.Option(help="Port of the broker that is started.", show_default="any free one")
    ] = None,
    broker_mode: Annotated[
        str | None,
        typer.Option(
            metavar="pubsub|streams",
            help="Of the broker that is started: a message is brought at most once, or kept until all have had it.",
            show_default="pubsub",
        ),
    ] = None,
    balancer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="haproxy, nginx, or kernel (every server listens on the port).",
            show_default="the first installed",
        ),
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(
            metavar="leastconn|roundrobin",
            help="New sessions go to the server with the fewest connections, or to all by turns.",
            show_default="roundrobin",
        ),
    ] = None,
    kill_button: Annotated[
        bool | None,
        typer.Option(
            "--kill-button/--no-kill-button",
            help="Whoever opens the demo's page may kill servers.",
            show_default="on this machine alone",
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open a browser when everything is up.")] = False,
    color: Annotated[
        bool | None, typer.Option("--color/--no-color", help="Colour the log.", show_default="in a terminal")
    ] = None,
    log_level: Annotated[
        str, typer.Option(callback=check_log_level, help=f"Of the servers: {', '.join(LOG_LEVELS)}.")
    ] = "info",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show all that broker and balancer log.")] = False,
) -> None:
    """Run a cluster on this machine: a broker, servers and a load balancer.

    One log, every line behind the name of its process. A process that dies is started again. In a terminal the keys 1
    to 9 kill a server, to see its clients go on with the others. Ctrl-C stops everything and leaves nothing behind.
    Needs neither root nor Docker.
    """
    from ..local.cluster import run_cluster  # noqa: PLC0415 - see the package's docstring
    from ..local.plan import Options  # noqa: PLC0415

    options = Options(
        app=app,
        servers=servers,
        ports=parse_ports(ports),
        port=port,
        host=host,
        broker=broker,
        broker_port=broker_port,
        broker_mode=broker_mode,
        balancer=balancer,
        algorithm=algorithm,
        log_level=log_level,
        kill_button=kill_button,
        verbose=verbose,
    )
    run_cluster(options, sys.stdout, keys=sys.stdin, colour=use_colour(sys.stdout, color), browse=open_browser)
