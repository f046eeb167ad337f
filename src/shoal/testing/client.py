"""A Socket.IO client for tests: what the official client does, in memory, with everything it received at hand.

A :class:`TestClient` is one namespace over a connection, as a socket of the official client is; several may share one,
by their :class:`.manager.Manager`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from ..errors import AckTimeout, ConnectionRefused, NotConnected
from ..protocol.socketio import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet
from .clock import ClockLoop
from .connection import TestConnection
from .manager import Manager, Member

__all__ = ["Received", "TestClient", "enter", "settle"]


class Received(tuple[Any, ...]):
    """An event that came from the server: ``(event, *args)``.

    Attributes:
        ack: Answers the server's ``call``; ``None`` if it asked for no acknowledgement.
    """

    ack: Callable[..., None] | None = None

    @property
    def event(self) -> str:
        """The event's name."""
        name: str = self[0]
        return name

    @property
    def args(self) -> tuple[Any, ...]:
        """Its arguments."""
        return self[1:]


class TestClient:
    """A client in one namespace. Made by :meth:`.server.TestServer.connect`.

    Attributes:
        namespace: Its name.
        id: The id that the server gave it; its socket there is ``io.sockets[client.id]``.
        connected: Whether it was accepted and has not left.
        reason: Why it left, as the JavaScript client calls it: ``io server disconnect``, ``transport close``.
        received: Events that came and were not taken by :meth:`receive`, nor by a handler.
        recovery: What the official client adds to ``auth`` when it comes back to its state; empty unless the server's
            option ``connection_state_recovery`` is on.
    """

    __test__ = False  # pytest shall not collect it

    def __init__(self, manager: Manager, namespace: str) -> None:
        self.namespace = namespace
        self.id: str = ""
        self.connected: bool = False
        self.reason: str | None = None
        self.received: list[Received] = []
        self.recovery: dict[str, str] = {}
        self._manager = manager
        self._handlers: dict[str, Callable[..., Any]] = {}
        self._acks: dict[int, asyncio.Future[Any]] = {}
        self._next_ack = 0
        self._arrived = asyncio.Event()
        self._refused: ConnectionRefused | None = None
        manager.members[namespace] = Member(self._take, self._left)

    def __repr__(self) -> str:
        return f"<client {self.id or '?'} in {self.namespace}>"

    @property
    def connection(self) -> TestConnection:
        """The connection below: ``drop()``, ``pause()``, ``answers_pings``, ``send()`` of raw packets."""
        return self._manager.connection

    # ---- out

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event.

        On a test clock this returns when the server, and every client that it sent something, has done all that it can
        do before time passes. On a real clock the loop only makes one turn.

        Raises:
            NotConnected: It has left.
        """
        self.send(event, *args)
        await settle()

    def send(self, event: str, *args: Any) -> None:
        """Emit an event without waiting for anything: several then reach the server in one turn of its loop.

        Raises:
            NotConnected: It has left.
        """
        self._check_connected()
        self._manager.send(EVENT, self.namespace, [event, *args])

    async def call(self, event: str, *args: Any, timeout: float = 5.0) -> Any:
        """Emit an event and wait for the acknowledgement.

        Args:
            event: The event's name.
            args: Its arguments.
            timeout: Seconds to wait.

        Returns:
            What the server's handler returned: ``None``, one value, or a tuple of several.

        Raises:
            AckTimeout: No answer in time.
            NotConnected: It has left, or was disconnected meanwhile.
        """
        self._check_connected()
        ack_id, self._next_ack = self._next_ack, self._next_ack + 1
        answer = self._acks[ack_id] = asyncio.get_running_loop().create_future()
        self._manager.send(EVENT, self.namespace, [event, *args], ack_id)
        try:
            async with asyncio.timeout(timeout) as deadline:
                return await answer
        except TimeoutError:
            if not deadline.expired():
                raise
            raise AckTimeout(event, timeout) from None
        finally:
            self._acks.pop(ack_id, None)

    async def enter(self, namespace: str, auth: Any = None, *, timeout: float = 5.0) -> TestClient:
        """Connect to another namespace over the same connection.

        Args:
            namespace: With its slash.
            auth: A dict for ``socket.handshake.auth``.
            timeout: Seconds that the server may take.

        Returns:
            The client in it.

        Raises:
            ConnectionRefused: The server refused, with its message and data.
            TimeoutError: It did not answer in time.
        """
        return await enter(self._manager, namespace, auth, timeout)

    async def disconnect(self) -> None:
        """Leave the namespace, and close the connection with the last one. Returns as :meth:`emit` does."""
        if self.connected:
            self._manager.send(DISCONNECT, self.namespace, None)
            self._left("io client disconnect")
            if not self._manager.members:
                self.connection.close()
        await settle()

    # ---- in

    def on(self, event: str, function: Callable[..., Any] | None = None) -> Any:
        """Handle an event: called with its arguments; what it returns is the acknowledgement, as on the server.

        Plain or async. Called with an event only, it is a decorator. There is one handler for an event.
        """
        if function is None:
            return lambda decorated: self.on(event, decorated)
        self._handlers[event] = function
        return function

    async def receive(self, event: str | None = None, *, timeout: float = 5.0) -> Received:
        """Take the next event out of :attr:`received`, and wait for it if need be.

        Args:
            event: Only one of this name; others stay.
            timeout: Seconds to wait.

        Returns:
            ``(event, *args)``.

        Raises:
            TimeoutError: None came in time.
            NotConnected: None will come: it has left.
        """
        try:
            async with asyncio.timeout(timeout):
                while (found := self._find(event)) is None:
                    if not self.connected:
                        raise NotConnected(f"{event or 'an event'!r} will not come: {self.reason}")
                    await self._change()
        except TimeoutError:
            others = f"; received were {self.received}" if self.received else ""
            raise TimeoutError(f"{event or 'an event'!r} did not come within {timeout:g} s{others}") from None
        self.received.remove(found)
        return found

    def _find(self, event: str | None) -> Received | None:
        return next((found for found in self.received if event in (None, found.event)), None)

    async def disconnected(self, timeout: float = 60.0) -> str:
        """Wait until it has left. Returns the reason.

        Raises:
            TimeoutError: It is still there.
        """
        async with asyncio.timeout(timeout):
            while self.connected:
                await self._change()
        return self.reason or ""

    async def _change(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def _connect(self, auth: Any, timeout: float) -> None:
        """Send CONNECT and wait for the server's answer. See :meth:`enter`."""
        self._manager.send(CONNECT, self.namespace, auth)
        try:
            async with asyncio.timeout(timeout):
                while not self.connected:
                    if self._refused is not None:
                        raise self._refused
                    if self.reason is not None:
                        raise NotConnected(f"the connection was closed before the server answered: {self.reason}")
                    await self._change()
        except TimeoutError:
            raise TimeoutError(f"no answer from {self.namespace} within {timeout:g} s") from None

    def _take(self, packet: Packet) -> None:
        """Take a packet of this namespace."""
        if packet.type is EVENT:
            self._take_event(Received(packet.data), packet.id)
        elif packet.type is ACK:
            args = packet.data
            answer = self._acks.pop(packet.id, None) if packet.id is not None else None
            if answer is not None and not answer.done():
                answer.set_result(args[0] if len(args) == 1 else tuple(args) if args else None)
        elif packet.type is CONNECT:
            self.id, self.connected = packet.data["sid"], True
            if "pid" in packet.data:
                self.recovery = {"pid": packet.data["pid"]}
        elif packet.type is CONNECT_ERROR:
            self._refused = ConnectionRefused(packet.data["message"], packet.data.get("data"))
            self._left("refused")
        else:
            self._left("io server disconnect")
        self._arrived.set()

    def _take_event(self, event: Received, ack_id: int | None) -> None:
        if ack_id is not None:
            event.ack = lambda *args: self._acknowledge(ack_id, args)
        elif self.recovery and event.args and isinstance(event.args[-1], str):
            self.recovery["offset"] = event.args[-1]
        handler = self._handlers.get(event.event)
        if handler is None:
            self.received.append(event)
            return
        result = handler(*event.args)
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(self._finish(result, event))
            self._manager.tasks.add(task)
            task.add_done_callback(self._manager.tasks.discard)
        else:
            _answer(event, result)

    async def _finish(self, result: Any, event: Received) -> None:
        _answer(event, await result)

    def _acknowledge(self, ack_id: int, args: tuple[Any, ...]) -> None:
        if self.connected:
            self._manager.send(ACK, self.namespace, list(args), ack_id)

    def _left(self, reason: str) -> None:
        """It has left, or was refused."""
        if self.reason is not None:
            return
        self.connected = False
        self.reason = reason
        self._manager.members.pop(self.namespace, None)
        for answer in self._acks.values():
            if not answer.done():
                answer.set_exception(NotConnected(f"{self!r} left: {reason}"))
        self._arrived.set()

    def _check_connected(self) -> None:
        if not self.connected:
            raise NotConnected(f"{self!r} is not connected: {self.reason}")


async def enter(manager: Manager, namespace: str, auth: Any, timeout: float) -> TestClient:
    """Connect to a namespace over a connection that is open. See :meth:`TestClient.enter`."""
    client = TestClient(manager, namespace)
    await client._connect(auth, timeout)
    return client


async def settle() -> None:
    """On a test clock wait until nothing more can happen; on a real one for one turn of the loop."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, ClockLoop):
        await loop.clock.settle()
    else:
        await asyncio.sleep(0)


def _answer(event: Received, result: Any) -> None:
    if event.ack is not None:
        event.ack(*(() if result is None else result if type(result) is tuple else (result,)))
