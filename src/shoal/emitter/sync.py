"""The emitter for code without asyncio: Celery tasks, Django views, scripts. Each method waits, in any thread.

It runs an :class:`.emitter.Emitter` on a loop in a thread of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..adapter.sockets import Answers
from ..server.remote import DescriptionList
from .emitter import Emitter, EmitterBroadcast
from .options import Parser, require_shared
from .thread import LoopThreads

__all__ = ["SyncEmitter", "SyncEmitterBroadcast"]

T = TypeVar("T")


class SyncEmitterBroadcast:
    """A selection of the clients of a cluster, to emit to. Each step gives a new one, so it can be kept and used again.

    Every method that sends or asks waits, and raises :class:`BrokerError` where the broker cannot be reached in time.
    """

    __slots__ = ("_selected", "_threads")

    def __init__(self, threads: LoopThreads, selected: EmitterBroadcast) -> None:
        self._threads = threads
        self._selected = selected

    def __repr__(self) -> str:
        return repr(self._selected)

    # ---- who

    def to(self, *rooms: str) -> SyncEmitterBroadcast:
        """Sockets in any of these rooms, besides those named before. A socket's id is a room too."""
        return SyncEmitterBroadcast(self._threads, self._selected.to(*rooms))

    in_ = to

    def except_(self, *rooms: str) -> SyncEmitterBroadcast:
        """Not the sockets in any of these rooms."""
        return SyncEmitterBroadcast(self._threads, self._selected.except_(*rooms))

    @property
    def volatile(self) -> SyncEmitterBroadcast:
        """A client that cannot take the event right now does not get it, and no log keeps it."""
        return SyncEmitterBroadcast(self._threads, self._selected.volatile)

    def timeout(self, seconds: float) -> SyncEmitterBroadcast:
        """How long to wait for the broker, and for answers; without it the option ``request_timeout``."""
        return SyncEmitterBroadcast(self._threads, self._selected.timeout(seconds))

    # ---- events

    def emit(self, event: str, *args: Any) -> None:
        """Emit an event to the selected clients. Returns when it is on its way to the broker.

        What one thread emits arrives in its order. See :meth:`.EmitterBroadcast.emit`.

        Raises:
            BrokerError: The broker cannot be reached in time, or too much waits for it. Nothing was sent.
            PayloadError: The event's name is reserved, or an argument has no JSON form.
        """
        self._run(lambda: self._selected.emit(event, *args))

    def emit_confirmed(self, event: str, *args: Any, timeout: float | None = None) -> None:
        """Emit an event, and return when the broker has it. See :meth:`.EmitterBroadcast.emit_confirmed`.

        Args:
            event: The event's name.
            args: Its arguments.
            timeout: Seconds to wait.

        Raises:
            BrokerError: As for :meth:`emit`; or the broker has not confirmed it in time, in which case it still may.
            ConfigurationError: This broker confirms nothing: it takes ``redis+streams://``.
            PayloadError: As for :meth:`emit`.
        """
        self._run(lambda: self._selected.emit_confirmed(event, *args, timeout=timeout))

    # ---- questions to the selected sockets

    def call(self, event: str, *args: Any, timeout: float | None = None) -> Answers:
        """Emit an event and wait for every client's acknowledgement. See :meth:`.EmitterBroadcast.call`."""
        return self._run(lambda: self._selected.call(event, *args, timeout=timeout))

    def fetch_sockets(self, timeout: float | None = None) -> DescriptionList:
        """The selected sockets. See :meth:`.EmitterBroadcast.fetch_sockets`."""
        return self._run(lambda: self._selected.fetch_sockets(timeout))

    def join(self, *rooms: str) -> list[str]:
        """Let the selected sockets join rooms. Returns the names of nodes that did not confirm."""
        return self._run(lambda: self._selected.join(*rooms))

    def leave(self, *rooms: str) -> list[str]:
        """Let the selected sockets leave rooms. Returns the names of nodes that did not confirm."""
        return self._run(lambda: self._selected.leave(*rooms))

    def disconnect(self, close: bool = False) -> list[str]:
        """Send the selected clients away. Returns the names of nodes that did not confirm.

        Args:
            close: Close the connections below too.
        """
        return self._run(lambda: self._selected.disconnect(close))

    # ---- servers

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Send an event to every server of the cluster: to the handlers of ``on_server``."""
        self._run(lambda: self._selected.server_side_emit(event, *args))

    def _run(self, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._threads.run(coroutine)


class SyncEmitter(SyncEmitterBroadcast):
    """The cluster without being a node, for code without asyncio. One for the whole program is enough.

    Its thread and its connection are made at first use, and made anew in a process that was forked or after
    :meth:`close`; so it may stand at the top of a module. All threads may use it. When the program ends in order, or
    nobody holds it any more, it is closed.

    Example::

        emitter = SyncEmitter("redis://127.0.0.1:6379")
        emitter.to("news").emit("headline", "The shop opens at six")

    Args:
        broker: URL of the broker that the servers use, as their option ``broker``.
        channel_prefix, parser: The servers' options.
        request_timeout: Seconds to wait for the broker, and for answers.
        broker_buffer: Bytes that may wait while the broker is away, of all threads together.

    Raises:
        ConfigurationError: An option is wrong, or the broker is one inside a process.
    """

    __slots__ = ("__weakref__", "_emitter")

    def __init__(
        self,
        broker: str,
        *,
        channel_prefix: str = "shoal",
        parser: Parser = "json",
        request_timeout: float = 5.0,
        broker_buffer: int = 8_000_000,
    ) -> None:
        self._emitter = Emitter(
            require_shared(broker),
            channel_prefix=channel_prefix,
            parser=parser,
            request_timeout=request_timeout,
            broker_buffer=broker_buffer,
        )
        threads = LoopThreads("shoal emitter", self._emitter.close)
        super().__init__(threads, self._emitter)
        weakref.finalize(self, threads.close)  # at the program's end too, unless that is os._exit

    def of(self, namespace: str) -> SyncEmitterBroadcast:
        """The clients in another namespace.

        Raises:
            ConfigurationError: The name cannot be one.
        """
        return SyncEmitterBroadcast(self._threads, self._emitter.of(namespace))

    def close(self) -> None:
        """Send what waits, for a second at most, disconnect, and end the thread. Idempotent."""
        self._threads.close()

    def __enter__(self) -> SyncEmitter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
