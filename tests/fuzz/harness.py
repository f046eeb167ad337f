"""What a fuzz target is, the table of all, and how one is tried on some bytes.

It knows no parser. A target takes bytes, raises nothing but the errors that its callers in Shoal catch, and checks what
must hold of any result; it ends, whatever the bytes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shoal.errors import ShoalError

__all__ = ["LONGEST", "TARGETS", "Target", "no_errors_logged", "steps", "target"]

LONGEST = 4096
"""Bytes of one input. Longer ones are cut, so that each try ends soon."""

Entry = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to be fuzzed.

    Attributes:
        name: Of the target and of its folder below ``corpus``.
        entry: Takes the bytes.
        refusals: Errors that may leave ``entry``: those that its callers catch.
        mutations: How many mutated seeds `make test` tries.
    """

    name: str
    entry: Entry
    refusals: tuple[type[ShoalError], ...]
    mutations: int

    def try_on(self, data: bytes) -> bool:
        """Try one input. Returns whether it was taken, not refused.

        Raises:
            Exception: A finding.
        """
        try:
            self.entry(data[:LONGEST])
        except self.refusals:
            return False
        return True


TARGETS: dict[str, Target] = {}


def target(*refusals: type[ShoalError], mutations: int) -> Callable[[Entry], Entry]:
    """Enter a function into the table, under its own name."""

    def register(entry: Entry) -> Entry:
        TARGETS[entry.__name__] = Target(entry.__name__, entry, refusals, mutations)
        return entry

    return register


def steps(data: bytes, most: int) -> Iterator[tuple[str, int, bytes]]:
    """Read bytes as a script, a line for each step: a letter, a digit, and the rest after one space.

    Any bytes are a script. A line that begins with no digit in its second place has the number of that byte.
    """
    for line in data.split(b"\n")[:most]:
        if line:
            yield chr(line[0]), (line[1] - 48) % 10 if len(line) > 1 else 0, line[2:].removeprefix(b" ")


class _Keeper(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def no_errors_logged(but: str = "") -> Iterator[None]:
    """What Shoal caught and logged as an error is a finding too, unless its text begins with ``but``."""
    handler = _Keeper(logging.ERROR)
    logger = logging.getLogger("shoal")
    propagates = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
    for record in handler.records:
        if but and record.getMessage().startswith(but):
            continue
        cause = record.exc_info[1] if record.exc_info else None
        raise AssertionError(f"logged: {record.getMessage()}") from cause
