"""What a session asks of the lane that carries it: long-polling, or a WebSocket, on whatever server."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Lane"]


class Lane(Protocol):
    """What carries a session's packets at the moment."""

    def close(self, *, abort: bool = False) -> None:
        """The session has ended: close the transport in order, or at once."""

    def detach(self) -> None:
        """Another lane carries the session from now on."""

    def release_poll(self) -> None:
        """Answer a pending poll, so that the client can go on with its upgrade."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def buffered(self) -> int:
        """Bytes that the transport holds and has not sent."""
