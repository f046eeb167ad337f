"""What the short cut past a transport needs of uvloop, on real sockets, and which transports it leaves alone.

Should a version of uvloop keep a byte back without a pause, or close a descriptor before it says so, this fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import connect_narrow

from shoal.engine.base import BaseEngine
from shoal.engine.connection import Connection
from shoal.engine.websocket import begin
from shoal.fastlane.descriptor import claim_descriptor
from shoal.fastlane.websocket import FastLane
from shoal.http.request import Request
from shoal.settings import EngineSettings

uvloop = pytest.importorskip("uvloop")
PIECE = b"x" * 1_000
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Witness(asyncio.Protocol):
    """Claims the descriptor of its transport, and notes what it hears."""

    def __init__(self) -> None:
        self.paused = False
        self.pauses = 0
        self.waited: list[int] = []
        """Bytes that the transport held when it paused, and when it resumed."""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.descriptor = claim_descriptor(self.transport)
        self.file = os.fstat(self.descriptor) if self.descriptor >= 0 else None

    def pause_writing(self) -> None:
        self.paused = True
        self.pauses += 1
        self.waited.append(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self.paused = False
        self.waited.append(self.transport.get_write_buffer_size())

    def connection_lost(self, exc: Exception | None) -> None:
        found = os.fstat(self.descriptor)
        self.lost.set_result(self.file is not None and found.st_ino == self.file.st_ino)


def on_uvloop(main: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 20.0))


def fill(witness: Witness) -> int:
    """Write past the transport until the socket takes no more, then through it. Returns how much."""
    sent = 0
    try:
        while True:
            sent += os.write(witness.descriptor, PIECE)
    except BlockingIOError:
        assert not witness.paused
    witness.transport.write(PIECE)
    return sent + len(PIECE)


def test_the_first_byte_that_waits_pauses_at_once_and_the_last_resumes() -> None:
    """Within `write`: a caller who looks afterwards knows. And what was written both ways comes in its order."""

    async def main() -> None:
        witness, client = await connect_narrow(Witness)
        loop, read, sent = asyncio.get_running_loop(), b"", 0
        for turn in range(3):
            sent += fill(witness)
            assert witness.paused
            assert witness.pauses == turn + 1
            while len(read) < sent:
                read += await loop.sock_recv(client, 1 << 20)
            while witness.paused:
                await asyncio.sleep(0.001)
            witness.transport.write(b"through")
            os.write(witness.descriptor, b"past")
            sent += len(b"throughpast")
            while len(read) < sent:
                read += await loop.sock_recv(client, 1 << 20)
            assert read.endswith(b"throughpast")
            assert not witness.paused
        assert all(size > 0 for size in witness.waited[::2]), witness.waited
        assert not any(witness.waited[1::2]), witness.waited
        assert read.replace(b"throughpast", b"").count(b"x") == sent - 3 * len(b"throughpast")
        witness.transport.abort()
        assert await witness.lost
        client.close()

    on_uvloop(main)


def test_a_session_that_comes_to_a_full_transport_waits() -> None:
    """A response that the client has not read stands before it: past it, frames would land in its middle."""

    async def main() -> None:
        witness, client = await connect_narrow(Witness)
        sent, read = fill(witness), b""
        engine: BaseEngine[Any] = BaseEngine(EngineSettings(), sessions.append)
        lane = FastLane(engine.context, witness.transport, set())
        witness.transport.set_protocol(lane)
        request = Request("GET", "/", b"", b"", "", False)
        lane.accept(request)
        begin(engine, lane, request, None)
        (session,) = sessions
        try:
            assert session.outbox.descriptor == -1
            session.send("held")
            while not read.endswith(b"4held"):
                read += await asyncio.get_running_loop().sock_recv(client, 1 << 20)
            assert read[:sent] == b"x" * sent
            assert session.outbox.descriptor == witness.descriptor
        finally:
            witness.transport.abort()
            await asyncio.sleep(0.01)
            client.close()
            engine.context.wheel.close()
        assert session.outbox.descriptor == -1

    sessions: list[Connection] = []
    on_uvloop(main)


def client_goes(witness: Witness, client: socket.socket) -> None:
    client.close()


def client_resets(witness: Witness, client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def client_is_silent(witness: Witness, client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


def we_close(witness: Witness, client: socket.socket) -> None:
    witness.transport.close()


def we_abort(witness: Witness, client: socket.socket) -> None:
    witness.transport.abort()


def write_fails(witness: Witness, client: socket.socket) -> None:
    client_resets(witness, client)
    with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - the first may be taken
        for _ in range(3):
            os.write(witness.descriptor, PIECE)
    witness.transport.write(PIECE)
    assert not witness.paused


ENDS = [client_goes, client_resets, client_is_silent, we_close, we_abort, write_fails]


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_the_end_is_told_before_the_descriptor_is_closed(end: Callable[..., None], full: bool) -> None:
    """However a connection ends, also with bytes that wait: its number is still its own in `connection_lost`."""

    async def main() -> None:
        witness, client = await connect_narrow(Witness)
        if full and end is not write_fails:
            fill(witness)
        end(witness, client)
        reader = asyncio.create_task(read_all(client))
        assert await witness.lost
        await reader
        client.close()

    on_uvloop(main)


async def read_all(client: socket.socket) -> None:
    """What a client does that has not gone: it reads to the end."""
    with contextlib.suppress(OSError):
        while client.fileno() >= 0 and await asyncio.get_running_loop().sock_recv(client, 1 << 20):
            pass


def test_other_transports_are_left_alone(tmp_path: Path) -> None:
    """asyncio's own, and uvloop's for Unix sockets. (TLS: `tests/interop` speaks it to a whole server.)"""

    class Claimant(asyncio.Protocol):
        claimed: list[tuple[str, int]]

        def connection_made(self, transport: Any) -> None:
            self.claimed.append((type(transport).__name__, claim_descriptor(transport)))
            transport.close()

    async def over_tcp() -> None:
        async with await asyncio.get_running_loop().create_server(Claimant, "127.0.0.1", 0) as server:
            await until_closed(*await asyncio.open_connection(*server.sockets[0].getsockname()))

    async def over_unix() -> None:
        path = str(tmp_path / "socket")
        async with await asyncio.get_running_loop().create_unix_server(Claimant, path):
            await until_closed(*await asyncio.open_unix_connection(path))

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    Claimant.claimed = []
    for loop_factory, factory in ((asyncio.new_event_loop, over_tcp), (uvloop.new_event_loop, over_unix)):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asyncio.wait_for(factory(), 20.0))
    assert Claimant.claimed == [("_SelectorSocketTransport", -1), ("UnixTransport", -1)]
