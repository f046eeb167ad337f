"""A handler that raises is logged and counted, and hurts nobody else."""

from __future__ import annotations

import asyncio

import pytest

from shoal import Server, Socket
from shoal.testing import TestServer, async_test


class TestErrors:
    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_handler_that_raises_hurts_nobody(self, is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
        """Not its client's next event, nor another client. Logged with the event and the socket's id."""

        @async_test
        async def check() -> None:
            io = Server()

            def broken(socket: Socket) -> None:
                raise ZeroDivisionError("oops")

            async def broken_later(socket: Socket) -> None:
                await asyncio.sleep(0.1)
                raise ZeroDivisionError("oops")

            io.on("broken")(broken_later if is_async else broken)
            io.on("fine")(lambda socket: "fine")
            async with TestServer(io) as server:
                client, other = await server.connect(), await server.connect()
                client.send("broken")
                client.send("broken")
                assert await client.call("fine") == "fine"
                assert await other.call("fine") == "fine"
                assert io.stats.handler_errors == 2
                assert client.id in caplog.text
                assert "'broken'" in caplog.text
                assert "ZeroDivisionError: oops" in caplog.text

        check()

    @async_test
    async def test_one_that_awaits_something_cancelled_goes_on(self) -> None:
        """The socket's line does not stand still for ever."""
        io = Server()

        @io.on("cancelled")
        async def cancelled(socket: Socket) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        io.on("fine")(lambda socket: "fine")
        async with TestServer(io) as server:
            client = await server.connect()
            client.send("cancelled")
            assert await client.call("fine") == "fine"
            assert io.stats.handler_errors == 1

    @async_test
    async def test_a_concurrent_one_that_raises_is_counted_too(self) -> None:
        io = Server()

        @io.on("x", concurrent=True)
        async def x(socket: Socket) -> None:
            raise ZeroDivisionError

        async with TestServer(io) as server:
            client = await server.connect()
            await client.emit("x")
            assert io.stats.handler_errors == 1
