"""What a session asks of the lane that carries it: long-polling, or a WebSocket, on whatever server."""

from __future__ import annotations

from typing import Final, Protocol

__all__ = ["INVALID_DATA", "MESSAGE_TOO_BIG", "NORMAL_CLOSURE", "Lane"]

# Close codes of a WebSocket (RFC 6455 section 7.4.1).
NORMAL_CLOSURE: Final = 1000
INVALID_DATA: Final = 1007
MESSAGE_TOO_BIG: Final = 1009


class Lane(Protocol):
    """What carries a session's packets at the moment."""

    def close(self, *, abort: bool = False, code: int = NORMAL_CLOSURE) -> None:
        """The session has ended: close the transport in order, a WebSocket with this code, or abort it."""

    def detach(self) -> None:
        """Another lane carries the session from now on."""

    def release_poll(self) -> None:
        """Answer a pending poll, so that the client can go on with its upgrade."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def buffered(self) -> int:
        """Bytes that the transport holds and has not sent."""
