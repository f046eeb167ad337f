"""Who may open a session, and who is refused, with Node's codes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.asgi.polling import Poller

from shoal import ConnectionRefused, Engine
from shoal.engine.admission import Refusal
from shoal.testing import TestServer, async_test

REFUSALS = [
    # method, query, code, message
    ("GET", {"EIO": "4"}, 0, "Transport unknown"),
    ("GET", {"EIO": "4", "transport": "abc"}, 0, "Transport unknown"),
    ("GET", {"EIO": "4", "transport": "polling", "sid": "guess"}, 1, "Session ID unknown"),
    ("POST", {"EIO": "4", "transport": "polling", "sid": "guess"}, 1, "Session ID unknown"),
    ("POST", {"EIO": "4", "transport": "polling"}, 2, "Bad handshake method"),
    ("PUT", {"EIO": "4", "transport": "polling"}, 2, "Bad handshake method"),
    ("GET", {"EIO": "4", "transport": "websocket"}, 3, "Bad request"),
    ("GET", {"transport": "polling"}, 5, "Unsupported protocol version"),
    ("GET", {"EIO": "abc", "transport": "polling"}, 5, "Unsupported protocol version"),
    ("GET", {"EIO": "3", "transport": "polling"}, 5, "Unsupported protocol version"),
]


@pytest.mark.parametrize(("method", "query", "code", "message"), REFUSALS)
def test_a_bad_request_is_refused_with_nodes_words(method: str, query: dict[str, str], code: int, message: str) -> None:
    """400 and a body of code and message; it is counted, and the listeners get it."""

    @async_test
    async def check() -> None:
        engine = Engine()
        seen: list[tuple[int, str]] = []
        engine.on("connection_error")(lambda refusal, request: seen.append((refusal.code, request.url)))
        async with TestServer(engine) as server:
            response = await server.request(method, server.path, query=query)
            assert (response.status, response.json) == (400, {"code": code, "message": message})
            assert engine.refused == {code: 1}
            assert [entry[0] for entry in seen] == [code]
            assert engine.sessions == {}

    check()


@pytest.mark.parametrize(
    ("query", "code"), [({"EIO": "3"}, 5), ({"EIO": ""}, 5), ({"transport": "polling"}, 3), ({"transport": "x"}, 0)]
)
def test_a_bad_websocket_is_refused_before_it_is_accepted(query: dict[str, str], code: int) -> None:
    @async_test
    async def check() -> None:
        async with TestServer(Engine()) as server:
            with pytest.raises(ConnectionRefused) as caught:
                await server.open(query=query)
            assert caught.value.data == {"status": 400, "code": code}

    check()


class TestAllowRequest:
    @pytest.mark.parametrize("transport", ["polling", "websocket"])
    @pytest.mark.parametrize("is_async", [False, True])
    def test_the_application_decides(self, transport: str, is_async: bool) -> None:
        """None and True allow; a text, a Refusal, anything else and an exception do not."""

        @async_test
        async def check() -> None:
            engine = Engine()
            answers: list[tuple[Any, int, int]] = [
                (None, 200, 0),
                (True, 200, 0),
                ("not today", 403, 4),
                (Refusal(77, "own", 418), 418, 77),
                (False, 403, 4),
                (ZeroDivisionError("x"), 403, 4),
            ]
            for answer, status, code in answers:

                def decide(request: Any, answer: Any = answer) -> Any:
                    if isinstance(answer, Exception):
                        raise answer
                    return answer

                async def decide_later(request: Any, decide: Any = decide) -> Any:
                    await asyncio.sleep(1)
                    return decide(request)

                engine.allow_request = decide_later if is_async else decide
                async with TestServer(engine) as server:
                    assert await self.attempt(server, transport) == (status, code)

        check()

    async def attempt(self, server: TestServer, transport: str) -> tuple[int, int]:
        if transport == "polling":
            response = await Poller(server).request("GET")
            return response.status, 0 if response.status == 200 else response.json["code"]
        try:
            await server.open()
        except ConnectionRefused as refused:
            return refused.data["status"], refused.data["code"]
        return 200, 0


@async_test
async def test_what_an_option_refuses_is_logged_once_with_what_it_came_with(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns no more than a number."""
    engine = Engine(cors_origins=["https://good"], max_connections_per_address=1)
    async with TestServer(engine) as server:
        for origin in ("https://www.good/" + "x" * 1000, "https://other"):
            with pytest.raises(ConnectionRefused):
                await server.open(headers={"Origin": origin})
        await server.open(address="1.1.1.1")
        for _ in range(2):
            with pytest.raises(ConnectionRefused):
                await server.open(address="1.1.1.1")
    first, second = [record.getMessage() for record in caplog.records]
    assert "'https://www.good/xx" in first
    assert "is not in cors_origins" in first
    assert len(first) < 400
    assert second.startswith("1.1.1.1 has max_connections_per_address, 1,")


class TestAddresses:
    @async_test
    async def test_the_sessions_of_one_address_are_bounded(self) -> None:
        """429; others are not concerned, and each that leaves makes room."""
        engine = Engine(max_connections_per_address=2)
        async with TestServer(engine) as server:
            first = await server.open(address="1.1.1.1")
            await server.open(address="1.1.1.1")
            with pytest.raises(ConnectionRefused) as caught:
                await server.open(address="1.1.1.1")
            assert caught.value.data == {"status": 429, "code": 4}
            assert engine.stats.too_many_connections == 1
            await server.open(address="2.2.2.2")
            first.drop()
            await server.settle()
            await server.open(address="1.1.1.1")
            with pytest.raises(ConnectionRefused):
                await server.open(address="1.1.1.1")
        assert engine.table.addresses == {}

    @async_test
    async def test_behind_a_proxy_the_clients_address_counts(self) -> None:
        engine = Engine(max_connections_per_address=1, trusted_proxies="10.0.0.0/8")
        async with TestServer(engine) as server:
            for client in ("1.1.1.1", "2.2.2.2"):
                await server.open(address="10.0.0.1", headers={"X-Forwarded-For": client})
            with pytest.raises(ConnectionRefused):
                await server.open(address="10.0.0.2", headers={"X-Forwarded-For": "1.1.1.1"})

    @async_test
    async def test_a_burst_during_a_slow_decision_does_not_pass_the_bound(self) -> None:
        """Twenty handshakes are being decided at once; two sessions are opened."""
        engine = Engine(max_connections_per_address=2)

        async def slow(request: Any) -> None:
            await asyncio.sleep(1)

        engine.allow_request = slow
        async with TestServer(engine) as server:
            attempts = [server.open() for _ in range(20)]
            results = await asyncio.gather(*attempts, return_exceptions=True)
            assert sum(not isinstance(result, Exception) for result in results) == 2
            assert engine.clients_count == 2
