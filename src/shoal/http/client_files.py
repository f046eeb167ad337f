"""The official browser client, served beside the endpoint as Node's server does.

The files are not ours: the build copies them from npm into ``client/``. Where they are absent the browser is sent to
the public copy of the version that is named here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from .request import Request
from .responses import respond

__all__ = ["CLIENT_VERSION", "ClientFiles"]

CLIENT_VERSION: Final = "4.8.4"
PUBLIC_COPY: Final = "https://cdn.socket.io"
NAMES: Final = tuple(
    f"socket.io{kind}.js{suffix}" for kind in ("", ".min", ".esm.min", ".msgpack.min") for suffix in ("", ".map")
)
DIRECTORY: Final = Path(__file__).with_name("client")


class ClientFiles:
    """Serves the browser client, each file read once.

    Args:
        directory: Where the build put the files.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory
        self._files: dict[str, tuple[bytes, bytes]] = {}

    async def serve(self, name: str, request: Request, headers: Any, send: Any) -> bool:
        """Answer a request for a file of the client; returns whether ``name`` is one."""
        if name not in NAMES:
            return False
        if request.method not in {"GET", "HEAD"}:
            await respond(send, 405, b"", [(b"allow", b"GET, HEAD")])
            return True
        found = self._load(name)
        if found is None:
            location = f"{PUBLIC_COPY}/{CLIENT_VERSION}/{name}".encode()
            await respond(send, 302, b"", [*headers, (b"location", location), (b"cache-control", b"no-store")])
            return True
        body, etag = found
        kind = b"application/json" if name.endswith(".map") else b"application/javascript; charset=utf-8"
        headers = [*headers, (b"content-type", kind), (b"cache-control", b"public, max-age=0"), (b"etag", etag)]
        if request.headers.get("if-none-match") in {etag.decode(), "W/" + etag.decode()}:
            await respond(send, 304, b"", headers)
        else:
            await respond(send, 200, body, headers)
        return True

    def _load(self, name: str) -> tuple[bytes, bytes] | None:
        if name not in self._files:
            try:
                body = (self._directory / name).read_bytes()
            except OSError:
                return None
            self._files[name] = body, b'"%b"' % hashlib.sha256(body).hexdigest()[:16].encode()
        return self._files[name]
