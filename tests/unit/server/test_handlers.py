"""Handlers: what may be registered, whom an event reaches, how arguments are checked, and typed events."""

from __future__ import annotations

import asyncio
import functools
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pydantic.dataclasses
import pytest
from pydantic import BaseModel, Field, StringConstraints

from shoal import AckTimeout, ConfigurationError, Server, Socket
from shoal.handlers.registry import ANY, BadArguments, Handler, HandlerTable
from shoal.testing import TestServer, async_test


class Order(msgspec.Struct):
    item: str
    count: int = 1


@dataclass
class Point:
    x: int
    y: int = 0


class Model(BaseModel):
    name: str


class Other(msgspec.Struct):
    item: str


@pydantic.dataclasses.dataclass
class Spot:
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=5)]


def none(socket: Any) -> None: ...
def one(socket: Any, a: Any) -> None: ...
def optional(socket: Any, a: Any, b: Any = None) -> None: ...
def endless(socket: Any, *args: Any) -> None: ...
def keyword(socket: Any, a: Any, *, b: Any = None) -> None: ...
async def coroutine(socket: Any, a: Any) -> None: ...


class Callable_:
    def __call__(self, socket: Any, a: Any) -> None: ...


class AsyncCallable:
    async def __call__(self, socket: Any, a: Any) -> None: ...


class Methods:
    def plain(self, socket: Any, a: Any) -> None: ...
    async def later(self, socket: Any, a: Any) -> None: ...


MANY = 10**6
SIGNATURES = [
    # function, is async, fewest and most arguments of the event
    (none, False, 0, 0),
    (one, False, 1, 1),
    (optional, False, 1, 2),
    (endless, False, 0, MANY),
    (keyword, False, 1, 1),
    (coroutine, True, 1, 1),
    (lambda *args: None, False, 0, MANY),
    (lambda: None, False, 0, 0),
    (Callable_(), False, 1, 1),
    (AsyncCallable(), True, 1, 1),
    (Methods().plain, False, 1, 1),
    (Methods().later, True, 1, 1),
    (functools.partial(optional, b=2), False, 1, 1),
    (print, False, 0, MANY),
]


@pytest.mark.parametrize(("function", "is_async", "fewest", "most"), SIGNATURES)
def test_a_signature_is_looked_at_at_registration(function: Any, is_async: bool, fewest: int, most: int) -> None:
    """The number of arguments that an event may have, without the socket; functions, methods, objects, builtins."""
    handler = Handler(function)
    assert handler.is_async is is_async
    assert handler.minimum == fewest
    assert min(handler.maximum, MANY) == most
    for count in range(4):
        args = [None] * count
        if fewest <= count <= most:
            assert list(handler.convert(args)) == args
        else:
            with pytest.raises(BadArguments, match=f"does not take {count} arguments"):
                handler.convert(args)


@pytest.mark.parametrize("wrong", [None, 1, "handler", [print]])
def test_what_is_no_function_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no function"):
        Server().on("x")(wrong)


@pytest.mark.parametrize("wrong", ["", None, 5, b"x"])
def test_what_is_no_event_name_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="no event name"):
        Server().on(wrong)(print)


def test_the_table_keeps_order_and_forgets() -> None:
    """Handlers by event and for any; removing what is not there is ignored."""
    table = HandlerTable()
    for function in (one, optional, one):
        table.add("x", function)
    table.add(ANY, endless)
    assert [handler.function for handler in table.get("x")] == [one, optional, one]
    kept = table.get("x")
    table.remove("x", one)
    assert [handler.function for handler in table.get("x")] == [optional]
    assert len(kept) == 3  # an event may be walking over it
    table.remove("x", none)
    table.remove("y")
    table.remove("x")
    assert table.get("x") == []
    assert [handler.function for handler in table.get(ANY)] == [endless]
    table.remove(ANY, endless)
    assert table.any == []


def test_the_decorator_gives_the_function_back() -> None:
    io = Server()
    assert io.on("x")(one) is one
    assert io.use(plain := lambda socket: None) is plain


