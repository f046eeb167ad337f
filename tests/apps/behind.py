"""Any test application behind ASGI middleware that brings a `send` of its own, as that of most frameworks does.

`uvicorn tests.apps.behind:MODULE:ATTRIBUTE` serves it. What is left is ASGI alone, under stock uvicorn too.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise AttributeError(name)
    app = getattr(importlib.import_module(f"tests.apps.{module}"), attribute)

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        async def own(message: Any) -> None:
            await send(message)

        await app(scope, receive, own)

    return behind
