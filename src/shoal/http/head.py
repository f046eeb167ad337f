"""HTTP requests that are plain: such as clients send them, whole, and read alike by every parser.

They may take a short cut past uvicorn's HTTP; everything that looks the least bit odd must not. What a request asks for
is not known here.
"""

from __future__ import annotations

import re
from typing import Final

from .request import Request

__all__ = ["FIELDS", "LINE", "MAX_PLAIN", "body_length", "whole_head"]

# RFC 9112 sections 3 and 5, and nothing that section 5.2 or a lenient parser may take otherwise. Possessive, so that
# no input makes them go back.
LINE: Final = re.compile(rb"(GET|POST) (/[!\"$-~]*+) HTTP/1\.1\r\n")
FIELDS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+(?<![\t ])\r\n)++\r\n")
HEAD: Final = re.compile(LINE.pattern + b"(" + FIELDS.pattern + b")")
FIELD: Final = re.compile(r"([^:]+):[\t ]*([^\r]*)\r\n")  # of a block that matches FIELDS
MAX_PLAIN: Final = 8192
"""Bytes of a head."""
MAX_DIGITS: Final = 12
UNCOMMON: Final = frozenset({"expect", "trailer", "transfer-encoding", "upgrade"})


def whole_head(data: bytes) -> Request | None:
    """The request that ``data`` is, if it is a plain head from beginning to end in which no field comes twice.

    Who sent it is not in there, and not in the request yet.
    """
    head = HEAD.fullmatch(data) if len(data) <= MAX_PLAIN else None
    if head is None:
        return None
    method, target, block = head.groups()
    fields = FIELD.findall(block.decode("ascii"))
    headers = {name.lower(): value for name, value in fields}
    if len(headers) != len(fields):
        return None
    path, _, query = target.partition(b"?")
    return Request(method.decode("ascii"), path.decode("ascii"), query, block, "", False, headers)


def body_length(request: Request) -> int | None:
    """Bytes of the body that belongs to a request whose header block matches ``FIELDS``.

    ``None`` if the request asks for more than one plain answer on a connection that stays.
    """
    headers = request.headers
    if not UNCOMMON.isdisjoint(headers) or headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length")
    if request.method == "GET":
        return 0 if length is None else None
    return int(length) if length is not None and length.isdecimal() and len(length) <= MAX_DIGITS else None
