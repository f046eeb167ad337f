"""``shoal balancer``: print a balancer's configuration, for containers and production."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

__all__ = ["balancer"]

PRODUCTS = ("nginx", "haproxy")


def check_product(product: str) -> str:
    """Return ``product`` if there is a generator for it, or tell Typer what is allowed."""
    if product not in PRODUCTS:
        raise typer.BadParameter(f"{product!r} is not one of {', '.join(PRODUCTS)}")
    return product


def balancer(
    product: Annotated[str, typer.Argument(metavar="nginx|haproxy", callback=check_product, help="For which.")],
    servers: Annotated[
        str,
        typer.Option(
            metavar="[NAME=]HOST:PORT,...",
            help="The servers, and the names of their nodes: by default the ports, if they differ, else the hosts.",
            show_default="ws1:1111,ws2:2222,ws3:3333,ws4:4444",
        ),
    ] = "",
    algorithm: Annotated[
        str,
        typer.Option(
            metavar="leastconn|roundrobin",
            help="New sessions go to the server with the fewest connections, or to all by turns.",
        ),
    ] = "leastconn",
    listen: Annotated[str, typer.Option(metavar="[HOST:]PORT", help="Where the balancer listens.")] = "8080",
    directory: Annotated[str, typer.Option(help="Where nginx may write; HAProxy writes nothing.")] = "/tmp",
) -> None:
    """Print a load balancer's configuration: long-polling, WebSockets, health checks.

    A session's requests go to the server that its id names, so that any client works, without cookies. It needs no root
    and fits a container. `shoal up` runs the same one.
    """
    from ..local.address import parse_address  # noqa: PLC0415 - see the package's docstring
    from ..local.balancer import PRODUCTION, balancer_conf  # noqa: PLC0415
    from ..local.upstreams import check_algorithm, parse_upstreams  # noqa: PLC0415

    setup = replace(
        PRODUCTION,
        listen=parse_address(listen, default_host=""),
        directory=directory,
        algorithm=check_algorithm(algorithm),
    )
    if servers:
        setup = replace(setup, servers=parse_upstreams(servers))
    print(balancer_conf(product, setup), end="")
