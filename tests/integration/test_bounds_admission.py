"""Who may come in, how often, and where to: connections, origins, session ids, upgrades, namespaces, rooms, rates.

Each refusal is told to the one it is meant for, in the documented words, and counted; a second client's messages keep
flowing meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from tests.integration.hostile import Raw, Witness, bounded
from tests.interop.wire import POLLING, WEBSOCKET, Client, Endpoint, case, client
from tests.servers import ServerProcess, lanes

OURS, THEIRS = "https://ours.example", "https://theirs.example"
STRICT = {
    "SHOAL_CORS_ORIGINS": f"{OURS},http://localhost:3000",
    "SHOAL_MAX_CONNECTIONS_PER_ADDRESS": "5",
    "SHOAL_MAX_EVENTS_PER_SECOND": "20",
    "SHOAL_TRUSTED_PROXIES": "127.0.0.1",
    "SHOAL_PING_TIMEOUT": "20",
}


@pytest.fixture(scope="module", params=lanes("fastlane", "behind"))
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with bounded(request.param) as server:
        yield server


@pytest.fixture(scope="module", params=lanes("fastlane", "behind"))
def strict(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with bounded(request.param, **STRICT) as server:
        yield server


def behind(address: str) -> dict[str, str]:
    """Headers of a client behind the proxy that the server trusts."""
    return {"X-Forwarded-For": address}


def slow_witness(server: ServerProcess, address: str = "192.0.2.1") -> Witness:
    """A witness that keeps to the rate that the strict server allows, at an address of its own."""
    return Witness(server.port, behind(address), pace=0.15)


def clients_of(server: ServerProcess) -> Endpoint:
    return Endpoint(server.port, "/socket.io/")


class TestOrigins:
    @pytest.mark.parametrize("origin", [THEIRS, "null", OURS + ".evil.example", OURS.replace("https", "http"), "", "x"])
    @case
    async def test_a_foreign_page_gets_no_websocket(self, strict: ServerProcess, origin: str) -> None:
        """The handshake is refused with 403 and code 4, and counted; browsers do not check WebSockets themselves."""
        async with slow_witness(strict) as witness:
            before = (await witness.counters())["engine"]["foreign_origins"]
            raw = await Raw.websocket(strict.port, headers={"Origin": origin, **behind("192.0.2.2")})
            async with raw:
                assert raw.status == 403
                assert json.loads(raw.answer) == {"code": 4, "message": "Forbidden"}
            await witness.counted("engine", "foreign_origins", before + 1)

    @pytest.mark.parametrize("origin", [OURS, "http://localhost:3000", None])
    @case
    async def test_our_pages_get_one(self, strict: ServerProcess, origin: str | None) -> None:
        """A page of a listed origin connects, and so does a client that is no page."""
        headers = behind("192.0.2.3") if origin is None else {"Origin": origin, **behind("192.0.2.3")}
        async with (await Raw.joined(strict.port, headers=headers))[0] as raw:
            assert await raw.ask("echo", 1) == [1]

    @case
    async def test_a_page_of_the_server_itself_gets_one(self, strict: ServerProcess) -> None:
        """The same origin needs no listing."""
        headers = {"Origin": f"http://127.0.0.1:{strict.port}", **behind("192.0.2.3")}
        async with (await Raw.joined(strict.port, headers=headers))[0] as raw:
            assert await raw.ask("echo", 1) == [1]

    @case
    async def test_a_foreign_page_cannot_read_polls(self, strict: ServerProcess) -> None:
        """Long-polling is the browser's to refuse: no answer allows the origin, a preflight's neither; ours does."""
        async with slow_witness(strict), client(clients_of(strict)) as someone:
            url = someone.endpoint.http(POLLING)
            for origin, allowed in ((THEIRS, None), (OURS, OURS)):
                headers = {"Origin": origin, **behind("192.0.2.4")}
                asked = {**headers, "Access-Control-Request-Method": "POST"}
                for response in (
                    await someone.http.get(url, headers=headers),
                    await someone.http.options(url, headers=asked),
                ):
                    assert response.headers.get("Access-Control-Allow-Origin") == allowed
                    assert response.headers["Vary"] == "Origin"


class TestAddresses:
    @case
    async def test_one_connection_too_many(self, strict: ServerProcess) -> None:
        """The sixth of one address is refused with 429 over either transport; one that left makes room for another."""
        mine = behind("203.0.113.7")
        async with slow_witness(strict) as witness, client(clients_of(strict)) as someone, AsyncExitStack() as stack:
            before = (await witness.counters())["engine"]["too_many_connections"]
            held = [await joined(stack, strict, mine) for _ in range(4)]
            opened = await someone.http.get(someone.endpoint.http(POLLING), headers=mine)
            assert opened.status_code == 200
            refused = await stack.enter_async_context(await Raw.websocket(strict.port, headers=mine))
            assert (refused.status, json.loads(refused.answer)) == (
                429,
                {"code": 4, "message": "Too many connections from this address"},
            )
            polled = await someone.http.get(someone.endpoint.http(POLLING), headers=mine)
            assert (polled.status_code, polled.json()["code"]) == (429, 4)
            await witness.counted("engine", "too_many_connections", before + 2)
            assert (await witness.counters())["addresses"]["203.0.113.7"] == 5
            await joined(stack, strict, behind("203.0.113.8"))
            held.pop().abort()
            while (await witness.counters())["addresses"]["203.0.113.7"] == 5:
                await asyncio.sleep(0.05)
            await joined(stack, strict, mine)

    @case
    async def test_an_upgrade_is_no_second_connection(self, strict: ServerProcess) -> None:
        """A client that holds as many sessions as it may can still upgrade one."""
        mine = behind("203.0.113.9")
        async with client(clients_of(strict)) as someone:
            sids = []
            for _ in range(5):
                opened = await someone.http.get(someone.endpoint.http(POLLING), headers=mine)
                sids.append(json.loads(opened.text[1:])["sid"])
            async with await Raw.websocket(strict.port, f"{WEBSOCKET}&sid={sids[0]}", mine) as raw:
                await raw.send_text("2probe")
                assert await raw.next() == b"3probe"

    @case
    async def test_an_address_cannot_be_invented(self, strict: ServerProcess) -> None:
        """What a client itself writes into X-Forwarded-For does not count: the address next to the proxy does."""
        async with AsyncExitStack() as stack:
            for number in range(5):
                raw = await joined(stack, strict, behind(f"10.0.0.{number}, 203.0.113.10"))
                assert await raw.ask("address") == ["203.0.113.10"]
            async with await Raw.websocket(strict.port, headers=behind("10.0.0.99, 203.0.113.10")) as refused:
                assert refused.status == 429


class TestRates:
    @case
    async def test_too_many_events(self, strict: ServerProcess) -> None:
        """Beyond a second's worth an event is not handled: its ack says so; without one, `error` does once a second."""
        async with slow_witness(strict) as witness:
            before = (await witness.counters())["server"]["rate_limited"]
            async with (await Raw.joined(strict.port, headers=behind("192.0.2.5")))[0] as raw:
                for _ in range(60):
                    await raw.send_text('4277["echo",1]')
                answers = [await raw.next() for _ in range(60)]
                refusal = b'4377[{"error":"too many events","event":"echo"}]'
                assert answers[:20] == [b"4377[1]"] * 20
                assert answers.count(refusal) >= 35  # the clock runs on meanwhile
                for _ in range(60):
                    await raw.send_text('42["id"]')
                assert await raw.next() == b'42["error",{"error":"too many events","event":"id"}]'
                await asyncio.sleep(1.1)
                assert await raw.ask("echo", "again") == ["again"]
            limited = (await witness.counters())["server"]["rate_limited"] - before
            assert 80 <= limited <= 100


