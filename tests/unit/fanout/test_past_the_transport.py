"""The writer's short cuts past the transport: when they are taken, when not, and what a socket does not take.

That it delivers what the plain way delivers is shown by the histories of `test_ticker`; what it needs of uvloop, by
`tests/contract/test_descriptor.py`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
from tests.internals import ticker
from tests.requirements import needs_io_uring
from tests.unit.fanout.recording import Wire
from tests.unit.fanout.world import Member, World, town

from shoal import Server
from shoal.fanout import ring, writer
from shoal.fanout.rooms import Rooms
from shoal.testing import run

Sockets = tuple[World, Rooms[Member], list[Wire]]


@pytest.fixture(params=["one by one", pytest.param("by a ring", marks=needs_io_uring)])
def sockets(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    """Three sockets in room `a`, and this is the only thread."""
    yield from some_sockets(2 if request.param == "by a ring" else 1_000)


@pytest.fixture
def single_sockets() -> Iterator[Sockets]:
    """The same, written to one by one."""
    yield from some_sockets(1_000)


@pytest.fixture
def ring_sockets() -> Iterator[Sockets]:
    """The same, written to by a ring."""
    yield from some_sockets(2)


def some_sockets(ring_from: int) -> Iterator[Sockets]:
    with mock.patch.object(writer, "active_count", return_value=1), mock.patch.object(writer, "RING_FROM", ring_from):
        made: list[Any] = []

        async def make() -> None:
            made.extend(town(["socket"] * 3))
            made[0].ticker.forget_loop()

        run(make())
        world, table = made
        yield world, table, [connection.lanes[0] for connection in world.connections]
        for connection in world.connections:
            connection.lanes[0].close()


MIXED = pytest.mark.parametrize("mixed", [False, True], ids=["one batch", "a mixed turn"])


def emit(world: World, table: Rooms[Member], text: bytes, mixed: bool) -> None:
    """To everybody in room `a`; in a mixed turn there are two batches, for the same outboxes."""

    async def main() -> None:
        world.ticker.broadcast(table, ("a",), (), text, ())
        if mixed:
            world.ticker.broadcast(table, ("nobody",), (), b"4never", ())
            world.ticker.send(world.members[0, 0], b"4own", ())
        world.ticker.forget_loop()

    run(main())


@MIXED
def test_a_socket_is_written_to_past_its_lane(sockets: Sockets, mixed: bool) -> None:
    """No lane hears of what its socket takes."""
    world, table, wires = sockets
    before = [wire.writes for wire in wires]
    emit(world, table, b"4x", mixed)
    for wire in wires[mixed:]:
        wire.drain()
        assert wire.packets[-1] == "4x"
    assert [wire.writes for wire in wires[mixed:]] == before[mixed:]


@MIXED
def test_with_another_thread_every_write_goes_to_the_lane(single_sockets: Sockets, mixed: bool) -> None:
    """A thread, whatever it does: `os.write` would let it have the interpreter at every member."""
    world, table, wires = single_sockets
    before = [wire.writes for wire in wires]
    over = threading.Event()
    with mock.patch.object(writer, "active_count", threading.active_count):
        thread = threading.Thread(target=over.wait)
        thread.start()
        try:
            emit(world, table, b"4x", mixed)
        finally:
            over.set()
            thread.join()
    assert [wire.writes for wire in wires] == [count + 1 for count in before]


@MIXED
def test_what_a_socket_does_not_take_goes_to_its_lane(sockets: Sockets, mixed: bool) -> None:
    """In part or not at all; from then on the outbox holds until the client has read."""
    world, table, wires = sockets
    large = b"4" + b"x" * 20_000
    for text in (large, b"4later", b"4last"):
        emit(world, table, text, mixed)
    assert all(wire.kept and wire.outbox.held and wire.outbox.descriptor < 0 for wire in wires)
    for wire in wires[mixed:]:
        wire.drain()
        assert wire.packets[-3:] == [large.decode(), "4later", "4last"]
        assert wire.outbox.descriptor >= 0


@MIXED
@pytest.mark.parametrize("error", [errno.EPIPE, errno.EAGAIN, errno.ECONNRESET, errno.EBADF, errno.ENOBUFS])
def test_a_broken_socket_is_for_its_lane_to_find_out(single_sockets: Sockets, mixed: bool, error: int) -> None:
    """Whatever `os.write` says, the lane is given the whole of it, and the others get theirs."""
    world, table, wires = single_sockets
    broken, original, before = wires[1].outbox.descriptor, writer.os_write, wires[1].writes

    def write(descriptor: int, data: bytes) -> int:
        if descriptor == broken:
            raise OSError(error, "broken")
        return original(descriptor, data)

    with mock.patch.object(writer, "os_write", write):
        emit(world, table, b"4x", mixed)
    for wire in wires[mixed:]:
        wire.drain()
        assert wire.packets[-1] == "4x"
    assert wires[1].writes == before + 1


def test_nothing_is_written_to_a_descriptor_after_the_end(sockets: Sockets) -> None:
    """A closed outbox knows none: the number may be another file's by now."""
    world, table, wires = sockets
    wires[1].drain()
    wires[1].outbox.close()
    for change in (wires[1].outbox.unblock, wires[1].outbox.block, wires[1].outbox.unblock):
        emit(world, table, b"4x", mixed=False)
        assert wires[1].outbox.descriptor == -1
        change()
    before = len(wires[1].packets)
    wires[1].drain()
    assert len(wires[1].packets) == before


