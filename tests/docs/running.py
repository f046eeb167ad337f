"""Examples as their readers run them: `shoal serve` in the example's folder, and the page in a real browser window."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from tests.docs.snippets import ROOT
from tests.interop.browser import Window
from tests.ports import free_port
from tests.requirements import missing
from tests.servers import ServerProcess, tracebacks

EXAMPLES = ROOT / "examples"


@contextlib.contextmanager
def example(name: str, app: str = "app:app", **env: str) -> Iterator[ServerProcess]:
    """Serve an example for the length of the block. What it logs must tell of no mistake."""
    if not (ROOT / "src" / "shoal" / "http" / "client" / "socket.io.min.js").is_file():
        missing("the browser client was not fetched (make programs): pages would ask the public copy")
    port = free_port()
    argv = [sys.executable, "-m", "shoal", "serve", app, "--port", str(port)]
    server = ServerProcess(argv, port, {"SHOAL_NODE": "one", **env}, cwd=EXAMPLES / name)
    try:
        server.wait_until_up()
        yield server
        log = server.log()
        server.stop()
        assert not tracebacks(log), log
    finally:
        server.close()


def shows(window: Window, selector: str, text: str) -> None:
    """Wait until an element shows a text."""
    place = window.page.locator(selector)
    window.until(lambda: text in " | ".join(place.all_inner_texts()), f"{selector} never showed {text!r}")
