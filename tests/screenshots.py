"""Draws the screenshots of the demo that README and documentation show: `make screenshots`.

A real `shoal up` on its usual ports, a real Chromium, a crowd that talks, a server that is killed. Nothing in them is
staged but the moment: animations are stopped where a message is on its way. The times are this machine's, so take them
while it does nothing else; what was measured is printed.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from tests.interop.browser import ARGUMENTS, PHONE

FOLDER = Path(__file__).resolve().parent.parent / "docs/images"
DESKTOP = {"viewport": {"width": 1200, "height": 750}, "device_scale_factor": 1.3}
SCHEMES = {"light": "", "dark": "-dark"}
LARGEST = 200_000
"""Bytes of one picture."""
START = 40.0
CALM = 100
"""How much slower than it happened a message is drawn if nothing disturbed it: all had it within 18 ms."""
TRIES = 5

SAID = ("Hello from another window.", "No sticky session: the balancer put me here.", "And if my server dies?")

# Stop every animation in the middle of the way from the broker to the other servers.
HOLD = """async () => {
  const moving = () => document.querySelector(".message-dot[data-from=broker]");
  while (!moving()) await new Promise(requestAnimationFrame);
  const one = moving();
  const { delay, duration } = one.getAnimations()[0].effect.getTiming();
  for (const each of document.getAnimations()) {
    each.pause();
    if (each.effect.target?.closest?.(".message-dot")) each.currentTime = delay + duration * 0.55;
    else each.finish();
  }
}"""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """`shoal up` with a broker that keeps what is said; its address."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "shoal", "up", "--broker-mode", "streams"]
        up = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START
            while up.poll() is None and time.monotonic() < deadline:
                log.seek(0)
                if "Shoal is up" in log.read():
                    yield "http://127.0.0.1:8080/"
                    return
                time.sleep(0.1)
            log.seek(0)
            sys.exit(log.read())
        finally:
            up.terminate()
            up.wait()


def open_page(browser: Browser, url: str, **context: Any) -> Page:
    page = browser.new_context(**context).new_page()
    page.goto(url)
    page.wait_for_selector("#state[data-state=connected]")
    until(page, "document.querySelectorAll('.server').length === 4")
    return page


def until(page: Page, holds: str) -> None:
    """Wait for an expression to hold. The page's security policy forbids Playwright's own way."""
    deadline = time.monotonic() + START
    while not page.evaluate(holds):
        if time.monotonic() > deadline:
            sys.exit(f"screenshots: never was {holds}")
        page.wait_for_timeout(20)


def say(page: Page, text: str) -> None:
    page.evaluate("text => void ws.emit('chat', text)", text)


def settle(page: Page, drawn: int) -> None:
    """Wait until so many clients are at their servers."""
    until(page, f"document.querySelectorAll('#fishes .dot:not(.waiting)').length === {drawn}")
    page.wait_for_timeout(1500)  # they swim


def draw(browser: Browser, url: str, scheme: str) -> None:
    """One window with twenty more clients, and three windows of other people."""
    others = [open_page(browser, url, color_scheme=scheme) for _ in SAID]
    page = open_page(browser, url, color_scheme=scheme, **DESKTOP)
    save_calm(page, others, f"chat{SCHEMES[scheme]}")
    begin(page, others)
    page.click("#talk")
    page.wait_for_timeout(3000)
    here = page.locator(".server.here").get_attribute("data-node")
    victim = next(node for node in ("3333", "4444") if node != here)
    page.click(f".server[data-node='{victim}'] .kill")
    until(page, "document.querySelectorAll('#fishes .waiting').length >= 4")
    page.evaluate("document.getAnimations().forEach(each => each.finish())")
    save(page, f"chat-kill{SCHEMES[scheme]}")
    for each in (page, *others[1:]):
        each.context.close()
    phone = open_page(browser, url, color_scheme=scheme, **PHONE)
    phone.wait_for_timeout(5000)  # the killed server is back
    save_calm(phone, others[:1], f"chat-phone{SCHEMES[scheme]}")
    for each in (phone, *others[:1]):
        each.context.close()


def begin(page: Page, others: list[Page]) -> None:
    """Load the page, add the crowd, and let the others speak."""
    page.reload()
    page.wait_for_selector("#state[data-state=connected]")
    page.click("#add")
    settle(page, 1 + 20 + len(others))
    for other, text in zip(others, SAID, strict=False):
        say(other, text)
        page.wait_for_timeout(500)
    page.wait_for_timeout(2000)


def save_calm(page: Page, others: list[Page], name: str) -> None:
    """Save the page with a message on its way; again where something else kept the machine busy at that moment."""
    for _ in range(TRIES):
        begin(page, others)
        say(page, "Hello! I'm client")
        hold_a_message(page)
        slower = re.search(r"Drawn ([\d,]+)", page.locator("#reading").inner_text())
        if slower and int(slower[1].replace(",", "")) >= CALM:
            break
    save(page, name)


def hold_a_message(page: Page) -> None:
    page.evaluate(HOLD)


def save(page: Page, name: str) -> None:
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path)
    size = path.stat().st_size
    measured = page.locator("#reading").inner_text()
    print(f"screenshots: {path.relative_to(FOLDER.parent.parent)}, {size // 1000} kB. {measured}")
    if size > LARGEST:
        sys.exit(f"screenshots: {path.name} has more than {LARGEST // 1000} kB")


def main() -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("screenshots: there is no chromium; `make programs` installs it")
    with running() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        for scheme in sys.argv[1:] or SCHEMES:
            draw(browser, url, scheme)
        browser.close()


if __name__ == "__main__":
    main()