@MIXED
def test_what_is_left_of_a_message_is_not_copied(sockets: Sockets, mixed: bool) -> None:
    """A hundred clients that do not read share the bytes that wait for them, as they do on the plain way."""
    world, table, wires = sockets
    left: list[Any] = []
    for wire in wires[mixed:]:  # the first one gets more in a mixed turn, as one piece
        wire.outbox.attach(left.append, framed=True, descriptor=wire.ours.fileno())
    emit(world, table, b"4" + b"x" * 200_000, mixed)
    assert len(left) == len(wires[mixed:])
    assert len({id(rest.obj) for rest in left}) == 1


@pytest.mark.parametrize("elsewhere", [False, True], ids=["no loop", "another loop"])
def test_nothing_is_written_past_a_transport_whose_loop_does_not_run(sockets: Sockets, elsewhere: bool) -> None:
    """A loop that was closed in the middle has closed its descriptors, and told nobody."""
    world, table, wires = sockets
    for wire in wires:
        wire.drain()

    async def first() -> None:
        world.ticker.broadcast(table, ("a",), (), b"4first", ())
        raise SystemExit  # the turn does not end

    async def second() -> None:
        world.ticker.flush()

    loop = asyncio.new_event_loop()
    with pytest.raises(SystemExit):
        loop.run_until_complete(first())
    loop.close()
    before = [wire.writes for wire in wires]
    with mock.patch.object(writer, "os_write") as write, mock.patch.object(writer, "Ring") as ring:
        if elsewhere:
            run(second())
        else:
            world.ticker.flush()
        assert not write.called
        assert not ring.called
    assert [wire.writes for wire in wires] == [count + 1 for count in before]
    world.ticker.forget_loop()


# ---- a ring


def emit_in_turns(world: World, table: Rooms[Member], turns: list[tuple[bytes, bool]]) -> None:
    """As `emit`, with the same ring for all turns."""

    async def main() -> None:
        for text, mixed in turns:
            world.ticker.broadcast(table, ("a",), (), text, ())
            if mixed:
                world.ticker.broadcast(table, ("nobody",), (), b"4never", ())
                world.ticker.send(world.members[0, 0], b"4own", ())
            await asyncio.sleep(0)
        world.ticker.forget_loop()

    run(main())


