"""Builds the load generator and installs the peers in JavaScript at their pinned versions. Knows nothing of measuring.

A peer that cannot be installed is not an error: it is missing from the table, with the reason.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from suite.paths import BUILD, BUILT_PEERS, CERTIFICATE, NATIVE, PEERS, SERVERS

SOURCES = {
    "load": "load options traffic client connection ring tls http frames msgpack order histogram process util",
    "limit": "limit frames util",
}
TLS_FLAGS = ("-DWITH_TLS", "-lssl", "-lcrypto")
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-flto", "-Wall", "-Wextra")


class BuildError(Exception):
    """Something could not be built; the text is one line for the reader."""


def build_native() -> None:
    """Compile `load` and `limit` where their sources have changed. Raises BuildError where that fails."""
    if shutil.which("gcc") is None:
        raise BuildError("gcc is needed to build the load generator")
    for program, sources in SOURCES.items():
        files = [NATIVE / f"{name}.c" for name in sources.split()]
        if NATIVE / "tls.c" in files and not (BUILD / f"{program}.tls").exists():
            (BUILD / f"{program}.built").unlink(missing_ok=True)  # OpenSSL may have come since
        once(BUILD / program, [*files, *NATIVE.glob("*.h")], partial(_compile, program, files))


def prepare_tls() -> str | None:
    """Make a certificate for the servers. Returns why TLS cannot be measured, or None."""
    if not (BUILD / "load.tls").exists():
        return "the load generator was built without it: OpenSSL's headers are missing (Debian: libssl-dev)"
    if shutil.which("openssl") is None:
        return "openssl is not installed, which makes the certificate"
    return attempt(CERTIFICATE, [], _make_certificate)


def install_node_peers() -> str | None:
    """Install Node's and Bun's servers with npm. Returns why that is impossible, or None."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "node and npm are not installed"
    return attempt(BUILT_PEERS, _node_files(), _install_node)


def bun_program() -> Path | None:
    """The bun binary that npm brought for this machine, if there is one."""
    return next(iter(sorted(BUILT_PEERS.glob("node_modules/@oven/bun-*/bin/bun"))), None)


def attempt(target: Path, inputs: list[Path], install: Callable[[], None], also: str = "") -> str | None:
    """As `once`. Returns why that is impossible, or None."""
    try:
        once(target, inputs, install, also)
    except BuildError as error:
        return str(error)
    return None


def once(target: Path, inputs: list[Path], build: Callable[[], None], also: str = "") -> None:
    """Build `target` unless it was built from exactly these inputs, and `also` was the same. Raises BuildError."""
    digest = hashlib.sha256(also.encode())
    for path in sorted(inputs):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    BUILD.mkdir(exist_ok=True)
    mark = BUILD / f"{target.name}.built"
    if target.exists() and mark.exists() and mark.read_text() == digest.hexdigest():
        return
    mark.unlink(missing_ok=True)
    build()
    mark.write_text(digest.hexdigest())


def run(command: list[str], where: Path) -> None:
    """Run a program that builds something. Raises BuildError with the last that it said where it fails."""
    try:
        result = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took longer than ten minutes") from None
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from None
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        raise BuildError(f"{Path(command[0]).name} failed: {lines[-1]}")


def _compile(program: str, files: list[Path]) -> None:
    command = ["gcc", *FLAGS, "-o", str(BUILD / program), *map(str, files)]
    mark = BUILD / f"{program}.tls"
    mark.unlink(missing_ok=True)
    if NATIVE / "tls.c" not in files:
        run(command, NATIVE)
        return
    try:
        run([*command, *TLS_FLAGS], NATIVE)
        mark.touch()
    except BuildError:  # most likely there is no OpenSSL; if that is not why, this says so
        run(command, NATIVE)


def _make_certificate() -> None:
    """A key of the kind that most sites have today, and ten years: nobody looks at it."""
    CERTIFICATE.mkdir(exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
    run(["openssl", "req", "-x509", *key, "-out", "cert.pem", "-days", "3650", "-subj", "/CN=localhost"], CERTIFICATE)


def _install_node() -> None:
    BUILT_PEERS.mkdir(exist_ok=True)
    for source in _node_files():
        shutil.copy(source, BUILT_PEERS)
    # Bun's own install script only copies a binary that is used here where it lies.
    run(["npm", "ci", "--ignore-scripts", "--no-progress"], BUILT_PEERS)


def _node_files() -> list[Path]:
    return [PEERS / "package.json", PEERS / "package-lock.json", PEERS / ".npmrc", *SERVERS.glob("*.js")]
