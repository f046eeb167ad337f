"""The committed seeds, and what a mutator makes of them: deterministic, so that a failure repeats.

A seed is a file below ``corpus/TARGET``, named for what it is. Nothing here knows what the bytes mean; the words of the
protocols are in ``words.dict``.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["CORPUS", "REFUSED", "WORDS", "WORD_FILE", "mutations", "seeds"]

CORPUS = Path(__file__).parent / "corpus"

REFUSED = frozenset((Path(__file__).parent / "refused.txt").read_text(encoding="ascii").split())
"""Seeds that must be refused, as ``TARGET/NAME``. All others must be taken."""
WORD_FILE = Path(__file__).parent / "words.dict"
"""In libFuzzer's form, which is that of a Python literal but for its prefix."""
WORDS: tuple[bytes, ...] = tuple(
    ast.literal_eval("b" + line) for line in WORD_FILE.read_text(encoding="ascii").splitlines() if line.startswith('"')
)
"""What a mutator puts in."""

Mutator = Callable[[random.Random, bytes, bytes], bytes]


def seeds(target: str) -> dict[str, bytes]:
    """The seeds of a target, by name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}


def mutations(found: dict[str, bytes], count: int, luck: random.Random) -> Iterator[tuple[str, bytes]]:
    """Mutated seeds, each with the name of what it was made from."""
    names = sorted(found)
    for _ in range(count):
        name = luck.choice(names)
        data = found[name]
        for _ in range(luck.choice((1, 1, 1, 2, 3, 6))):
            data = luck.choice(MUTATORS)(luck, data, found[luck.choice(names)])
        yield name, data


def _flip(luck: random.Random, data: bytes, other: bytes) -> bytes:
    at = luck.randrange(len(data) + 1)
    return data[:at] + bytes(byte ^ 1 << luck.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def _set(luck: random.Random, data: bytes, other: bytes) -> bytes:
    at = luck.randrange(len(data) + 1)
    return data[:at] + luck.choice((b"\0", b"\xff", b"\x7f", b"\x80", luck.randbytes(1))) + data[at + 1 :]


def _splice(luck: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: luck.randrange(len(data) + 1)] + other[luck.randrange(len(other) + 1) :]


def _insert(luck: random.Random, data: bytes, other: bytes) -> bytes:
    at = luck.randrange(len(data) + 1)
    start = luck.randrange(len(other) + 1)
    return data[:at] + other[start : start + luck.randrange(40)] + data[at:]


def _repeat(luck: random.Random, data: bytes, other: bytes) -> bytes:
    at = luck.randrange(len(data) + 1)
    piece = data[at : at + luck.choice((1, 1, 2, 5, 20))]
    return data[:at] + piece * luck.choice((2, 3, 10, 70)) + data[at + len(piece) :]


def _cut(luck: random.Random, data: bytes, other: bytes) -> bytes:
    at = luck.randrange(len(data) + 1)
    return data[:at] if luck.random() < 0.5 else data[:at] + data[at + luck.randrange(8) :]


def _word(luck: random.Random, data: bytes, other: bytes) -> bytes:
    at = luck.randrange(len(data) + 1)
    word = luck.choice(WORDS)
    return data[:at] + word + data[at + (len(word) if luck.random() < 0.5 else 0) :]


def _swap_lines(luck: random.Random, data: bytes, other: bytes) -> bytes:
    lines = data.split(b"\n")
    luck.shuffle(lines)
    return b"\n".join(lines)


MUTATORS: tuple[Mutator, ...] = (_flip, _set, _splice, _insert, _repeat, _cut, _word, _word, _swap_lines)