@needs_io_uring
@MIXED
def test_a_ring_is_used_whatever_other_threads_do(ring_sockets: Sockets, mixed: bool) -> None:
    """It keeps the interpreter's lock, and is one call."""
    world, table, wires = ring_sockets
    before = [wire.writes for wire in wires]
    with mock.patch.object(writer, "active_count", return_value=2), mock.patch.object(writer, "os_write") as write:
        emit(world, table, b"4x", mixed)
    assert not write.called
    assert [wire.writes for wire in wires] == before
    for wire in wires[mixed:]:
        wire.drain()
        assert wire.packets[-1] == "4x"


@needs_io_uring
@MIXED
def test_a_client_that_has_left_is_for_its_lane_to_find_out(ring_sockets: Sockets, mixed: bool) -> None:
    """The lane is given the whole of it, and the others get theirs."""
    world, table, wires = ring_sockets
    wires[1].theirs.close()
    given: list[bytes] = []
    wires[1].outbox.attach(lambda data: given.append(bytes(data)), framed=True, descriptor=wires[1].ours.fileno())
    emit(world, table, b"4x", mixed)
    assert given == [b"\x81\x024x"]
    for wire in (wires[0], wires[2]):
        wire.drain()
    assert wires[2].packets[-1] == "4x"
    assert wires[0].packets[-1] == ("4own" if mixed else "4x")


@needs_io_uring
def test_who_is_closed_by_what_another_one_is_written_gets_nothing(ring_sockets: Sockets) -> None:
    """Its descriptor is another file's by the time that the ring is called: a lane took its turn, and closed it."""
    world, table, wires = ring_sockets
    other, theirs = socket.socketpair()
    number = wires[2].outbox.descriptor

    def close_another(data: bytes) -> None:
        wires[2].outbox.close()
        wires[2].ours.close()
        os.dup2(other.fileno(), number)

    for mixed in (False, True):
        wires[0].outbox.attach(close_another, framed=True)
        emit(world, table, b"4x", mixed)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
        wires[1].drain()
        assert wires[1].packets[-1] == "4x"
    os.close(number)
    other.close()
    theirs.close()


@needs_io_uring
def test_without_a_ring_each_is_written_to_by_itself(ring_sockets: Sockets, caplog: pytest.LogCaptureFixture) -> None:
    """A kernel that gives none is asked once for each loop."""
    world, table, wires = ring_sockets
    caplog.set_level("DEBUG", "shoal.fanout")
    before = [wire.writes for wire in wires]
    with mock.patch.object(writer, "Ring", side_effect=OSError(errno.EPERM, "forbidden")) as ring:
        emit_in_turns(world, table, [(b"4x", False), (b"4y", True)])
    assert ring.call_count == 1
    assert "no io_uring: [Errno 1] forbidden" in caplog.text
    assert [wire.writes for wire in wires[1:]] == before[1:]
    for wire in wires[1:]:
        wire.drain()
        assert wire.packets[-2:] == ["4x", "4y"]


@needs_io_uring
def test_the_option_says_whether_there_is_one(ring_sockets: Sockets) -> None:
    world, table, wires = ring_sockets
    world.ticker._writer = writer.Writer(io_uring=False)
    with mock.patch.object(writer, "Ring") as ring:
        emit(world, table, b"4x", mixed=False)
    assert not ring.called
    wires[0].drain()
    assert wires[0].packets[-1] == "4x"


