"""The heads of common HTTP messages, read strictly: as clients and servers send them, and as every parser reads them.

A request may take a short cut past uvicorn's HTTP, its plain twin; everything that looks the least bit odd must not.
What a request asks for is not known here.
"""

from __future__ import annotations

import re
from typing import Final

from .request import Request

__all__ = ["FIELD_LINES", "MAX_STRICT_HEAD", "REQUEST_LINE", "body_length", "parse_request", "parse_status"]

# RFC 9112 sections 3 and 5, and nothing that section 5.2 or a lenient parser may take otherwise. Possessive, so that
# no input makes them go back.
REQUEST_LINE: Final = re.compile(rb"(GET|POST) (/[!\"$-~]*+) HTTP/1\.1\r\n")
FIELD_LINES: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+(?<![\t ])\r\n)++\r\n")
HEAD: Final = re.compile(REQUEST_LINE.pattern + b"(" + FIELD_LINES.pattern + b")")
FIELD: Final = re.compile(r"([^:]+):[\t ]*([^\r]*)\r\n")  # of a block that matches FIELD_LINES
MAX_STRICT_HEAD: Final = 8192
"""Bytes of a head."""
MAX_DIGITS: Final = 12
# A response, whoever sends it: its reason may be anything (RFC 9112 section 4), its fields have no control characters.
STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: [\t -\xff]*+)?\r\n")
RESPONSE_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++):[\t ]*+([\t -~\x80-\xff]*+)\r\n")
UNCOMMON: Final = frozenset({"expect", "trailer", "transfer-encoding", "upgrade"})


def parse_request(data: bytes) -> Request | None:
    """The request that ``data`` is, if it is a common head from beginning to end in which no field comes twice.

    Who sent it is not in there, and not in the request yet.
    """
    head = HEAD.fullmatch(data) if len(data) <= MAX_STRICT_HEAD else None
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
    """Bytes of the body that belongs to a request whose header block matches ``FIELD_LINES``.

    ``None`` if the request asks for more than one answer on a connection that stays.
    """
    headers = request.headers
    if not UNCOMMON.isdisjoint(headers) or headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get("content-length")
    if request.method == "GET":
        return 0 if length is None else None
    return int(length) if length is not None and length.isdecimal() and len(length) <= MAX_DIGITS else None


def parse_status(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]] | None:
    """Status and fields of a response's head, with lower-case names; ``None`` if it is none.

    Args:
        head: From the status line to the empty line.
    """
    line = STATUS_LINE.match(head)
    if line is None:
        return None
    fields = []
    at = line.end()
    while (field := RESPONSE_FIELD.match(head, at)) is not None:
        fields.append((field[1].lower(), field[2].rstrip(b"\t ")))
        at = field.end()
    return (int(line[1]), fields) if head[at:] == b"\r\n" else None
