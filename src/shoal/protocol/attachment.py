"""The short cut for the binary packet that nearly all are: in ``/``, with one attachment, as the last argument.

Its text ends with a placeholder that is always the same, so nobody has to look for it. Everything else is left to
:mod:`.socketio`, which a property test compares this with.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, final

from ..errors import SocketProtocolError
from .socketio import LAST_ATTACHMENT, MAX_ACK_ID_DIGITS, RESERVED_EVENTS, Limits, loads

__all__ = ["ONE_ATTACHMENT", "LastArgument", "binary_answer"]

ONE_ATTACHMENT: Final = b"451-"
"""How the text of a binary event with one attachment begins, Engine.IO's ``4`` included."""


@final
class LastArgument:
    """An event in ``/`` that waits for its last argument. It stands in for a :class:`.socketio.Decoder`.

    Args:
        data: The event, and anything in its last place.
        ack_id: Its digits, as they came.
        limits: Bounds of what is accepted.
    """

    __slots__ = ("_limits", "ack_id", "data")

    waiting: Final = True

    def __init__(self, data: list[Any], ack_id: bytes | None, limits: Limits) -> None:
        self.data: list[Any] = data
        self.ack_id: bytes | None = ack_id
        self._limits = limits

    @classmethod
    def awaited_by(cls, text: bytes, limits: Limits) -> LastArgument | None:
        """What a text that begins with :data:`ONE_ATTACHMENT` waits for; ``None`` if it is not that plain, or broken.

        Args:
            text: The whole message, Engine.IO's ``4`` included.
            limits: Bounds of what is accepted.
        """
        # An escape might hide a second placeholder, and a text that is cut in a surrogate pair.
        if not text.endswith(LAST_ATTACHMENT) or text.count(b"_placeholder") != 1 or b"\\u" in text:
            return None
        if limits.attachments < 1 or limits.depth < 2:
            return None
        start = text.find(b"[")  # if there is none, what is taken for digits is not
        digits = text[len(ONE_ATTACHMENT) : start]
        if digits and not (digits >= b"1" and digits.isdigit() and len(digits) <= MAX_ACK_ID_DIGITS):
            return None
        try:
            # A null is a value wherever the placeholder is one, and nowhere else.
            data = loads(text[start : -len(LAST_ATTACHMENT)] + b"null]", limits.depth)
        except SocketProtocolError:
            return None
        if type(data[0]) is not str or data[0] in RESERVED_EVENTS:
            return None
        return cls(data, digits or None, limits)

    def feed_text(self, text: bytes) -> NoReturn:
        """As :meth:`.socketio.Decoder.feed_text`.

        Raises:
            SocketProtocolError: Always.
        """
        raise SocketProtocolError("text where an attachment was due")

    def fill(self, attachment: bytes) -> None:
        """Put the attachment in its place.

        Raises:
            SocketProtocolError: It is larger than attachments may be.
        """
        if len(attachment) > self._limits.attachment_bytes:
            raise SocketProtocolError(f"attachments of more than {self._limits.attachment_bytes} bytes")
        self.data[-1] = attachment


def binary_answer(data: bytes, digits: bytes) -> tuple[bytes, tuple[bytes]]:
    """An ACK in ``/`` whose only argument is binary, to an id in digits: its text and its attachment."""
    return b"461-%b[%b" % (digits, LAST_ATTACHMENT), (data,)