@needs_io_uring
@MIXED
def test_a_ring_that_fails_costs_nobody_a_message(
    ring_sockets: Sockets, mixed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What the kernel did not take goes to the lanes, and from then on each is written to by itself."""
    world, table, wires = ring_sockets
    with mock.patch.object(ring, "_system_call", return_value=0), mock.patch.object(writer, "Ring", PartlyBroken):
        emit_in_turns(world, table, [(b"4x", mixed), (b"4y", mixed), (b"4z", mixed)])
    assert caplog.text.count("io_uring failed") == 1
    for wire in wires[1:]:
        wire.drain()
        assert wire.packets[-3:] == ["4x", "4y", "4z"]


class PartlyBroken(ring.Ring):
    """Opened as others are; what it is given then, the patched call does not take."""

    def __init__(self) -> None:
        with mock.patch.object(ring, "_system_call", SYSTEM_CALL):
            super().__init__()


SYSTEM_CALL = ring._system_call


@needs_io_uring
@MIXED
@pytest.mark.parametrize("happens", [{"return_value": 3}, {"side_effect": MemoryError}], ids=["unknown", "no memory"])
def test_where_nobody_knows_what_was_sent_the_connections_end(
    ring_sockets: Sockets, mixed: bool, happens: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What comes next could be in the midst of a frame. Others live on, and so does the server."""
    world, table, wires = ring_sockets
    with mock.patch.object(ring, "_system_call", **happens), mock.patch.object(writer, "Ring", PartlyBroken):
        emit(world, table, b"4x", mixed)
    assert [wire.outbox.owner for wire in wires] == [None] * 3
    assert [connection.owner.overflows for connection in world.connections] == [1] * 3
    assert "io_uring" in caplog.text


@needs_io_uring
@MIXED
def test_a_lane_that_raises_costs_the_others_nothing(ring_sockets: Sockets, mixed: bool) -> None:
    world, table, wires = ring_sockets
    wires[1].theirs.close()  # its lane has to find out
    with mock.patch.object(wires[1], "write", side_effect=OSError("gone")):
        wires[1].outbox.attach(wires[1].write, framed=True, descriptor=wires[1].ours.fileno())
        emit(world, table, b"4x", mixed)
    assert [connection.owner.overflows for connection in world.connections] == [0, 1, 0]
    wires[2].drain()
    assert wires[2].packets[-1] == "4x"


@needs_io_uring
@MIXED
def test_what_is_large_goes_by_itself(ring_sockets: Sockets, mixed: bool) -> None:
    """The interpreter's lock would be held for as long as the kernel copies it for all of them."""
    world, table, wires = ring_sockets
    with mock.patch.object(ring.Ring, "send_all") as send_all, mock.patch.object(ring.Ring, "send_each") as send_each:
        send_each.return_value = None
        emit(world, table, b"4" + b"x" * writer.LARGE_FOR_ALL, mixed)
    assert not send_all.called
    assert all(not call.args[1] for call in send_each.call_args_list)
    for wire in wires:
        wire.drain()
        assert len(wire.read) > writer.LARGE_FOR_ALL


@needs_io_uring
def test_a_crowd_is_not_copied_at_once(ring_sockets: Sockets) -> None:
    """Yet it is sent by the ring, in parts."""
    world, table, wires = ring_sockets
    sent: list[int] = []

    class Counting(ring.Ring):
        def send_each(self, descriptors: Sequence[int], pieces: Sequence[bytes]) -> list[int] | None:
            sent.append(len(pieces))
            return super().send_each(descriptors, pieces)

    with mock.patch.object(writer, "COPIED", 2), mock.patch.object(writer, "Ring", Counting):
        emit(world, table, b"4" + b"x" * 3_000, mixed=True)
    assert sent == [2, 1]
    for number, wire in enumerate(wires):
        wire.drain()
        assert wire.packets[1:] == ["4" + "x" * 3_000] + ["4own"] * (number == 0)


def test_a_server_is_told_by_its_option() -> None:
    assert ticker(Server(io_uring=False))._writer._io_uring is False
    assert ticker(Server())._writer._io_uring is True


@needs_io_uring
def test_without_a_loop_there_is_no_ring(ring_sockets: Sockets) -> None:
    """Behind the end of the one it had, and before that of the next."""
    world, _, wires = ring_sockets
    with mock.patch.object(writer, "Ring") as made:
        world.ticker._writer.write_all([wire.outbox for wire in wires], b"\x81\x024x", list)
    assert not made.called
