"""A session on the fast lane: what waits, pauses, and the end of either side."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.fastlane.test_websocket import LARGEST, Lane, frame
from websockets.frames import Frame, Opcode

from shoal.fastlane.reader import MAX_UNCOMMON
from shoal.http.request import Request
from shoal.protocol.frames import binary_frame, text_frame
from shoal.protocol.session import State
from shoal.testing import Clock, async_test


@async_test
async def test_what_is_sent_is_framed_once_and_written_at_once() -> None:
    """Text and binary leave as server frames, behind the OPEN packet."""
    it = Lane()
    it.connection.send("hello")
    it.connection.send(b"\x00")
    assert it.transport.written[it.opening :] == text_frame(b"4hello") + binary_frame(b"\x00")
    it.end()


@async_test
async def test_back_pressure_holds_what_is_sent() -> None:
    """Between pause_writing and resume_writing nothing is written; then everything, in order."""
    it = Lane()
    it.lane.pause_writing()
    it.connection.send("one")
    it.connection.send("two")
    assert len(it.transport.written) == it.opening
    assert it.connection.buffered > 0
    it.lane.resume_writing()
    assert it.transport.written[it.opening :] == text_frame(b"4one") + text_frame(b"4two")
    it.end()


@async_test
async def test_a_pause_before_the_session_moves_here_counts() -> None:
    """A transport that was full before the session came to it holds what is sent, until it resumes."""
    for moment in ("before the answer", "while it probes"):
        it = Lane(begin=False)
        request = Request("GET", "/", b"", b"", "", False)
        if moment == "while it probes":
            session, _ = it.engine.table.open(State.POLLING, request)
            it.attach(session)
            it.begin(session)
            it.lane.data_received(frame(Opcode.TEXT, b"2probe"))
            it.lane.pause_writing()
            it.lane.data_received(frame(Opcode.TEXT, b"5"))
        else:
            it.lane.pause_writing()
            it.begin(None)
        written = it.transport.written
        it.connection.send("waits")
        assert it.transport.written == written
        it.lane.resume_writing()
        assert it.transport.written == written + text_frame(b"4waits")
        it.end()


@async_test
async def test_of_the_pongs_that_back_pressure_holds_the_last_one_is_sent() -> None:
    """RFC 6455 section 5.5.3 allows it, and pongs are within no bound. What the outbox holds comes behind it."""
    it = Lane()
    it.lane.pause_writing()
    it.connection.send("held")
    for data in (b"1", b"2"):
        it.lane.data_received(frame(Opcode.PING, data))
    assert len(it.transport.written) == it.opening
    it.lane.resume_writing()
    assert it.end().sent == frame(Opcode.PONG, b"2", mask=False) + text_frame(b"4held")


@async_test
async def test_no_pong_follows_a_close_frame() -> None:
    """One that was kept while the client did not read is not for a client that has left."""
    for payload in (b"\x03\xe8", b"\x03\xe8with a reason"):
        it = Lane()
        it.lane.pause_writing()
        it.lane.data_received(frame(Opcode.PING, b"?"))
        it.lane.data_received(frame(Opcode.CLOSE, payload))
        it.transport.closing = False  # as uvloop's, which is not closed until all that waits is written
        it.lane.resume_writing()
        assert it.end().sent == Frame(Opcode.CLOSE, payload).serialize(mask=False)


@async_test
async def test_nothing_is_sent_behind_the_clients_close() -> None:
    """The transport may be open for a while: what is sent meanwhile is dropped (RFC 6455 section 5.5.1)."""
    for payload in (b"\x03\xe8", b"\x03\xe8with a reason"):
        it = Lane()
        it.lane.data_received(frame(Opcode.CLOSE, payload))
        it.transport.closing = False  # as uvloop's, which is not closed until all that waits is written
        it.connection.send("late")
        it.engine.context.settle()
        await asyncio.sleep(0)
        assert it.end().sent == Frame(Opcode.CLOSE, payload).serialize(mask=False)


@async_test
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "fault",
    [frame(Opcode.TEXT, b"4unmasked", mask=False), b"\x81\xff" + (LARGEST + 1).to_bytes(8, "big") + b"mask"],
    ids=["unmasked", "too large"],
)
async def test_nothing_is_kept_for_a_client_that_broke_the_protocol(fault: bytes, full: bool) -> None:
    """What was held for it is dropped, and what is sent to it later is neither sent nor held."""
    it = Lane()
    if full:
        it.lane.pause_writing()
        it.connection.send("held")
    it.lane.data_received(fault)
    written = it.transport.written
    it.transport.closing = False  # as above
    it.connection.send("late")
    assert it.connection.buffered == 0
    it.lane.resume_writing()
    assert it.transport.written == written
    it.end()


@async_test
async def test_a_pause_in_reading_reaches_the_transport() -> None:
    """What a client sends beyond the bound stays in the kernel; and it is read again."""
    it = Lane()
    it.connection.pause_reading()
    assert not it.transport.reading
    it.connection.resume_reading()
    await asyncio.sleep(0)
    assert it.transport.reading
    it.end()


@async_test
async def test_the_transport_pauses_once_however_often_it_is_asked() -> None:
    """Each event beyond `max_waiting_events` asks for it."""
    it = Lane()
    for pauses in (1, 2):
        for _ in range(3):
            it.connection.pause_reading()
        assert (it.transport.reading, it.transport.pauses) == (False, pauses)
        it.connection.resume_reading()
        await asyncio.sleep(0)
        assert it.transport.reading
    it.end()


@async_test
async def test_one_read_of_many_uncommon_frames_takes_several_turns() -> None:
    """Other clients have their turns in between, and no more is read meanwhile; then all of them are answered."""
    it = Lane()
    pong = frame(Opcode.PONG, b"?", mask=False)
    it.lane.data_received(frame(Opcode.PING, b"?") * (2 * MAX_UNCOMMON + 1))
    for turn in (1, 2):
        answered = it.transport.written[it.opening :].count(pong)
        assert (turn - 1) * MAX_UNCOMMON < answered <= turn * MAX_UNCOMMON
        assert not it.transport.reading
        await asyncio.sleep(0)
    assert it.transport.reading
    assert it.end().sent == pong * (2 * MAX_UNCOMMON + 1)


@async_test
async def test_a_session_that_is_closed_while_reading_is_paused_reads_the_clients_close() -> None:
    """The closing handshake needs it."""
    it = Lane()
    it.connection.pause_reading()
    it.connection.close()
    await asyncio.sleep(0)
    assert it.transport.reading
    it.lane.data_received(frame(Opcode.CLOSE, b"\x03\xe8"))
    assert it.transport.closing
    assert not it.transport.aborted
    it.end()


@async_test
async def test_what_was_held_goes_before_the_close_frame() -> None:
    """What a session sent before we close it is delivered, also to a client that is slow to read."""
    it = Lane()
    it.lane.pause_writing()
    it.connection.send("held")
    it.connection.close("forced close")
    assert it.end().sent == text_frame(b"4held") + frame(Opcode.CLOSE, b"\x03\xe8", mask=False)


@async_test
async def test_a_client_that_sends_no_more_still_gets_what_was_held() -> None:
    """Half of the connection is open, and the transport closes it when all is written."""
    it = Lane()
    it.lane.pause_writing()
    it.connection.send("held")
    assert not it.lane.eof_received()
    it.lane.resume_writing()
    assert it.end().sent == text_frame(b"4held")


@async_test
async def test_a_lane_that_fails_to_close_leaves_no_open_outbox() -> None:
    """Nothing may be written there any more, whatever went wrong."""
    it = Lane()

    def fail(**_: Any) -> None:
        raise RuntimeError("broken")

    it.connection.lane = SimpleNamespace(close=fail)  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="broken"):
        it.connection.close()
    it.connection.outbox.packet("4late")
    assert it.end().sent == b""


@async_test
async def test_closing_waits_for_the_clients_close_and_then_for_nobody() -> None:
    """A client that does not answer the close frame is cut off at the deadline."""
    it = Lane()
    it.connection.close("forced close")
    assert it.transport.written[it.opening :] == frame(Opcode.CLOSE, b"\x03\xe8", mask=False)
    assert not it.transport.closing
    it.lane.data_received(frame(Opcode.TEXT, b"4late"))
    assert it.seen.messages == []
    await Clock.running().advance(it.engine.settings.close_timeout + 1)
    assert it.transport.aborted
    it.end()
    assert it.reasons == ["forced close"]


@async_test
async def test_what_still_comes_does_not_put_off_the_end() -> None:
    """A client that does not answer the close frame, and sends on, is cut off at the same deadline."""
    it = Lane()
    it.connection.close()
    for _ in range(int(it.engine.settings.close_timeout) + 2):
        for opcode in (Opcode.TEXT, Opcode.PING):
            it.lane.data_received(frame(opcode, b"4"))
        await Clock.running().advance(1)
        if it.transport.aborted:
            break
    assert it.transport.aborted
    it.end()


@async_test
async def test_an_answered_close_ends_at_once() -> None:
    it = Lane()
    it.connection.close()
    it.lane.data_received(frame(Opcode.CLOSE, b"\x03\xe8"))
    assert it.transport.closing
    assert not it.transport.aborted
    it.end()


@async_test
async def test_a_client_that_breaks_the_protocol_is_cut_off() -> None:
    """The close frame says why; the session ends with Node's reason. What still comes is read and dropped, for a while:
    unread it would make the kernel reset the connection, and the close frame might be lost."""
    it = Lane()
    it.lane.data_received(frame(Opcode.TEXT, b"4unmasked", mask=False))
    assert it.transport.written[it.opening :].startswith(b"\x88")
    assert it.transport.ended
    assert it.reasons == ["transport error"]
    written = it.transport.written
    it.lane.data_received(frame(Opcode.TEXT, b"4late") + frame(Opcode.PING, b"") + frame(Opcode.CLOSE, b"\x03\xe8"))
    it.lane.close()
    assert it.transport.written == written
    assert not it.transport.closing
    assert it.transport.reading
    await Clock.running().advance(it.engine.settings.close_timeout + 2)
    assert it.transport.aborted
    it.end()


@async_test
async def test_a_message_that_is_too_large_is_cut_off_as_its_header_arrives() -> None:
    """Not a byte of the payload needs to come: code 1009."""
    it = Lane()
    it.lane.data_received(b"\x81\xff" + (LARGEST + 1).to_bytes(8, "big") + b"mask")
    assert it.transport.written[it.opening :][:4] == b"\x88" + it.transport.written[it.opening + 1 : it.opening + 2] + (
        1009
    ).to_bytes(2, "big")
    assert it.reasons == ["transport error"]
    it.end()


@async_test
async def test_a_lane_leaves_no_trace() -> None:
    """Neither in the server's set of connections, nor in the wheel, nor among the sessions."""
    it = Lane()
    assert it.connections == {it.lane}
    it.lane.connection_lost(ConnectionResetError())
    assert it.connections == set()
    assert it.engine.sessions == {}
    assert len(it.engine.context.wheel) == 0
    assert it.reasons == ["transport close"]
    it.end()


@async_test
async def test_the_servers_shutdown_closes_the_session() -> None:
    it = Lane()
    it.lane.shutdown()
    assert it.reasons == ["server shutting down"]
    assert it.transport.written[it.opening :].startswith(b"\x88")
    it.end()
