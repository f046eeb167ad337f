"""Whether a broker can be reached, asked as a node would ask: with its URL, its login, and a short patience.

Nothing is published and nothing is written. A broker that hides what it is (``INFO`` forbidden) counts as reached.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from ..bus.base import label_of
from ..errors import BrokerError

__all__ = ["BrokerState", "reach"]


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What is known of a broker."""

    url: str
    """Without user, password and options."""
    reachable: bool | None = None
    """``None``: there is nothing to reach, as with ``memory://``."""
    milliseconds: float | None = None
    """That connecting, logging in and a first answer took."""
    product: str | None = None
    version: str | None = None
    eviction: str | None = None
    """Its ``maxmemory-policy``, where its memory is bounded."""
    error: str | None = None


async def reach(url: str, timeout: float) -> BrokerState:
    """Connect to a broker and ask it what it is.

    Args:
        url: As the option ``broker``, which a server has taken.
        timeout: Seconds that it may take.
    """
    state = BrokerState(label_of(url))
    if url.startswith("memory://"):
        return state
    from ..bus.redis_wire import reason_of  # noqa: PLC0415 - an extra

    started = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            facts = await _ask(url)
    except TimeoutError:
        return replace(state, reachable=False, error=f"no answer within {timeout:g} s")
    except (BrokerError, OSError) as error:
        return replace(state, reachable=False, error=reason_of(error))
    is_valkey = "valkey_version" in facts
    return replace(
        state,
        reachable=True,
        milliseconds=round(1000 * (time.monotonic() - started), 1),
        product=("Valkey" if is_valkey else "Redis") if "redis_version" in facts else None,
        version=facts.get("valkey_version" if is_valkey else "redis_version"),
        eviction=facts.get("maxmemory_policy") if facts.get("maxmemory", "0") != "0" else None,
    )


async def _ask(url: str) -> dict[str, str]:
    """The broker's ``INFO``; empty where it is forbidden."""
    from ..bus.redis_url import Endpoint  # noqa: PLC0415 - an extra
    from ..bus.redis_wire import MORE, RedisLink, encode_command, open_link  # noqa: PLC0415

    answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    class Inquiry(RedisLink):
        def received(self, count: int) -> None:
            self.reader.feed(self.buffer, 0, count)  # type: ignore[arg-type]  # it takes any buffer
            answer = self.reader.gets()
            if answer is not MORE and not answered.done():
                answered.set_result(answer)

    def lost(reason: str) -> None:
        if not answered.done():
            answered.set_exception(BrokerError(reason))

    link = await open_link(
        Endpoint.parse(url.replace("+streams://", "://", 1)), lambda: Inquiry("check", lost, read_size=65536)
    )
    try:
        link.write(encode_command((b"INFO",)))
        answer = await answered
    finally:
        await link.close()
    if not isinstance(answer, bytes):
        return {}
    pairs = (line.partition(":") for line in answer.decode("utf-8", "replace").splitlines())
    return {name: value.strip() for name, colon, value in pairs if colon}
