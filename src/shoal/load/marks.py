"""The mark at the head of every text that is sent: which run, who sent it, its number, and when. Pure.

::

    ~k3f9~ PPPPPPPP SSSSSSSS TTTTTTTTTTTTTTTT        (without the spaces)
    run    publisher, sequence, microseconds, in decimal digits

Texts stay plain ASCII that every server passes on unchanged; the run's own tag keeps apart what another test, or an
earlier one, sends to the same room.
"""

from __future__ import annotations

__all__ = ["MARK_SIZE", "TAG_SIZE", "make_tag", "read_mark", "write_mark"]

TAG_SIZE = 6
MARK_SIZE = TAG_SIZE + 32
SEQUENCES = 10**8
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def make_tag(random: int) -> bytes:
    """The tag of a run, made from a random number."""
    letters = []
    for _ in range(TAG_SIZE - 2):
        random, rest = divmod(random, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return f"~{''.join(letters)}~".encode()


def write_mark(tag: bytes, publisher: int, sequence: int, time_us: int) -> bytes:
    """The ``MARK_SIZE`` bytes that a text begins with."""
    return b"%b%08d%08d%016d" % (tag, publisher, sequence % SEQUENCES, time_us)


def read_mark(data: bytes, at: int) -> tuple[int, int, int]:
    """Publisher, sequence and time of the mark whose tag begins at ``data[at]``. Raises ValueError if there is none."""
    start = at + TAG_SIZE
    publisher, sequence = divmod(int(data[start : start + 16]), SEQUENCES)
    return publisher, sequence, int(data[start + 16 : start + 32])
