"""The tests: the whole application, in memory. No port is opened, and nothing waits."""

from shoal.testing import TestServer, async_test

from app import app, io


@async_test
async def test_who_comes_in_is_told_which_server_it_is() -> None:
    async with TestServer(app) as server:
        anna = await server.connect()
        assert await anna.receive() == ("welcome", io.node)


@async_test
async def test_everybody_hears_what_one_says() -> None:
    async with TestServer(app) as server:
        anna, berta = await server.connect(), await server.connect()
        assert await anna.call("say", {"text": "hello"}) == {"ok": True}
        for client in (anna, berta):
            assert await client.receive("said") == ("said", "hello", io.node)


@async_test
async def test_an_empty_message_is_refused_and_nobody_hears_it() -> None:
    async with TestServer(app) as server:
        anna, berta = await server.connect(), await server.connect()
        answer = await anna.call("say", {"text": ""})
        assert "length >= 1" in answer["error"]
        assert [name for name, *_ in berta.received] == ["welcome"]


@async_test
async def test_the_page_is_at_the_root_and_nowhere_else() -> None:
    async with TestServer(app) as server:
        response = await server.request("GET", "/")
        assert response.status == 200
        assert "/socket.io/socket.io.min.js" in response.text
        assert (await server.request("GET", "/elsewhere")).status == 404
