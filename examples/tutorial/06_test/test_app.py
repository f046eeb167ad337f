"""Chapter 6: the chat's tests. No port is opened, and nothing waits."""

import jwt
import pytest
from app import SECRET, app

from shoal import ConnectionRefused
from shoal.testing import TestClient, TestServer, async_test


async def enter_as(server: TestServer, name: str) -> TestClient:
    token = jwt.encode({"sub": name}, SECRET, algorithm="HS256")
    return await server.connect(auth={"token": token})


@async_test
async def test_nobody_comes_in_without_a_token() -> None:
    async with TestServer(app) as server:
        with pytest.raises(ConnectionRefused, match="log in first"):
            await server.connect()


@async_test
async def test_what_one_says_is_heard_in_the_room_and_nowhere_else() -> None:
    async with TestServer(app) as server:
        anna, berta, carla = [await enter_as(server, name) for name in ("anna", "berta", "carla")]
        assert await carla.call("enter", "garden") == {"room": "garden"}
        carla.received.clear()

        assert await anna.call("say", {"text": "hello"}) == {"ok": True}

        assert ("said", "anna: hello") in berta.received
        assert carla.received == []


@async_test
async def test_a_message_without_text_is_refused() -> None:
    async with TestServer(app) as server:
        anna = await enter_as(server, "anna")
        answer = await anna.call("say", {"text": ""})
        assert "length >= 1" in answer["error"]


@async_test
async def test_who_leaves_is_no_longer_a_member() -> None:
    async with TestServer(app) as server:
        anna, berta = await enter_as(server, "anna"), await enter_as(server, "berta")
        assert anna.received[-1] == ("members", ["anna", "berta"])
        await berta.disconnect()
        assert await anna.receive("said") == ("said", "berta came in.")
        assert await anna.receive("said") == ("said", "berta left.")
        await server.settle()
        assert anna.received[-1] == ("members", ["anna"])
