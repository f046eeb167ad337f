"""Answers to publishes: counting line ends, the short cut, equals reading every line, the plain path."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.bus.base import BusStats
from shoal.bus.redis_publish import Publisher, PublishLink

Answers = st.lists(
    st.one_of(
        st.integers(0, 10**6).map(lambda number: b":%d\r\n" % number),
        st.sampled_from([b"-ERR no\r\n", b"-NOPERM a-b -c\r\n", b"-\r\n", b"-ERR\r\n"]),
    ),
    max_size=40,
)


def feed(link: PublishLink, data: bytes) -> None:
    """Let `data` arrive as the event loop would, in pieces that fit into the buffer."""
    while data:
        link.buffer[: len(data)] = data[: len(link.buffer)]
        count = min(len(data), len(link.buffer))
        link.received(count)
        data = data[count:]


async def made() -> tuple[PublishLink, BusStats, list[str]]:
    stats = BusStats()
    lost: list[str] = []
    return PublishLink(Publisher(1_000, stats, "test"), lost.append), stats, lost


@given(answers=Answers, cuts=st.lists(st.integers(1, 20), max_size=30))
def test_counting_equals_reading(answers: list[bytes], cuts: list[int]) -> None:
    """However the stream is cut into pieces, every answer is confirmed and every error is a dropped message."""

    async def main() -> None:
        link, stats, lost = await made()
        stream = b"".join(answers)
        for cut in cuts:
            feed(link, stream[:cut])
            stream = stream[cut:]
        feed(link, stream)
        assert link.confirmed == len(answers)
        assert stats.dropped == sum(answer.startswith(b"-") for answer in answers)
        assert lost == []

    logging.getLogger("shoal.bus").disabled = True
    try:
        asyncio.run(main())
    finally:
        logging.getLogger("shoal.bus").disabled = False


def test_an_answer_without_an_end_is_no_answer() -> None:
    """A peer that sends an endless line is given up instead of being kept in memory."""

    async def main() -> None:
        link, _, lost = await made()
        link._greeted = None  # as after the greeting
        feed(link, b"-" + b"x" * 200_000)
        assert lost == ["the peer is no Redis broker: its answer has no end"]

    asyncio.run(main())


def test_refusals_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that refuses every publish fills the counter, not the log."""

    async def main() -> None:
        link, stats, _ = await made()
        feed(link, b"-NOPERM not you\r\n" * 500)
        assert stats.dropped == 500

    asyncio.run(main())
    assert caplog.text.count("the broker refuses a publish: NOPERM not you") == 1
