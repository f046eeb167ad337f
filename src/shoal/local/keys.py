"""Keys that are pressed in the terminal of ``shoal up``, one call for each; nothing where there is no terminal.

While keys are read the terminal neither echoes them nor waits for a whole line; Ctrl-C and Ctrl-Z do what they do. A
process in the background must not touch its terminal, or the system stops it, so keys are read in the foreground alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from typing import TextIO

__all__ = ["reading_keys"]

MOST = 64
"""Bytes taken at once."""
AGAIN = 1.0
"""Seconds between looks while in the background."""
TYPED = 8
"""Characters that a person can have typed since the last look. More is a pasted text, which means no key."""


@contextlib.contextmanager
def reading_keys(stream: TextIO | None, pressed: Callable[[str], None]) -> Iterator[bool]:
    """Call ``pressed`` with each character that is typed while the block runs.

    Args:
        stream: Standard input.
        pressed: Called from the running event loop.

    Yields:
        Whether keys can be pressed: ``stream`` is a terminal, and this process in its foreground.
    """
    if stream is None or stream.closed or not stream.isatty():
        yield False
        return
    keys = _Keys(stream.fileno(), pressed)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCONT, keys.look)
    try:
        yield keys.look()
    finally:
        loop.remove_signal_handler(signal.SIGCONT)
        keys.close()


class _Keys:
    def __init__(self, terminal: int, pressed: Callable[[str], None]) -> None:
        self._terminal = terminal
        self._pressed = pressed
        self._later: asyncio.TimerHandle | None = None
        self._before = termios.tcgetattr(terminal)

    def look(self) -> bool:
        """Take the terminal if this process is in the foreground. A shell changes it while a process is stopped."""
        loop = asyncio.get_running_loop()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if not self._in_foreground():
            loop.remove_reader(self._terminal)
            self._later = loop.call_later(AGAIN, self.look)  # a shell says nothing to one that it brings back running
            return False
        with contextlib.suppress(termios.error):
            tty.setcbreak(self._terminal)
        loop.add_reader(self._terminal, self._read)
        return True

    def close(self) -> None:
        if self._later is not None:
            self._later.cancel()
        asyncio.get_running_loop().remove_reader(self._terminal)
        if self._in_foreground():
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._terminal) == os.getpgrp()
        except OSError:
            return False

    def _read(self) -> None:
        if not self._in_foreground():
            self.look()
            return
        try:
            data = os.read(self._terminal, MOST)
        except OSError:
            data = b""
        if not data:  # the terminal is gone; without a reader for it the loop rests
            asyncio.get_running_loop().remove_reader(self._terminal)
        elif len(data) <= TYPED and not data.startswith(b"\x1b"):  # an arrow or a function key begins so
            for key in data.decode("ascii", "replace"):
                self._pressed(key)