class TestWhomAnEventReaches:
    @async_test
    async def test_all_handlers_of_its_name_in_order(self) -> None:
        io = Server()
        log: list[str] = []
        io.on("x")(lambda socket: log.append("first"))

        @io.on("x")
        async def second(socket: Socket) -> None:
            await asyncio.sleep(1)
            log.append("second")

        io.on("x")(lambda socket: log.append("third"))
        io.on("*")(lambda socket, event: log.append("any"))
        async with TestServer(io) as server:
            client = await server.connect()
            client.send("x")
            await server.clock.advance(2)
        assert log == ["first", "second", "third"]

    @async_test
    async def test_the_star_gets_events_without_a_handler(self) -> None:
        """With their name; a client cannot reach a handler by calling an event after the library's."""
        io = Server()
        log: list[Any] = []
        io.on("*")(lambda socket, event, *args: log.append((event, *args)) or len(args))
        io.on("known")(lambda socket: None)
        async with TestServer(io) as server:
            client = await server.connect()
            assert await client.call("unknown", 1, b"2") == 2
            for event in ("known", "*", "create_room", "message", ""):
                await client.emit(event)
        assert log == [("unknown", 1, b"2"), ("*",), ("create_room",), ("message",), ("",)]

    @async_test
    async def test_without_any_handler_it_is_ignored(self) -> None:
        io = Server()
        async with TestServer(io) as server:
            client = await server.connect()
            with pytest.raises(AckTimeout):
                await client.call("x", timeout=1)
            assert client.connected
            assert io.stats.handler_errors == io.stats.bad_events == 0

    @async_test
    async def test_a_handler_that_was_taken_back_gets_none(self) -> None:
        io = Server()
        log: list[str] = []

        @io.on("x")
        def x(socket: Socket) -> None:
            log.append("x")

        async with TestServer(io) as server:
            client = await server.connect()
            await client.emit("x")
            io.off("x", x)
            await client.emit("x")
            io.on("x")(x)
            io.off("x")
            await client.emit("x")
        assert log == ["x"]

    @async_test
    async def test_a_number_is_an_event_name_of_a_javascript_client(self) -> None:
        io = Server()
        log: list[Any] = []
        io.on("1")(lambda socket, *args: log.append(args))
        async with TestServer(io) as server:
            client = await server.connect()
            client.connection.send("42[1,2]")
            await server.settle()
        assert log == [(2,)]

    @async_test
    async def test_a_plain_function_that_returns_a_coroutine_is_awaited(self) -> None:
        """A partial or a lambda over an async handler; the next event waits for it."""
        io = Server()
        log: list[str] = []

        async def slow(socket: Socket, name: str) -> str:
            await asyncio.sleep(1)
            log.append(name)
            return name

        io.on("lambda")(lambda socket: slow(socket, "lambda"))
        io.on("partial")(functools.partial(slow, name="partial"))
        io.on("quick")(lambda socket: log.append("quick"))
        async with TestServer(io) as server:
            client = await server.connect()
            client.send("lambda")
            client.send("quick")
            assert await client.call("partial") == "partial"
            assert log == ["lambda", "quick", "partial"]


