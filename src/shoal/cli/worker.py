"""A process that `shoal serve` has started: one of several workers, the one that is reloaded, or a first look.

``python -m shoal.cli.worker`` reads its job from the environment (:mod:`shoal.local.job`). It tells who has started it
when it serves, or why it cannot, and stops in order when that one is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import NoReturn

import msgspec

from ..errors import ShoalError
from ..local.job import FAILED, JOB, READY, Job

__all__ = ["main"]

INTERRUPTED = 130


def main() -> NoReturn:
    """Do the job that the environment holds, and exit."""
    text = os.environ.pop(JOB, None)  # not for processes that the application starts
    if text is None:
        sys.exit("shoal.cli.worker is a part of `shoal serve`, which starts it")
    job = Job.read(text)
    with socket.socket(fileno=job.control) as control:
        control.setblocking(True)
        try:
            if job.is_probe:
                control.sendall(look(job))
            else:
                work(job, control)
        except ShoalError as error:
            with contextlib.suppress(OSError):
                control.sendall(FAILED + " ".join(str(error).split()).encode())
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
    sys.exit(0)


def look(job: Job) -> bytes:
    """Load the application and say what its process has, as :class:`shoal.local.workers.Facts` in JSON."""
    from ..local.workers import Facts  # noqa: PLC0415
    from .loading import engines, servers  # noqa: PLC0415
    from .serve import load  # noqa: PLC0415

    application = load(job)
    settings = [server.settings for server in servers()]
    facts = Facts(
        brokers=tuple(each.broker for each in settings),
        advertised=tuple(each.advertise for each in settings if each.advertise),
        recovers=any(each.recovers for each in settings),
        engines=len(engines()),
    )
    del application
    return msgspec.json.encode(facts)


def work(job: Job, control: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, or until nobody has the other end of ``control``."""
    from ..local.workers import ALONE, joins_nobody  # noqa: PLC0415
    from ..serving.listening import listen  # noqa: PLC0415
    from .loading import servers  # noqa: PLC0415
    from .serve import load, serve_here  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        own = []
        if job.own_host:
            own = [stack.enter_context(listen(job.own_host, job.own_port))]
            scheme = "https://" if job.tls else ""
            host = f"[{job.advertise}]" if ":" in job.advertise else job.advertise
            os.environ["SHOAL_ADVERTISE"] = f"{scheme}{host}:{own[0].getsockname()[1]}"
        application = load(job)
        if job.is_clustered and any(server.settings.broker == ALONE for server in servers()):
            raise joins_nobody(job)
        if job.fd >= 0:
            shared = socket.socket(fileno=job.fd)
            shared.setblocking(False)
        else:
            shared = stack.enter_context(listen(job.host, job.port, shared=True))

        def started() -> None:
            with contextlib.suppress(OSError):
                control.sendall(READY)
            asyncio.get_running_loop().add_reader(control.fileno(), stop)
            with contextlib.suppress(OSError):  # who reads it has gone; the other workers serve on, too
                print(f"{job.name} is listening on {job.place}", flush=True)

        def stop() -> None:
            asyncio.get_running_loop().remove_reader(control.fileno())
            os.kill(os.getpid(), signal.SIGTERM)

        serve_here(job, application, started, [shared, *own])


if __name__ == "__main__":
    main()
