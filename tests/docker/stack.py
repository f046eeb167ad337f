"""docker-compose.yml, started and looked at from outside: through the balancer's port, and through Docker's own words.

Knows both versions of Compose by their commands. It knows nothing of images: scripts/test-docker has built them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.ports import free_port

CONTEXT = Path(os.environ["SHOAL_TEST_DOCKER"])
IMAGE = os.environ["IMAGE"]
BROKER_IMAGE = os.environ["BROKER_IMAGE"]
NODES = {"ws1": "1111", "ws2": "2222", "ws3": "3333", "ws4": "4444"}


def run(*argv: str, timeout: float = 180.0, **environment: str) -> str:
    """Run a command in the image's context and return what it wrote to stdout.

    Raises:
        RuntimeError: it failed. The message holds both its streams.
    """
    done = subprocess.run(
        argv,
        cwd=CONTEXT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def composes() -> list[str]:
    """The commands of the versions of Compose that are installed: "docker-compose" (v1), "docker compose" (v2)."""
    found = []
    for command in ("docker-compose", "docker compose"):
        words = command.split()
        if (
            shutil.which(words[0])
            and not subprocess.run([*words, "version"], capture_output=True, check=False).returncode
        ):
            found.append(command)
    return found


def until(what: str, true: Callable[[], bool], timeout: float = 60.0) -> None:
    """Return as soon as `true()` is; fail with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.1)


def inspect(container: str) -> dict[str, Any]:
    """What `docker inspect` knows of a container."""
    [known] = json.loads(run("docker", "inspect", container))
    return dict(known)


def ready(container: str) -> bool:
    """Whether the health check of a server's container passes now."""
    with contextlib.suppress(RuntimeError):
        run("docker", "exec", container, "healthcheck")
        return True
    return False


@dataclass
class Stack:
    """One project of docker-compose.yml: `compose` is the command, `balancer` the switch's value."""

    compose: str
    balancer: str
    port: int = field(default_factory=lambda: 8080 if "DOCKER_STATE" in os.environ else free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __call__(self, *args: str) -> str:
        """Run a command of Compose on this project."""
        # nginx is the default: its name is not given, so that the default is what is tested.
        switch = {} if self.balancer == "nginx" else {"BALANCER": self.balancer}
        port = {} if self.port == 8080 else {"BALANCER_PORT": str(self.port)}
        return run(*self.compose.split(), "-p", "shoal-test", *args, **switch, **port)

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        label = f"label=com.docker.compose.service={service}"
        project = "label=com.docker.compose.project=shoal-test"
        return run("docker", "ps", "-aq", "--filter", label, "--filter", project).strip()

    def containers(self) -> dict[str, dict[str, Any]]:
        """Everything that this project started, by service."""
        ids = run("docker", "ps", "-aq", "--filter", "label=com.docker.compose.project=shoal-test").split()
        known = [inspect(container) for container in ids]
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in known}

    def health(self, service: str) -> str:
        """ "healthy", "starting" or "unhealthy"."""
        return str(inspect(self.container(service))["State"]["Health"]["Status"])

    def until_ready(self) -> None:
        """Return once every server's own health check passes when it is asked now, not when Docker last asked."""
        for service in NODES:
            until(f"{service} is ready", lambda service=service: ready(self.container(service)))

    def answers(self) -> bool:
        """Whether the page is there, through the balancer."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url, timeout=2.0).status_code == 200
        return False


@contextlib.contextmanager
def started(compose: str, balancer: str) -> Iterator[Stack]:
    """`up`, until the page answers; then `down`, with nothing left of it."""
    stack = Stack(compose, balancer)
    try:
        stack("up", "-d", "--no-build")
        until("the page answers", stack.answers)
        yield stack
    except BaseException:
        with contextlib.suppress(RuntimeError):
            print(stack("logs", "--no-color", "--tail", "40"))
        raise
    finally:
        stack("down", "--volumes", "--remove-orphans", "--timeout", "5")
