"""The image on its own: what is in it, who it runs as, and what it does before and after its broker is there."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .stack import BROKER_IMAGE, CONTEXT, IMAGE, composes, inspect, ready, run, until

NAME = f"shoal-test-{secrets.token_hex(4)}"
MEGABYTE = 1_000_000


@contextlib.contextmanager
def container(name: str, *args: str) -> Iterator[str]:
    """Run a container in the background for the length of the block."""
    run("docker", "run", "-d", "--name", name, *args)
    try:
        yield name
    finally:
        run("docker", "rm", "-f", "-v", name)


def test_the_image_adds_little_to_its_base() -> None:
    """What the Dockerfile adds to the Python image is Shoal and its libraries, and stays below 80 MB."""
    layers = run("docker", "history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", IMAGE).splitlines()
    sizes = [int(layer.split(" ", 1)[0]) for layer in layers]
    whole = json.loads(run("docker", "image", "inspect", IMAGE))[0]["Size"]
    ours = sum(sizes[: next(i for i, layer in enumerate(layers) if "LABEL" in layer) + 1])
    print(f"\nimage: {whole / MEGABYTE:.0f} MB, of which {ours / MEGABYTE:.0f} MB on top of its base")
    assert 1 * MEGABYTE < ours < 80 * MEGABYTE


def test_the_image_holds_no_build_tools() -> None:
    """pip is gone from the environment that serves: an image that cannot install is a smaller target."""
    found = run("docker", "run", "--rm", IMAGE, "sh", "-c", "ls /opt/shoal/bin")
    assert "shoal" in found.split()
    assert "pip" not in found.split()


def test_one_container_serves_the_chat_alone() -> None:
    """Without a broker and without options it is one whole server: healthy, not root, ends with 0 on SIGTERM."""
    with container(f"{NAME}-alone", "--read-only", "--cap-drop", "ALL", IMAGE) as name:
        until("it is healthy", lambda: inspect(name)["State"]["Health"]["Status"] == "healthy")
        assert run("docker", "exec", name, "id", "-u").strip() == "10001"
        assert "1111 is listening on port: 1111" in run("docker", "logs", name)
        run("docker", "stop", "-t", "20", name)
        state = inspect(name)["State"]
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def test_a_server_waits_for_its_broker() -> None:
    """A server that starts before its broker stays alive, is not ready, and becomes ready when the broker is there."""
    network = f"{NAME}-net"
    run("docker", "network", "create", network)
    try:
        options = ("--network", network, "-e", "SHOAL_BROKER=redis://late-broker:6379")
        with container(f"{NAME}-early", *options, IMAGE) as early:
            until("it says that it is not ready", lambda: not ready(early) and alive(early))
            with container("late-broker", "--network", network, BROKER_IMAGE, "--protected-mode", "no", "--save", ""):
                until("it is ready", lambda: ready(early))
            until("it says that the broker is gone", lambda: not ready(early))
            assert alive(early)
    finally:
        run("docker", "network", "rm", network)


def alive(name: str) -> bool:
    """Whether the server answers at all."""
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:1111/healthz', timeout=2).status)"
    with contextlib.suppress(RuntimeError):
        return run("docker", "exec", name, "python3", "-c", script).strip() == "200"
    return False


def test_a_new_application_makes_an_image(tmp_path: Path) -> None:
    """What `shoal new` writes is built on the image, is healthy, not root, serves its page, and ends with 0."""
    shoal = f"cd '{tmp_path}' && PYTHONPATH='{CONTEXT / 'src'}' '{sys.executable}' -m shoal new my_chat"
    run("sh", "-c", shoal)
    image = f"{NAME}-new"
    run("docker", "build", "-t", image, "--build-arg", f"SHOAL_IMAGE={IMAGE}", str(tmp_path / "my_chat"))
    try:
        with container(f"{NAME}-chat", "--read-only", "--cap-drop", "ALL", image) as name:
            until("it is healthy", lambda: inspect(name)["State"]["Health"]["Status"] == "healthy")
            assert run("docker", "exec", name, "id", "-u").strip() == "10001"
            script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:1111/', timeout=2).read().decode())"
            assert "<title>my_chat</title>" in run("docker", "exec", name, "python3", "-c", script)
            run("docker", "stop", "-t", "20", name)
            assert inspect(name)["State"]["ExitCode"] == 0
    finally:
        run("docker", "image", "rm", image)


@pytest.mark.parametrize("compose", composes())
def test_compose_builds_the_image_that_it_names(compose: str) -> None:
    """`docker-compose up` on a machine without the image builds it, under the name that IMAGE gives it."""
    image = f"{NAME}-built"
    assert not run("docker", "image", "ls", "-q", image)
    run(*compose.split(), "build", IMAGE=image, timeout=600)
    try:
        assert run("docker", "run", "--rm", image, "shoal", "--help")
    finally:
        run("docker", "image", "rm", image)


@pytest.mark.parametrize("name", ["IMAGE", "PYTHON_IMAGE", "BROKER_IMAGE", "NGINX_IMAGE", "HAPROXY_IMAGE"])
def test_a_name_stands_in_one_place(name: str) -> None:
    """Every image is named in .env and only there, so that changing it there changes it."""
    value = next(
        line.split("=")[1] for line in (CONTEXT / ".env").read_text().splitlines() if line.startswith(f"{name}=")
    )
    code = [line.partition("#")[0] for line in (CONTEXT / "docker-compose.yml").read_text().splitlines()]
    assert not [line for line in code if value in line]
    assert [line for line in code if f"${{{name}" in line]
