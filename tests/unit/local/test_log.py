"""The one log: lines come out whole, behind the name and the colour of their process."""

from __future__ import annotations

import io
import re

from hypothesis import given
from hypothesis import strategies as st

from shoal.local.log import MAX_LINE, LineSplitter, Log, prefix


def split(*pieces: bytes) -> list[str]:
    splitter = LineSplitter()
    return [line for piece in pieces for line in splitter.feed(piece)] + splitter.close()


def test_a_line_is_whole_however_it_arrived() -> None:
    assert split(b"1111 is lis", b"tening\nsecond", b" line\n") == ["1111 is listening", "second line"]


def test_a_last_line_without_an_end_is_not_lost() -> None:
    assert split(b"a\nb") == ["a", "b"]


def test_a_line_that_never_ends_is_ended_at_the_bound() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"x" * (MAX_LINE + 5)) == ["x" * MAX_LINE]
    assert splitter.close() == ["x" * 5]


def test_bytes_that_are_no_text_do_not_stop_the_log() -> None:
    assert split(b"\xff\xfe ok\n") == ["\ufffd\ufffd ok"]


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=40)), st.integers(1, 7))
def test_cutting_the_bytes_anywhere_changes_nothing(lines: list[str], size: int) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    assert split(*(data[at : at + size] for at in range(0, len(data), size))) == lines


def test_names_of_different_lengths_line_up() -> None:
    stream = io.StringIO()
    log = Log(stream, ["1111", "22222"], ["up"])
    log.write("1111", "a")
    log.write("22222", "b")
    log.write("up", "c")
    assert stream.getvalue() == "1111  | a\n22222 | b\nup    | c\n"


def test_every_server_has_a_colour_of_its_own_and_the_text_has_none() -> None:
    stream = io.StringIO()
    log = Log(stream, ["1111", "2222"], ["up"], colour=True)
    log.write("1111", "hello")
    log.write("2222", "hello")
    first, second = stream.getvalue().splitlines()
    assert first.endswith(" hello")
    assert first.partition("m")[0] != second.partition("m")[0]
    assert re.sub(r"\x1b\[\d+m", "", first) == "1111 | hello"


def test_the_prefix_without_a_colour_has_no_escape() -> None:
    assert prefix("up", 4) == "up   | "


def test_a_closed_stream_is_told_once_and_ends_the_writing() -> None:
    told: list[str] = []
    stream = io.StringIO()
    log = Log(stream, ["1111"], on_broken=lambda: told.append("broken"))
    stream.close()
    log.write("1111", "a")
    log.write("1111", "b")
    assert told == ["broken"]
