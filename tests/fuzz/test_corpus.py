"""Every seed of the corpus, and a number of mutations of each, find nothing but Shoal's own errors.

SHOAL_FUZZ=20 tries 20 times as many mutations. A finding is told with its bytes: put them into a file below
`tests/fuzz/corpus`, and it is a seed.
"""

from __future__ import annotations

import random
import resource
import time

import pytest
from tests.fuzz.corpus import CORPUS, REFUSED, mutations, seeds
from tests.fuzz.harness import LONGEST, Target
from tests.fuzz.targets import TARGETS
from tests.unit.fuzz import FACTOR

from shoal.errors import SocketProtocolError

CPU_SECONDS = 5.0
"""One input may take this long; the slowest takes a fiftieth of it."""
GROWTH = 200_000
"""Kilobytes by which the process may grow over all inputs of a target."""

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


class Finding(AssertionError):
    """What a target let out that it should not."""


def try_on(target: Target, name: str, data: bytes) -> bool:
    """Try one input. Returns whether it was taken.

    Raises:
        Finding: With the target, the seed's name and the bytes.
    """
    began = time.process_time()
    try:
        taken = target.try_on(data)
    except Exception as error:
        raise Finding(f"{target.name}, seed {name}: {type(error).__name__}: {error}\n{data!r}") from error
    if time.process_time() - began > CPU_SECONDS:
        raise Finding(f"{target.name}, seed {name}: took more than {CPU_SECONDS} s\n{data!r}")
    return taken


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@each_target
def test_seeds_find_only_our_own_errors(target: Target) -> None:
    """Each seed is taken or refused as it should be; there are seeds of both kinds, and all are small."""
    found = seeds(target.name)
    refused = {name for name, data in found.items() if not try_on(target, name, data)}
    assert refused == {name for name in found if f"{target.name}/{name}" in REFUSED}
    assert refused != set(found)
    assert bool(refused) == bool(target.refusals)
    assert max(map(len, found.values())) <= LONGEST


@each_target
def test_mutated_seeds_find_only_our_own_errors(target: Target) -> None:
    """The same mutations at each run, and the memory stays bounded."""
    before = peak()
    for name, data in mutations(seeds(target.name), round(target.mutations * FACTOR), random.Random(target.name)):
        try_on(target, name, data)
    assert peak() - before < GROWTH


def test_every_folder_of_seeds_has_its_target() -> None:
    """Seeds that nobody reads would go unnoticed, and so would a refusal of none."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert {f"{name}/{seed}" for name in TARGETS for seed in seeds(name)} >= REFUSED


def test_a_finding_says_what_is_needed_to_repeat_it() -> None:
    """The target, the seed and the bytes; one of our errors is no finding where callers catch it."""

    def entry(data: bytes) -> None:
        if data == b"ours":
            raise SocketProtocolError("bad")
        raise ValueError("stray")

    assert not try_on(Target("planted", entry, (SocketProtocolError,), 0), "seed", b"ours")
    with pytest.raises(Finding, match=r"(?s)planted, seed seed: ValueError: stray.*b'\\x00theirs'"):
        try_on(Target("planted", entry, (SocketProtocolError,), 0), "seed", b"\x00theirs")
    with pytest.raises(Finding, match="SocketProtocolError"):
        try_on(Target("planted", entry, (), 0), "seed", b"ours")
