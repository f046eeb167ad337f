"""Frames that are built and measured by hand are those of `websockets`, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from shoal.protocol.frames import CLOSE_NORMAL, apply_mask, binary_frame, parse_header, text_frame

sizes = st.integers(0, 300) | st.sampled_from([125, 126, 127, 65_534, 65_535, 65_536, 65_537, 200_000])
payloads = st.binary(max_size=130) | sizes.map(lambda size: b"\xe9" * size)


@given(payloads)
@example(b"x" * 125)
@example(b"x" * 126)
@example(b"x" * 65_535)
@example(b"x" * 65_536)
def test_frames_are_those_of_websockets(payload: bytes) -> None:
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert binary_frame(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)


def test_the_close_frame_says_1000() -> None:
    assert Frame(Opcode.CLOSE, (1000).to_bytes(2, "big")).serialize(mask=False) == CLOSE_NORMAL


@given(st.binary(max_size=5), payloads, st.booleans(), st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT]))
def test_a_header_is_measured_as_websockets_wrote_it(before: bytes, payload: bytes, mask: bool, opcode: Opcode) -> None:
    """Sizes of header and payload, masked or not, wherever the frame stands."""
    frame = Frame(opcode, payload).serialize(mask=mask)
    sizes = parse_header(before + frame, len(before))
    assert sizes == (len(frame) - len(payload), len(payload))
    if mask and sizes is not None:
        header = sizes[0]
        assert apply_mask(frame[header:], frame[header - 4 : header]) == payload


@given(payloads, st.booleans())
def test_an_incomplete_header_is_none(payload: bytes, mask: bool) -> None:
    """Every beginning that is shorter than the header, and no other."""
    frame = Frame(Opcode.TEXT, payload).serialize(mask=mask)
    header = len(frame) - len(payload)
    for size in range(min(len(frame), 16)):
        assert (parse_header(frame[:size], 0) is None) == (size < header)


@given(st.binary(max_size=20), st.integers(0, 25))
def test_any_bytes_have_sizes_or_none(data: bytes, start: int) -> None:
    sizes = parse_header(data, start)
    assert sizes is None or (sizes[0] >= 2 and sizes[1] >= 0)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 1_000])
def test_masking_twice_is_nothing(size: int) -> None:
    data = bytes(range(256)) * 4
    assert apply_mask(apply_mask(data[:size], b"\x01\xfe\x80\x7f"), b"\x01\xfe\x80\x7f") == data[:size]
