"""The writer's short cut past the transport: when it is taken, when not, and what a socket does not take.

That it delivers what the plain way delivers is shown by the histories of `test_ticker`; what it needs of uvloop, by
`tests/contract/test_descriptor.py`.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from tests.unit.fanout.recording import Wire
from tests.unit.fanout.test_ticker import Member, World, town

from shoal.fanout import writer
from shoal.fanout.rooms import Rooms
from shoal.testing import run


@pytest.fixture
def sockets() -> Iterator[tuple[World, Rooms[Member], list[Wire]]]:
    """Three sockets in room `a`, and this is the only thread."""
    with mock.patch.object(writer, "active_count", return_value=1):
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
def test_a_socket_is_written_to_past_its_lane(sockets: tuple[World, Rooms[Member], list[Wire]], mixed: bool) -> None:
    """No lane hears of what its socket takes."""
    world, table, wires = sockets
    before = [wire.writes for wire in wires]
    emit(world, table, b"4x", mixed)
    for wire in wires[mixed:]:
        wire.drain()
        assert wire.packets[-1] == "4x"
    assert [wire.writes for wire in wires[mixed:]] == before[mixed:]


@MIXED
def test_with_another_thread_every_write_goes_to_the_lane(
    sockets: tuple[World, Rooms[Member], list[Wire]], mixed: bool
) -> None:
    """A thread, whatever it does: `os.write` would let it have the interpreter at every member."""
    world, table, wires = sockets
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
def test_what_a_socket_does_not_take_goes_to_its_lane(
    sockets: tuple[World, Rooms[Member], list[Wire]], mixed: bool
) -> None:
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
def test_a_broken_socket_is_for_its_lane_to_find_out(
    sockets: tuple[World, Rooms[Member], list[Wire]], mixed: bool, error: int
) -> None:
    """Whatever `os.write` says, the lane is given the whole of it, and the others get theirs."""
    world, table, wires = sockets
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


def test_nothing_is_written_to_a_descriptor_after_the_end(sockets: tuple[World, Rooms[Member], list[Wire]]) -> None:
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
def test_what_is_left_of_a_message_is_not_copied(sockets: tuple[World, Rooms[Member], list[Wire]], mixed: bool) -> None:
    """A hundred clients that do not read share the bytes that wait for them, as they do on the plain way."""
    world, table, wires = sockets
    left: list[memoryview] = []
    for wire in wires[mixed:]:  # the first one gets more in a mixed turn, as one piece
        wire.outbox.attach(left.append, framed=True, descriptor=wire.ours.fileno())  # type: ignore[arg-type]
    emit(world, table, b"4" + b"x" * 200_000, mixed)
    assert len(left) == len(wires[mixed:])
    assert len({id(rest.obj) for rest in left}) == 1


@pytest.mark.parametrize("elsewhere", [False, True], ids=["no loop", "another loop"])
def test_nothing_is_written_past_a_transport_whose_loop_does_not_run(
    sockets: tuple[World, Rooms[Member], list[Wire]], elsewhere: bool
) -> None:
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
    with mock.patch.object(writer, "os_write") as write:
        if elsewhere:
            run(second())
        else:
            world.ticker.flush()
        assert not write.called
    world.ticker.forget_loop()