class TestSessions:
    @case
    async def test_no_connect_in_time(self, server: ServerProcess) -> None:
        """A connection that enters no namespace within `connect_timeout` is closed, over either transport."""
        async with Witness(server.port) as witness, client(clients_of(server)) as someone:
            before = (await witness.counters())["server"]["connect_timeouts"]
            sid = await someone.open()
            async with await Raw.websocket(server.port) as raw:
                began = time.monotonic()
                assert await raw.end(5.0) == 1000
                assert 0.5 < time.monotonic() - began < 3.0
            await witness.counted("server", "connect_timeouts", before + 2)
            assert (await someone.push(sid, "40")).status_code == 400

    @case
    async def test_one_that_only_knocks_at_closed_doors(self, server: ServerProcess) -> None:
        """Asking for namespaces that do not exist is not entering one."""
        async with Witness(server.port) as witness, await Raw.websocket(server.port) as raw:
            before = (await witness.counters())["server"]["connect_timeouts"]
            for number in range(100):
                await raw.send_text(f"40/nobody-{number},")
            assert await raw.end(5.0) == 1000
            await witness.counted("server", "connect_timeouts", before + 1)

    @case
    async def test_two_polls_at_once(self, server: ServerProcess) -> None:
        """The first is told to close, the second gets 400; the session is gone, and its reason is `transport error`."""
        async with Witness(server.port) as witness, client(clients_of(server)) as someone:
            before = (await witness.counters())["engine"]["second_polls"]
            sid, socket_id = await joined_by_polling(someone)
            first = asyncio.create_task(someone.poll(sid))
            await asyncio.sleep(0.05)
            second = await someone.poll(sid)
            assert (second.status_code, second.json()) == (400, {"code": 3, "message": "Bad request"})
            assert (await first).text == "1"
            assert (await someone.poll(sid)).json()["code"] == 1
            await witness.counted("engine", "second_polls", before + 1)
            assert await witness.ask("reason-of", socket_id) == "transport error"

    @case
    async def test_a_guessed_session_id(self, server: ServerProcess) -> None:
        """It is refused with 400 and code 1 by GET, POST and WebSocket, and counted; a socket's id is no key either."""
        async with Witness(server.port) as witness, client(clients_of(server)) as someone:
            before = (await witness.counters())["refused"].get("1", 0)
            sid, socket_id = await joined_by_polling(someone)
            almost = sid[:-1] + ("A" if sid[-1] != "A" else "B")
            guesses = [almost, socket_id, "", "../../etc/passwd", "%00", "a" * 4_000]
            for guess in guesses:
                assert (await someone.poll(guess)).json()["code"] == 1
                assert (await someone.push(guess, "41")).json()["code"] == 1
                async with await Raw.websocket(server.port, f"{WEBSOCKET}&sid={guess}") as raw:
                    assert (raw.status, json.loads(raw.answer)["code"]) == (400, 1)
            await witness.counted("refused", "1", before + 3 * len(guesses))
            assert (await someone.push(sid, "3")).text == "ok"

    @case
    async def test_session_ids_cannot_be_foreseen(self, server: ServerProcess) -> None:
        """A session's id has at least 128 bits that no other id shows; a socket's id tells nothing of them."""
        async with client(clients_of(server)) as someone:
            pairs = [await joined_by_polling(someone) for _ in range(5)]
            secrets = [sid.rpartition(".")[2][6:] for sid, _ in pairs]  # in front: the node's name and tag
            assert all(len(secret) >= 22 for secret in secrets)  # 22 characters of 6 bits
            assert len({secret[:4] for secret in secrets}) == len({secret[-4:] for secret in secrets}) == len(secrets)
            assert not {socket_id[6:10] for _, socket_id in pairs} & {secret[:4] for secret in secrets}

    @case
    async def test_a_half_open_upgrade(self, server: ServerProcess) -> None:
        """A WebSocket that probes and stays silent is closed after `upgrade_timeout`; the session goes on polling."""
        async with Witness(server.port) as witness, client(clients_of(server)) as someone:
            before = (await witness.counters())["engine"]["upgrade_timeouts"]
            sid, _ = await joined_by_polling(someone)
            async with await Raw.websocket(server.port, f"{WEBSOCKET}&sid={sid}") as raw:
                await raw.send_text("2probe")
                assert await raw.next() == b"3probe"
                assert await raw.end(5.0) == 1000
            await witness.counted("engine", "upgrade_timeouts", before + 1)
            await someone.push(sid, '4299["echo","still here"]')
            assert await packets_but_noops(someone, sid, 1) == ['4399["still here"]']

    @case
    async def test_half_open_upgrades_by_the_hundred(self, server: ServerProcess) -> None:
        """Only one WebSocket may probe; the others are closed at once, and a later one may still upgrade."""
        async with Witness(server.port) as witness, client(clients_of(server)) as someone, AsyncExitStack() as stack:
            sid, _ = await joined_by_polling(someone)
            query = f"{WEBSOCKET}&sid={sid}"
            probing = [await stack.enter_async_context(await Raw.websocket(server.port, query)) for _ in range(50)]
            assert [await raw.end(5.0) for raw in probing[1:]] == [1000] * 49
            probing[0].abort()
            while (await witness.counters())["wheel"] > 3:
                await asyncio.sleep(0.02)
            answered = False
            while not answered:  # until the server has noticed that the first one is gone
                async with await Raw.websocket(server.port, query) as raw:
                    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                        await raw.send_text("2probe")
                        answered = await raw.next() == b"3probe"
                    if answered:
                        await raw.send_text("5")
                        assert await raw.ask("echo", 1) == [1]


