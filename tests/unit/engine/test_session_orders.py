"""One session under arbitrary legal and illegal orders of requests, frames, sends, closings and waiting.

Whatever happens: no exception leaves the engine, no message is lost, doubled or out of order while the session lives,
and when it is over nothing of it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.asgi.polling import Pending, Poller, Upgrade
from tests.unit.fuzz import examples

from shoal import ConnectionRefused, Engine
from shoal.testing import TestServer, run

steps = st.one_of(
    st.tuples(st.just("poll")),
    st.tuples(st.just("poll")),
    st.tuples(st.just("post"), st.sampled_from(["message", "message", "pong", "close", "noop", "broken", "empty"])),
    st.tuples(st.just("send")),
    st.tuples(st.just("send")),
    st.tuples(st.just("open_websocket")),
    st.tuples(
        st.just("frame"), st.integers(0, 2), st.sampled_from(["2probe", "5", "5", "3", "message", "1", "x", "6"])
    ),
    st.tuples(st.just("drop"), st.integers(0, 2)),
    st.tuples(st.just("cancel_poll")),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.0, 0.5, 3.0, 9.0, 16.0])),
    st.tuples(st.sampled_from(["pause", "resume", "close", "abort"])),
)


class Life:
    """One session, everything that was sent to it, and everything that arrived."""

    def __init__(self, engine: Engine, server: TestServer) -> None:
        self.engine = engine
        self.server = server
        self.poller = Poller(server)
        self.polls: list[Pending] = []
        self.posts: list[Pending] = []
        self.sockets: list[Upgrade] = []
        self.sent = self.posted = 0
        self.cancelled = False
        self.reasons: list[str] = []
        self.got: list[str] = []
        engine.on("message")(lambda session, data: self.got.append(data))
        engine.on("disconnect")(lambda session, reason: self.reasons.append(reason))

    @property
    def session(self) -> Any:
        return self.engine.sessions.get(self.poller.sid)

    def poll(self) -> None:
        self.polls.append(self.poller.poll())

    def cancel_poll(self) -> None:
        for poll in self.polls:
            if not poll.done():
                self.cancelled = True
                poll.cancel()

    def message(self) -> str:
        self.posted += 1
        return f"4{self.posted}"

    def post(self, what: str) -> None:
        bodies = {"pong": b"3", "close": b"1", "noop": b"6", "broken": b"x", "empty": b""}
        body = self.message().encode() if what == "message" else bodies[what]
        self.posts.append(asyncio.ensure_future(self.poller.request("POST", body)))

    def send(self) -> None:
        if self.session is not None:
            self.session.send(str(self.sent))
            self.sent += 1

    async def open_websocket(self) -> None:
        if len(self.sockets) < 3:
            with contextlib.suppress(ConnectionRefused):
                self.sockets.append(await self.poller.upgrade())

    def frame(self, number: int, packet: str) -> None:
        if number < len(self.sockets):
            self.sockets[number].send(self.message() if packet == "message" else packet)

    def drop(self, number: int) -> None:
        if number < len(self.sockets):
            self.sockets[number].socket.drop()

    async def wait(self, seconds: float) -> None:
        await self.server.clock.advance(seconds)

    def pause(self) -> None:
        if self.session is not None:
            self.session.pause_reading()

    def resume(self) -> None:
        if self.session is not None:
            self.session.resume_reading()

    def close(self) -> None:
        if self.session is not None:
            self.session.close()

    def abort(self) -> None:
        if self.session is not None:
            self.session.close("aborted", abort=True)

    async def finish(self) -> None:
        """Let the client go on in order, then look at what came."""
        alive = self.session is not None
        if alive:
            self.resume()
            await self.server.settle()
            if self.session is not None and self.session.transport == "polling":
                self.poll()
            await self.server.settle()
            alive = self.session is not None
        received = self.received()
        assert received == sorted(received, key=int), "out of order"
        assert len(received) == len(set(received)), "doubled"
        if alive and not self.cancelled:
            assert received == [str(n) for n in range(self.sent)], "lost"
        assert self.got == sorted(self.got, key=int)
        assert len(self.got) == len(set(self.got))

    def received(self) -> list[str]:
        answers = [poll.result() for poll in self.polls if poll.done() and not poll.cancelled()]
        packets = [packet for answer in answers if answer.status == 200 for packet in Poller.packets(answer)]
        packets += [packet for socket in self.sockets for packet in socket.received]
        return [packet[1:] for packet in packets if isinstance(packet, str) and packet[0] == "4"]

    async def end(self) -> None:
        """The client is gone for good: after all deadlines nothing is left."""
        for socket in self.sockets:
            await socket.socket.end()
        for request in [*self.polls, *self.posts]:
            request.cancel()
        await asyncio.gather(*self.polls, *self.posts, return_exceptions=True)
        await self.server.clock.advance(60)
        engine = self.engine
        assert (engine.sessions, engine.table.final_packets, len(engine.context.wheel)) == ({}, {}, 0)
        assert len(engine.context.tasks) == 0
        assert len(self.reasons) == 1


@settings(max_examples=examples(80))
@given(st.lists(steps, max_size=20))
def test_any_order_of_things(story: list[tuple[Any, ...]]) -> None:
    async def main() -> None:
        engine = Engine(ping_interval=10, ping_timeout=5, upgrade_timeout=4, close_timeout=2)
        async with TestServer(engine) as server:
            life = Life(engine, server)
            await life.poller.open()
            for name, *arguments in story:
                result = getattr(life, name)(*arguments)
                if result is not None:
                    await result
                await server.settle()
            await life.finish()
            await life.end()

    with no_errors_logged():
        run(main())


@contextlib.contextmanager
def no_errors_logged() -> Any:
    """What the engine caught and logged would not be seen otherwise."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("shoal")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() + str(record.exc_info) for record in records] == []
