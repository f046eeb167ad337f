"""``shoal serve``: one application, in this process, in several that share a port, or in one that is reloaded."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..local.job import Job

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
    uds: Annotated[
        str | None, typer.Option(metavar="PATH", help="Unix socket to listen on, in place of host and port.")
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="Name of this node.", show_default="$SHOAL_NODE, else the port")
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(help="URL of the broker, redis://host:port.", show_default="$SHOAL_BROKER"),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes that share the port and speak as one: a broker is started for them if there is none.",
            rich_help_panel="Workers",
        ),
    ] = 1,
    shared_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Listen on this port too, shared (SO_REUSEPORT) with other servers here.",
            rich_help_panel="Workers",
        ),
    ] = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Start anew when a `.py` file changes. For development; needs watchfiles.",
            rich_help_panel="Reload",
        ),
    ] = False,
    reload_dir: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Directory to watch; may be repeated.",
            show_default="the working directory",
            rich_help_panel="Reload",
        ),
    ] = None,
    reload_include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Watch files with such names too, as in `*.html`; may be repeated.",
            rich_help_panel="Reload",
        ),
    ] = None,
    reload_exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Do not watch such files, or this directory; may be repeated.",
            rich_help_panel="Reload",
        ),
    ] = None,
    factory: Annotated[
        bool,
        typer.Option(
            "--factory",
            help="MODULE:ATTRIBUTE is a function that returns the application.",
            rich_help_panel="Application",
        ),
    ] = False,
    app_dir: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Import it from here.",
            show_default="the working directory",
            rich_help_panel="Application",
        ),
    ] = "",
    env_file: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Environment variables; those that are set already stay. Needs python-dotenv.",
            rich_help_panel="Application",
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(callback=check_log_level, help=f"One of {', '.join(LOG_LEVELS)}.")] = "info",
    ssl_certfile: Annotated[
        str | None, typer.Option(help="Certificate, to serve https and wss.", rich_help_panel="TLS")
    ] = None,
    ssl_keyfile: Annotated[
        str | None, typer.Option(help="Its private key, if that is a file of its own.", rich_help_panel="TLS")
    ] = None,
    ssl_keyfile_password: Annotated[
        str | None, typer.Option(help="The key's password, if it is encrypted.", rich_help_panel="TLS")
    ] = None,
    ssl_version: Annotated[
        int | None,
        typer.Option(
            help="Protocol, as Python's module `ssl` numbers them.", show_default="17, any TLS", rich_help_panel="TLS"
        ),
    ] = None,
    ssl_cert_reqs: Annotated[
        int | None,
        typer.Option(
            help="Whether clients need a certificate: 0 no, 1 may have one, 2 yes.",
            show_default="0",
            rich_help_panel="TLS",
        ),
    ] = None,
    ssl_ca_certs: Annotated[
        str | None, typer.Option(help="Certificates that must have signed the clients'.", rich_help_panel="TLS")
    ] = None,
    ssl_ciphers: Annotated[
        str | None, typer.Option(help="In OpenSSL's words.", show_default="TLSv1", rich_help_panel="TLS")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Load the application and stop: can it be served?", rich_help_panel="Application"),
    ] = False,
) -> None:
    """Serve one application: a Shoal server, an engine, or any ASGI application.

    It is imported from the working directory or from what is installed, after the node's name and the broker were
    put into SHOAL_NODE and SHOAL_BROKER, where `Server()` finds them. Options that uvicorn has, too, mean the same.

    For example: `shoal serve app:io --reload`, `shoal serve app:io --host 0.0.0.0 --port 8000 --workers 4`
    """
    from ..local.job import Job  # noqa: PLC0415 - see the package's docstring
    from ..local.reload import Watch  # noqa: PLC0415

    if env_file is not None:
        from .environment import load_environment  # noqa: PLC0415

        load_environment(env_file)
    watch = Watch(directories=reload_dir or (), include=reload_include or (), exclude=reload_exclude or ())
    _check_together(workers, reload, watch != Watch(), shared_port, ssl_cert_reqs)
    job = Job(
        app=app,
        factory=factory,
        app_dir=app_dir,
        name=node or os.environ.get("SHOAL_NODE") or (Path(uds).stem if uds else str(port)),
        host=host,
        port=port,
        uds=uds,
        shared_port=shared_port,
        log_level=log_level,
        tls=_given(
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            ssl_keyfile_password=ssl_keyfile_password,
            ssl_version=ssl_version,
            ssl_cert_reqs=ssl_cert_reqs,
            ssl_ca_certs=ssl_ca_certs,
            ssl_ciphers=ssl_ciphers,
        ),
    )
    os.environ["SHOAL_NODE"] = job.name
    if broker is not None:
        os.environ["SHOAL_BROKER"] = broker
    if check:
        load(job)
    elif reload:
        _serve_reloaded(job, watch)
    elif workers > 1:
        _serve_workers(job, workers)
    else:
        serve_here(job, load(job), lambda: print(f"{job.name} is listening on {job.place}", flush=True))


def _check_together(
    workers: int, reload: bool, watches: bool, shared_port: int | None, ssl_cert_reqs: int | None
) -> None:
    if reload and workers > 1:
        raise typer.BadParameter("--reload runs one process: leave out --workers")
    if watches and not reload:
        raise typer.BadParameter("--reload-dir, --reload-include and --reload-exclude have no meaning without --reload")
    if shared_port is not None and (reload or workers > 1):
        raise typer.BadParameter("--shared-port is for servers that are started one by one; workers share --port")
    if workers > 1 and ssl_cert_reqs == 2:
        raise typer.BadParameter(
            "--ssl-cert-reqs 2 is not for several workers: they pass requests to each other, and have no certificates"
        )


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def load(job: Job) -> Any:
    """The application of a job."""
    from .loading import load_app  # noqa: PLC0415

    return load_app(job.app, directory=job.app_dir, factory=job.factory)


def serve_here(
    job: Job, application: Any, on_started: Callable[[], None], sockets: Sequence[socket.socket] | None = None
) -> None:
    """Serve in this process, on sockets that listen already or where the job says."""
    logging.basicConfig(level=job.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")

    from ..asgi.lifespan import WithServers  # noqa: PLC0415
    from ..serving import run as serving  # noqa: PLC0415
    from .loading import servers  # noqa: PLC0415

    # One that is mounted would begin with its first request, and until then know no other node.
    front = serving.engine_of(application)
    if mounted := [server for server in servers() if server.engine is not front]:
        application = WithServers(application, mounted, front)
    serving.run(
        application,
        host=job.host,
        port=job.port,
        uds=job.uds,
        shared_port=job.shared_port,
        sockets=sockets,
        log_level=job.log_level if job.log_level in HTTP_LOG_LEVELS else "warning",
        on_started=on_started,
        **job.tls,
    )


def _serve_reloaded(job: Job, watch: Any) -> None:
    from dataclasses import replace  # noqa: PLC0415

    from ..local.reload import check_watch, run_reloaded  # noqa: PLC0415
    from ..serving.tls import check_certificate  # noqa: PLC0415

    check_watch(watch)
    check_certificate(job.tls)
    with _listening(job) as listener:
        run_reloaded(replace(job, fd=listener.fileno()), watch, sys.stderr)


def _serve_workers(job: Job, count: int) -> None:
    from dataclasses import replace  # noqa: PLC0415

    from ..local.workers import run_workers  # noqa: PLC0415
    from ..serving.listening import reserve  # noqa: PLC0415
    from ..serving.tls import check_certificate  # noqa: PLC0415

    check_certificate(job.tls)
    with contextlib.ExitStack() as stack:
        if job.uds is None and sys.platform == "linux":
            stack.enter_context(reserve(job.host, job.port))
        else:
            job = replace(job, fd=stack.enter_context(_listening(job)).fileno())
        run_workers(job, count, sys.stderr, stack.close)


@contextlib.contextmanager
def _listening(job: Job) -> Iterator[socket.socket]:
    from ..serving.listening import listen, listen_unix  # noqa: PLC0415

    with listen_unix(job.uds) if job.uds is not None else listen(job.host, job.port) as listener:
        yield listener
