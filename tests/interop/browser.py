"""Real browser windows for the tests: Debian's Chromium, driven by Playwright.

A window records what its console prints and what goes wrong in it. The module knows the demo's page only as far as
its promise to the console goes; it knows no server.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from tests.requirements import need

# What a window does not need. The first two are pages that Chromium loads for the list below its address bar, with a
# process for each window: two thirds of what a window costs. The third is a process in reserve. Chromium obeys the last
# list alone, so the others repeat Playwright's.
DISABLED = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "SpareRendererForSitePerProcess",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
)
ARGUMENTS = (
    "--no-sandbox",  # root, as in a container, has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(DISABLED)}",
)
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
PATIENCE = 15.0  # seconds that a page may take to show what it should


class Window:
    """One browser window, alone in its own context as a person's would be.

    Attributes:
        page: Playwright's page, for everything that has no helper here.
        console: Texts that `console.log` printed, in order.
        errors: Errors and warnings of the console, and exceptions nobody caught, in order.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.console: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", self._printed)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _printed(self, message: ConsoleMessage) -> None:
        if message.type == "log":
            self.console.append(message.text)
        elif message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Return once `holds()` is true.

        Raises:
            AssertionError: It was not within PATIENCE seconds; the message is `what` and the console.
        """
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"{what}; console: {self.console}, errors: {self.errors}")
            self.page.wait_for_timeout(20)  # the events of a page arrive only while Playwright waits

    def prints(self, text: str, times: int = 1) -> None:
        """Wait until the console has printed `text` so many times."""
        self.until(lambda: self.console.count(text) >= times, f"the console never printed {text!r}")

    def run(self, script: str, argument: Any = None) -> Any:
        """Type an expression, or a function of one argument, into the console."""
        return self.page.evaluate(script, argument)


class Windows(Protocol):
    """Opens a page in a new window and waits until it has connected."""

    def __call__(self, url: str, *, connected: bool = True, **context: Any) -> Window: ...


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium for a module. No longer: while it runs, its thread cannot run another event loop."""
    program = need("chromium", "chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Browser) -> Iterator[Windows]:
    """Open windows, and close them after the test."""
    with windows(chromium) as opener:
        yield opener


@contextlib.contextmanager
def windows(chromium: Browser) -> Iterator[Windows]:
    """Open windows, and close them after the block. Each costs a third of a second of processor time."""
    with contextlib.ExitStack() as stack:

        def open_window(url: str, *, connected: bool = True, **context: Any) -> Window:
            made = chromium.new_context(**{**DESKTOP, **context})
            stack.callback(made.close)
            opened = Window(made.new_page())
            opened.page.goto(url)
            if connected:
                opened.prints("ws connected")
                opened.page.wait_for_selector("#state[data-state=connected]")
            return opened

        yield open_window