class TestArguments:
    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_wrong_number_is_refused_and_told(self, is_async: bool) -> None:
        """The ack says so, it is counted, the handler is not called; the client's next event is."""

        @async_test
        async def check() -> None:
            io = Server()
            log: list[Any] = []

            def handler(socket: Socket, a: Any, b: Any = None) -> str:
                log.append((a, b))
                return "ok"

            async def later(socket: Socket, a: Any, b: Any = None) -> str:
                return handler(socket, a, b)

            io.on("x")(later if is_async else handler)
            async with TestServer(io) as server:
                client = await server.connect()
                for args in ((), (1, 2, 3)):
                    answer = await client.call("x", *args)
                    assert f"does not take {len(args)} arguments" in answer["error"]
                    await client.emit("x", *args)
                assert await client.call("x", 1) == "ok"
                assert await client.call("x", 1, 2) == "ok"
                assert log == [(1, None), (1, 2)]
                assert io.stats.bad_events == 4
                assert io.stats.handler_errors == 0

        check()

    def test_typed_ones_are_converted_and_validated(self) -> None:
        """A Struct, a dataclass, a pydantic model; untyped ones stay as they are."""

        @async_test
        async def check() -> None:
            io = Server()
            log: list[Any] = []

            @io.on("order")
            def order(socket: Socket, order: Order, point: Point, note: str = "") -> str:
                log.append((order, point, note))
                return "ok"

            @io.on("model")
            async def model(socket: Socket, model: Model, *rest: Any) -> str:
                log.append((model, rest))
                return "ok"

            async with TestServer(io) as server:
                client = await server.connect()
                assert await client.call("order", {"item": "a"}, {"x": 1}, {"not": "text"}) == "ok"
                assert await client.call("order", {"item": "a", "count": 2, "more": 1}, {"x": 1, "y": 2}) == "ok"
                assert await client.call("model", {"name": "n"}, 1, 2) == "ok"
                assert log == [
                    (Order("a"), Point(1), {"not": "text"}),
                    (Order("a", 2), Point(1, 2), ""),
                    (Model(name="n"), (1, 2)),
                ]
                log.clear()
                bad: list[tuple[str, list[Any]]] = [
                    ("order", [{"item": 1}, {"x": 1}]),
                    ("order", [{}, {"x": 1}]),
                    ("order", [{"item": "a"}, {"x": "1"}]),
                    ("order", [None, {"x": 1}]),
                    ("order", [{"item": "a"}]),
                    ("model", [{"name": 5}]),
                    ("model", ["text"]),
                    ("model", [b"binary"]),
                ]
                for event, args in bad:
                    answer = await client.call(event, *args)
                    assert set(answer) == {"error"}
                assert log == []
                assert io.stats.bad_events == len(bad)
                assert await client.call("model", {"name": "n"}) == "ok"

        check()

    @async_test
    async def test_what_is_made_of_models_is_converted_and_validated(self) -> None:
        io = Server()
        seen: list[Any] = []

        @io.on("orders")
        def orders(socket: Socket, orders: list[Order], point: Point | None = None) -> str:
            seen.append((orders, point))
            return "ok"

        @io.on("models")
        def models(
            socket: Socket, models: Annotated[list[Model], Field(max_length=2)], more: Model | None = None
        ) -> str:
            seen.append((models, more))
            return "ok"

        @io.on("spot")
        def spot(socket: Socket, spots: dict[str, Spot]) -> str:
            seen.append(spots)
            return "ok"

        @io.on("plain")
        def plain(socket: Socket, numbers: list[int], text: str | None) -> str:
            seen.append((numbers, text))
            return "ok"

        async with TestServer(io) as server:
            client = await server.connect()
            assert await client.call("orders", [{"item": "a"}, {"item": "b", "count": 2}]) == "ok"
            assert await client.call("orders", [], {"x": 1}) == "ok"
            assert await client.call("orders", [], None) == "ok"
            assert await client.call("models", [{"name": "n"}], None) == "ok"
            assert await client.call("models", [], {"name": "m"}) == "ok"
            assert await client.call("spot", {"here": {"name": " n "}}) == "ok"
            assert await client.call("plain", "no list", 5) == "ok"
            assert seen == [
                ([Order("a"), Order("b", 2)], None),
                ([], Point(1)),
                ([], None),
                ([Model(name="n")], None),
                ([], Model(name="m")),
                {"here": Spot("n")},
                ("no list", 5),
            ]
            bad: list[tuple[str, list[Any], str]] = [
                ("orders", [[{"item": "a"}, {}]], "Object missing required field `item` - at `$[1]`"),
                ("orders", [[], {"x": "1"}], "Expected `int`, got `str` - at `$.x`"),
                ("orders", [None], "Expected `array`, got `null`"),
                ("models", [[{"name": 5}]], "0.name: Input should be a valid string"),
                ("models", [[{"name": "n"}] * 3], "List should have at most 2 items after validation, not 3"),
                ("spot", [{"here": {"name": "a name too long"}}], "here.name: String should have at most 5 characters"),
            ]
            for event, args, reason in bad:
                assert await client.call(event, *args) == {"error": reason}

    @async_test
    async def test_of_much_that_is_wrong_little_is_said(self) -> None:
        io = Server()

        @io.on("models")
        def models(socket: Socket, models: list[Model]) -> None: ...

        @io.on("spots")
        def spots(socket: Socket, spots: dict[str, Spot]) -> None: ...

        async with TestServer(io) as server:
            client = await server.connect()
            answer = await client.call("models", [{"name": 1}] * 1000)
            assert answer["error"].startswith("0.name: Input should be a valid string; 1.name: ")
            assert answer["error"].endswith("; 4.name: Input should be a valid string; and 995 more")
            answer = await client.call("spots", {"x" * 10_000: {"name": "too long"}})
            assert answer["error"] == f"{'x' * 100}: String should have at most 5 characters"

    def test_what_nothing_can_be_converted_to_is_refused_at_once(self) -> None:
        io = Server()
        with pytest.raises(ConfigurationError, match=r"no argument can be checked as .*multiple Struct types"):

            @io.on("either")
            def either(socket: Socket, one: Order | Other) -> None: ...

    @async_test
    async def test_binary_can_lie_in_a_typed_one(self) -> None:
        class File(msgspec.Struct):
            name: str
            content: bytes

        io = Server()
        seen: list[Any] = []

        def upload(socket: Socket, file: Any) -> None:
            seen.append(file)

        upload.__annotations__["file"] = File
        io.on("upload")(upload)
        async with TestServer(io) as server:
            client = await server.connect()
            await client.call("upload", {"name": "n", "content": b"\x00"})
        assert seen == [File("n", b"\x00")]

    @async_test
    async def test_a_socket_that_only_type_checkers_know_keeps_nothing_from_being_checked(self) -> None:
        """As linters write it: `if TYPE_CHECKING: from shoal import Socket`."""
        io = Server()
        seen: list[Any] = []

        def handler(socket: Socket, a: Any) -> None:
            seen.append(a)

        handler.__annotations__ = {"socket": "NoSuchName", "a": "Order", "return": "NoSuchName"}
        io.on("x")(handler)
        async with TestServer(io) as server:
            client = await server.connect()
            await client.call("x", {"item": "a"})
            assert set(await client.call("x", {"item": 1})) == {"error"}
        assert seen == [Order("a")]

    @async_test
    async def test_an_annotation_that_cannot_be_evaluated_is_told_and_the_others_are_checked(self) -> None:
        io = Server()
        seen: list[Any] = []

        def handler(socket: Socket, a: Any, b: Any) -> None:
            seen.append((a, b))

        handler.__annotations__ = {"a": "NoSuchName", "b": "Order"}
        with pytest.warns(UserWarning, match="'a' of handler.* is not checked: its annotation 'NoSuchName'") as told:
            io.on("x")(handler)
        assert [warning.filename for warning in told] == [__file__]
        async with TestServer(io) as server:
            client = await server.connect()
            await client.call("x", {"item": 1}, {"item": "b"})
            assert set(await client.call("x", {"item": "a"}, {"item": 1})) == {"error"}
        assert seen == [({"item": 1}, Order("b"))]

    @async_test
    async def test_partials_and_objects_have_their_arguments_checked_too(self) -> None:
        class Taker:
            def __call__(self, socket: Socket, order: Order) -> str:
                return order.item

        def take(more: str, socket: Socket, order: Order) -> str:
            return more + order.item

        io = Server()
        io.on("object")(Taker())
        io.on("partial")(functools.partial(take, ">"))
        async with TestServer(io) as server:
            client = await server.connect()
            assert await client.call("object", {"item": "a"}) == "a"
            assert await client.call("partial", {"item": "a"}) == ">a"
            for event in ("object", "partial"):
                assert set(await client.call(event, {"item": 1})) == {"error"}


class TestPlainHandlers:
    @async_test
    async def test_what_one_sets_is_not_for_the_next_client(self) -> None:
        user: ContextVar[str] = ContextVar("user", default="nobody")
        io = Server()

        @io.on("login")
        def login(socket: Socket, name: str) -> str:
            seen = user.get()
            user.set(name)
            return seen

        async with TestServer(io) as server:
            first, second = await server.connect(), await server.connect()
            for session in io.engine.sessions.values():  # as a transport does, in a context that all of them share
                session.receiver.receive_text(b'421["login","alice"]')
            assert [await client.call("login", "alice") for client in (first, second)] == ["nobody", "nobody"]
            assert user.get() == "nobody"

    @async_test
    async def test_one_that_raises_cancelled_error_has_failed(self) -> None:
        io = Server()
        io.on("echo")(lambda socket, value: value)

        @io.on("x")
        def cancelled(socket: Socket) -> None:
            raise asyncio.CancelledError

        async with TestServer(io) as server:
            client = await server.connect()
            await client.emit("x")
            assert await client.call("echo", 1) == 1
            assert io.stats.handler_errors == 1