class TestNamespaces:
    @case
    async def test_one_namespace_too_many(self, server: ServerProcess) -> None:
        """The sixth is refused in so many words, asked for one by one or all at once; leaving one makes room."""
        async with Witness(server.port) as witness:
            before = (await witness.counters())["server"]["namespaces_refused"]
            for paced in (True, False):
                async with await Raw.websocket(server.port) as raw:
                    await raw.next()
                    answers = []
                    for number in range(20):
                        await raw.send_text(f"40/n{number},")
                        answers += [await raw.next()] if paced else []
                    answers += [await raw.next() for _ in range(20 - len(answers))]
                    refusals = {f'44/n{number},{{"message":"too many namespaces"}}'.encode() for number in range(5, 20)}
                    assert set(answers) > refusals
                    assert sum(answer.startswith(b"40/n") for answer in answers) == 5
                    await raw.send_text("41/n0,")
                    await raw.send_text("40/n19,")
                    assert (await raw.next()).startswith(b"40/n19,{")
            await witness.counted("server", "namespaces_refused", before + 30)

    @case
    async def test_connecting_twice(self, server: ServerProcess) -> None:
        """Of two CONNECTs for a namespace the second begins anew: one socket is left, the first one has gone."""
        async with Witness(server.port) as witness:
            raw, first = await Raw.joined(server.port)
            async with raw:
                await raw.send_text("40")
                second = json.loads((await raw.next())[2:])["sid"]
                assert second != first
                assert await raw.ask("id") == [second]
                assert await witness.ask("reason-of", first) == "client namespace disconnect"
                await raw.ask("join", "twice")
                assert await witness.ask("members", "twice") == [second]

    @case
    async def test_events_before_connect(self, server: ServerProcess) -> None:
        """They are handled by nobody and end the connection: `parse error`, counted."""
        async with Witness(server.port) as witness:
            for packet in ('42["hold","early",1]', '42/plain,["hold","early",1]', '450-["hold","early",1]', "431[]"):
                before = (await witness.counters())["server"]["parse_errors"]
                async with await Raw.websocket(server.port) as raw:
                    await raw.send_text(packet)
                    assert await raw.end() == 1000
                await witness.counted("server", "parse_errors", before + 1)
            await witness.ask("release", "early")
            assert await witness.ask("held", "early") == []

    @case
    async def test_coming_and_going_for_ever(self, server: ServerProcess) -> None:
        """A client that enters and leaves namespaces in a loop leaves no trace: tables and memory stay as they were."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:

            async def come_and_go(turns: int) -> None:
                for number in range(turns):
                    await raw.send_text(f"40/n{number % 40},")
                    await raw.send_text(f"41/n{number % 40},")
                assert await raw.ask("echo", 1) == [1]

            await come_and_go(1_500)
            before = await witness.counters()
            await come_and_go(6_000)
            after = await witness.counters()
            for table in ("sessions", "clients", "rooms", "wheel", "tasks"):
                assert after[table] <= before[table] + 1, table
            assert after["rss"] - before["rss"] < 6_000_000  # a kilobyte for each time


class TestRooms:
    @case
    async def test_one_room_too_many(self, server: ServerProcess) -> None:
        """The eleventh is refused in the event's ack, and counted; the first ten are kept."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:
            before = await witness.counters()
            for number in range(10):
                assert await raw.ask("join", f"room {number}") == [number + 2]
            for number in range(10, 15):
                assert await raw.ask("join", f"room {number}") == [{"error": "in as many rooms as are allowed"}]
            assert await raw.ask("join", "room 3") == [11]
            await witness.counted("server", "rooms_refused", before["server"]["rooms_refused"] + 5)
            after = await witness.counters()
            assert after["rooms"] == before["rooms"] + 10
            assert after["server"]["handler_errors"] == before["server"]["handler_errors"]

    @case
    async def test_a_room_named_like_another_socket(self, server: ServerProcess) -> None:
        """Nobody can listen in on what is meant for one socket by joining a room of its id."""
        async with Witness(server.port) as witness, (await Raw.joined(server.port))[0] as raw:
            before = (await witness.counters())["server"]["rooms_refused"]
            refusal = {"error": "a room must not be named like the id of another socket"}
            assert await raw.ask("join", witness.id) == [refusal]
            await witness.counted("server", "rooms_refused", before + 1)
            assert await witness.ask("members", witness.id) == [witness.id]


async def joined(stack: AsyncExitStack, server: ServerProcess, headers: dict[str, str]) -> Raw:
    """A client in `/`, until the stack is closed."""
    return await stack.enter_async_context((await Raw.joined(server.port, headers=headers))[0])


async def joined_by_polling(someone: Client) -> tuple[str, str]:
    """A session whose client is in `/`: its id and its socket's."""
    sid = await someone.open()
    await someone.push(sid, "40")
    return sid, json.loads((await someone.packets(sid, 1))[0][2:])["sid"]


async def packets_but_noops(someone: Client, sid: str, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        found += [packet for packet in await someone.packets(sid, 1) if packet != "6"]
    return found
