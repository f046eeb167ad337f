"""Namespaces: names, dynamic ones by pattern and function, classes of handlers, and what is forgotten again."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from tests.internals import clients, sites

from shoal import ConfigurationError, ConnectionRefused, Namespace, Server, Socket, event
from shoal.testing import TestServer, async_test


@async_test
async def test_each_has_handlers_middleware_and_rooms_of_its_own() -> None:
    io = Server()
    admin = io.of("/admin")
    assert io.of("admin") is admin
    log: list[Any] = []

    @admin.use
    def only_admins(socket: Socket) -> None:
        if socket.handshake.auth != {"admin": True}:
            raise ConnectionRefused("admins only")

    io.on("x")(lambda socket: log.append("/"))
    admin.on("x")(lambda socket: log.append("/admin"))
    async with TestServer(io) as server:
        client = await server.connect()
        with pytest.raises(ConnectionRefused, match="admins only"):
            await client.enter("/admin")
        boss = await client.enter("/admin", auth={"admin": True})
        assert boss.id != client.id
        await client.emit("x")
        await boss.emit("x")
        assert log == ["/", "/admin"]
        await io.sockets[client.id].join("room")
        await admin.sockets[boss.id].join("room")
        io.to("room").emit("to /")
        admin.to("room").emit("to /admin")
        await server.settle()
        assert client.received == [("to /",)]
        assert boss.received == [("to /admin",)]


@pytest.mark.parametrize("name", ["/none", "/NONE", "/admin/", "/adminx", "/admin?x=1"])
def test_an_unknown_one_is_refused_with_nodes_words(name: str) -> None:
    @async_test
    async def check() -> None:
        io = Server()
        io.of("/admin")
        async with TestServer(io) as server:
            with pytest.raises(ConnectionRefused, match="Invalid namespace") as caught:
                await server.connect(name)
            assert caught.value.data is None
            assert set(sites(io)) == {"/", "/admin"}

    check()


def test_a_name_that_the_wire_cannot_carry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="comma"):
        Server().of("/a,b")


class TestDynamic:
    @async_test
    async def test_by_pattern(self) -> None:
        """Children share the handlers of the parent, and have rooms of their own."""
        io = Server()
        log: list[str] = []
        tenants = io.of(re.compile(r"^/tenant-\d+$"))
        assert io.of(re.compile(r"^/tenant-\d+$")) is tenants
        tenants.on("x")(lambda socket: log.append(socket.namespace.name))
        async with TestServer(io) as server:
            one, two = await server.connect("/tenant-1"), await server.connect("/tenant-2")
            await one.emit("x")
            await two.emit("x")
            assert log == ["/tenant-1", "/tenant-2"]
            io.of("/tenant-1").emit("to one")
            await server.settle()
            assert (one.received, two.received) == ([("to one",)], [])
            for wrong in ("/tenant-", "/tenant-1/x", "/x/tenant-1", "/tenant-1\n", "/tenant-\n1"):
                with pytest.raises(ConnectionRefused, match="Invalid namespace"):
                    await server.connect(wrong)

    @pytest.mark.parametrize("is_async", [False, True])
    def test_by_function(self, is_async: bool) -> None:
        """It gets the name and what the client gave as auth, `{}` if nothing."""

        @async_test
        async def check() -> None:
            io = Server()
            asked: list[Any] = []

            def decide(name: str, auth: Any) -> bool:
                asked.append((name, auth))
                return auth.get("ok", False) is True

            async def later(name: str, auth: Any) -> bool:
                await asyncio.sleep(1)
                return decide(name, auth)

            io.of(later if is_async else decide)
            async with TestServer(io) as server:
                assert (await server.connect("/any", auth={"ok": True})).connected
                # It exists now: nobody is asked again.
                assert (await server.connect("/any")).connected
                with pytest.raises(ConnectionRefused):
                    await server.connect("/other")
            assert asked == [("/any", {"ok": True}), ("/other", {})]

        check()

    @async_test
    async def test_a_function_that_raises_refuses(self) -> None:
        """The client is answered, not left waiting."""
        io = Server()

        @io.of
        def broken(name: str, auth: Any) -> bool:
            raise ZeroDivisionError

        async with TestServer(io) as server:
            with pytest.raises(ConnectionRefused, match="Invalid namespace"):
                await server.connect("/x")
            assert io.stats.handler_errors == 1

    @async_test
    async def test_two_that_come_at_once_get_the_same(self) -> None:
        """While the function is asked about the first, the second comes."""
        io = Server()

        async def slow(name: str, auth: Any) -> bool:
            await asyncio.sleep(1)
            return True

        io.of(slow)
        async with TestServer(io) as server:
            clients = await asyncio.gather(*[server.connect("/x") for _ in range(5)])
            io.of("/x").emit("all")
            for client in clients:
                assert await client.receive() == ("all",)

    @async_test
    async def test_a_name_of_its_own_comes_before_patterns(self) -> None:
        io = Server()
        log: list[str] = []
        io.of("/a").on("x")(lambda socket: log.append("own"))
        io.of(re.compile("^/")).on("x")(lambda socket: log.append("dynamic"))
        async with TestServer(io) as server:
            await (await server.connect("/a")).emit("x")
            await (await server.connect("/b")).emit("x")
        assert log == ["own", "dynamic"]

    @async_test
    async def test_one_that_the_application_names_first_has_the_parents_middleware(self) -> None:
        """`io.of("/tenant-1").emit()` before anybody came must not open it to everyone."""
        io = Server()
        tenants = io.of(re.compile(r"^/tenant-\d+$"))

        @tenants.use
        def refuse(socket: Socket) -> None:
            raise ConnectionRefused("by the parent")

        io.of("/tenant-1").emit("x")
        async with TestServer(io) as server:
            with pytest.raises(ConnectionRefused, match="by the parent"):
                await server.connect("/tenant-1")

    @pytest.mark.parametrize("cleanup", [True, False])
    def test_an_empty_child_is_forgotten_if_wanted(self, cleanup: bool) -> None:
        """With its last socket, or if the first one is refused; a client can come again."""

        @async_test
        async def check() -> None:
            io = Server(cleanup_empty_namespaces=cleanup)
            dynamic = io.of(re.compile("^/d"))

            @dynamic.use
            def picky(socket: Socket) -> None:
                if socket.handshake.auth:
                    raise ConnectionRefused

            async with TestServer(io) as server:
                one, two = await server.connect("/d1"), await server.connect("/d1")
                with pytest.raises(ConnectionRefused):
                    await server.connect("/d2", auth={"x": 1})
                assert ("/d2" in sites(io)) is not cleanup
                await one.disconnect()
                assert "/d1" in sites(io)
                await two.disconnect()
                assert ("/d1" in sites(io)) is not cleanup
                again = await server.connect("/d1")
                io.of("/d1").emit("x")
                assert await again.receive() == ("x",)

        check()

    @async_test
    async def test_one_that_a_client_is_about_to_enter_is_not_forgotten(self) -> None:
        """The last other one leaves while middleware is asked about it: it hears what is sent there all the same."""
        io = Server()
        dynamic = io.of(re.compile("^/d"))

        @dynamic.use
        async def slow(socket: Socket) -> None:
            await asyncio.sleep(socket.handshake.auth.get("seconds", 0))

        async with TestServer(io) as server:
            one = await server.connect("/d")
            coming = asyncio.ensure_future(server.connect("/d", auth={"seconds": 2}))
            await server.clock.advance(1)
            await one.disconnect()
            two = await coming
            io.of("/d").emit("x")
            assert await two.receive() == ("x",)
            await two.disconnect()
            assert "/d" not in sites(io)

    @async_test
    async def test_a_client_that_is_gone_leaves_none_behind(self) -> None:
        """It asks for namespaces and drops the connection in the same breath."""
        io = Server()
        io.of(re.compile("^/d"))
        async with TestServer(io) as server:
            for turn in range(5):
                client = await server.connect()
                for number in range(5):
                    client.connection.send(f"40/d{turn}{number},")
                client.connection.drop()
                await server.settle()
            assert set(sites(io)) == {"/"}

    @async_test
    async def test_other_namespaces_are_never_forgotten(self) -> None:
        io = Server(cleanup_empty_namespaces=True)
        io.of("/static")
        async with TestServer(io) as server:
            for name in ("/", "/static"):
                await (await server.connect(name)).disconnect()
            assert set(sites(io)) == {"/", "/static"}


@async_test
async def test_a_new_one_is_told() -> None:
    """One that the application names, and a child of a dynamic one when it is made."""
    io = Server(cleanup_empty_namespaces=False)
    told: list[Namespace] = []
    io.on("new_namespace")(told.append)
    plain = io.of("/plain")
    io.of("/plain")
    io.of(re.compile("^/child-"))
    async with TestServer(io) as server:
        await server.connect("/child-1")
        await server.connect("/child-1")
    assert told == [plain, sites(io)["/child-1"].namespace]


class TestBound:
    @async_test
    async def test_the_namespaces_of_a_connection_are_bounded(self) -> None:
        """The one too many is refused, and the client told; leaving one makes room."""
        io = Server(max_namespaces=3)
        io.of(re.compile("^/n"))
        async with TestServer(io) as server:
            client = await server.connect()
            first = await client.enter("/n1")
            await client.enter("/n2")
            with pytest.raises(ConnectionRefused, match="too many namespaces"):
                await client.enter("/n3")
            assert (await server.connect("/n3")).connected
            await first.disconnect()
            assert (await client.enter("/n4")).connected

    @async_test
    async def test_a_burst_does_not_pass_it(self) -> None:
        """All in one turn of the loop, before the first is answered."""
        io = Server(max_namespaces=3)
        io.of(re.compile("^/n"))
        async with TestServer(io) as server:
            connection = await server.open()
            for number in range(50):
                connection.send(f"40/n{number},")
            await server.settle()
            [client] = clients(io)
            assert len(client.sockets) == 3
            assert len(sites(io)) <= 4


class TestClasses:
    @async_test
    async def test_handlers_are_methods(self) -> None:
        """on_NAME, those marked with `event`, and nothing else; the namespace is `self`."""

        class Chat(Namespace):
            def __init__(self, *args: Any) -> None:
                self.log: list[Any] = []
                super().__init__(*args)

            async def on_connect(self, socket: Socket) -> None:
                await socket.join("chat")
                self.log.append("connect")

            def on_disconnect(self, socket: Socket, reason: str) -> None:
                self.log.append(reason)

            @event("chat-message")
            def said(self, socket: Socket, text: str) -> str:
                self.to("chat").emit("chat-message", text)
                return "sent"

            @event("slow", concurrent=True)
            async def slow(self, socket: Socket) -> None:
                await asyncio.sleep(10)

            def helper(self, socket: Socket) -> None:
                self.log.append("never")

        io = Server()
        chat = io.of("/chat", Chat)
        assert isinstance(chat, Chat)
        assert io.of("/chat") is chat
        async with TestServer(io) as server:
            client = await server.connect("/chat")
            client.send("slow")
            assert await client.call("chat-message", "hi") == "sent"
            assert await client.receive() == ("chat-message", "hi")
            for name in ("helper", "said", "emit", "connect"):
                if name != "connect":
                    await client.emit(name)
            await client.disconnect()
            assert chat.log == ["connect", "client namespace disconnect"]

    @async_test
    async def test_a_dynamic_one_may_be_a_class(self) -> None:
        """The children are of the class too, with the handlers of the parent."""

        class Tenant(Namespace):
            def on_who(self, socket: Socket) -> str:
                return socket.namespace.name

        io = Server()
        io.of(re.compile("^/t"), Tenant)
        async with TestServer(io) as server:
            client = await server.connect("/t1")
            assert await client.call("who") == "/t1"
            assert isinstance(io.of("/t1"), Tenant)

    def test_an_existing_one_keeps_its_kind(self) -> None:
        class Chat(Namespace):
            pass

        io = Server()
        io.of("/chat")
        with pytest.raises(ConfigurationError, match="exists already, as a Namespace"):
            io.of("/chat", Chat)
