"""One log out of many: every line behind the name and the colour of its process.

Takes bytes of several processes and writes lines to one stream. It knows names, not roles, and decides nothing about
what is worth showing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

__all__ = ["LineSplitter", "Log", "paint", "prefix"]

MAX_LINE = 64 * 1024
"""Bytes of a line. A process that never ends its line gets it ended here, so that nothing waits unbounded."""

COLOURS = (36, 32, 35, 33, 34, 96, 92, 95, 93, 94)
"""Foregrounds for servers, in order: legible on dark and on light terminals, red left for errors."""

QUIET = 90
LOUD = 1
RESET = "\x1b[0m"


class LineSplitter:
    """Bytes in, whole lines out, whatever the pieces were."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Add ``data`` and return the lines that it completed, without their ends."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._rest = rest
        return [_decode(line) for line in lines]

    def close(self) -> list[str]:
        """Return the last line, if it had no end."""
        rest, self._rest = self._rest, b""
        return [_decode(rest)] if rest else []


def _decode(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")


def paint(text: str, colour: int | None) -> str:
    """Return ``text`` in an ANSI colour, or as it is."""
    return text if colour is None else f"\x1b[{colour}m{text}{RESET}"


def prefix(name: str, width: int, colour: int | None = None) -> str:
    """Return what stands before a line of ``name``: ``1111   | ``."""
    return paint(f"{name:<{width}} |", colour) + " "


class Log:
    """Writes the lines of named processes to one stream.

    Args:
        stream: Where lines go. It is flushed after every write.
        servers: Names that get a colour each, in this order.
        others: Names that are coloured alike, quietly.
        colour: Whether to colour at all.
        on_broken: Called once if the stream cannot be written any more, for example because ``| head`` has gone.
            Later lines are dropped.
    """

    def __init__(
        self,
        stream: TextIO,
        servers: Sequence[str],
        others: Iterable[str] = (),
        *,
        colour: bool = False,
        on_broken: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream
        self._broken = False
        self.colour = colour
        self.on_broken = on_broken
        colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(servers)}
        colours |= dict.fromkeys(others, QUIET)
        width = max(map(len, colours))
        self._prefixes = {name: prefix(name, width, shade if colour else None) for name, shade in colours.items()}

    def write(self, name: str, *lines: str) -> None:
        """Write ``lines`` of the process ``name``, in one piece."""
        if self._broken or not lines:
            return
        head = self._prefixes[name]
        try:
            self._stream.write("".join(f"{head}{line}\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._broken = True
            if self.on_broken is not None:
                self.on_broken()

    def strong(self, text: str) -> str:
        """Return ``text`` emphasised, where this log has colours."""
        return paint(text, LOUD if self.colour else None)
