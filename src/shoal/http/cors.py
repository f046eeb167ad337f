"""Which pages of other origins may read an answer: the headers of CORS (https://fetch.spec.whatwg.org/#http-cors-protocol).

Who may open a WebSocket is a different question, which the engine answers: browsers send no preflight for it.
"""

from __future__ import annotations

from typing import Final

from ..settings import EngineSettings
from .request import Request
from .responses import Header

__all__ = ["cors_headers", "origins", "preflight_headers"]

PREFLIGHT_METHODS: Final = b"GET,HEAD,PUT,PATCH,POST,DELETE"


def origins(allowed: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The option ``cors_origins`` as a tuple."""
    return (allowed,) if isinstance(allowed, str) else allowed or ()


def cors_headers(settings: EngineSettings, request: Request) -> list[Header]:
    """Response headers that let a page of another origin read the answer. Of the request its headers count alone."""
    allowed = settings.cors_origins
    if allowed is None:
        return []
    if allowed == "*" and not settings.cors_credentials:
        return [(b"access-control-allow-origin", b"*")]
    origin = request.headers.get("origin")
    if origin is None or (allowed != "*" and origin not in origins(allowed)):
        return [(b"vary", b"Origin")]
    headers = [(b"access-control-allow-origin", origin.encode("latin-1", "replace")), (b"vary", b"Origin")]
    if settings.cors_credentials:
        headers.append((b"access-control-allow-credentials", b"true"))
    return headers


def preflight_headers(settings: EngineSettings, request: Request) -> list[Header]:
    """What the answer to an ``OPTIONS`` request has besides :func:`cors_headers`."""
    asked = ",".join(settings.cors_headers) or request.headers.get("access-control-request-headers", "")
    headers = [
        (b"access-control-allow-methods", PREFLIGHT_METHODS),
        (b"access-control-max-age", b"%d" % settings.cors_max_age),
    ]
    return [*headers, (b"access-control-allow-headers", asked.encode("latin-1", "replace"))] if asked else headers
