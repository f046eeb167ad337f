"""The ASGI application: who answers which path, CORS, the browser client's files, and the application beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.internals import link

from shoal import ConnectionRefused, Engine, Server
from shoal.asgi.application import EngineApp
from shoal.http.client_files import CLIENT_VERSION, ClientFiles
from shoal.testing import Response, TestServer, async_test

HANDSHAKE = {"EIO": "4", "transport": "polling"}


async def other(scope: Any, receive: Any, send: Any) -> None:
    """An application beside: it answers with the path that it was asked for."""
    if scope["type"] == "http":
        status = 404 if scope["path"] in ("/healthz", "/readyz", "/nothing") else 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-other", b"1")]})
        await send({"type": "http.response.body", "body": scope["path"].encode()})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": '0{"sid":"beside"}'})
        await send({"type": "websocket.close", "code": 4000})
        await receive()
    else:
        raise RuntimeError("no lifespan")


class TestPaths:
    @pytest.mark.parametrize("path", ["/engine.io/", "/a/b/", "/"])
    def test_only_the_path_itself_is_the_engines(self, path: str) -> None:
        """Without its last slash it is not found, as in Node."""

        @async_test
        async def check() -> None:
            async with TestServer(Engine(path=path)) as server:
                assert (await server.request("GET", path, query=HANDSHAKE)).status == 200
                for wrong in (path + "x", path.rstrip("/") or "/x", path + "x/"):
                    assert (await server.request("GET", wrong, query=HANDSHAKE)).status == 404
                with pytest.raises(ConnectionRefused):
                    await TestServer(server.app, path=path + "x").open()

        check()

    @async_test
    async def test_a_slash_is_added_to_the_option(self) -> None:
        async with TestServer(Engine(path="live")) as server:
            assert server.path == "/live/"
            assert (await server.open()).open

    @pytest.mark.parametrize("mount", ["/live", "/live/"])
    def test_below_another_applications_mount_the_path_counts_from_there(self, mount: str) -> None:
        """ASGI's path holds the root_path of the mount."""

        @async_test
        async def check() -> None:
            engine = Engine()

            async def outer(scope: Any, receive: Any, send: Any) -> None:
                if scope["type"] == "lifespan":
                    raise RuntimeError("none")
                await engine({**scope, "root_path": mount}, receive, send)

            async with TestServer(outer, path="/live/engine.io/") as server:
                assert (await server.request("GET", server.path, query=HANDSHAKE)).status == 200
                assert (await server.open()).open
                assert (await server.request("GET", "/live/other/")).status == 404
            await engine.close()

        check()

    @async_test
    async def test_everything_else_goes_to_the_application_beside(self) -> None:
        """HTTP and WebSockets; what is below the engine's path does not."""
        async with TestServer(Server().asgi(other)) as server:
            assert (await server.request("GET", "/page")).headers["x-other"] == "1"
            assert (await server.request("GET", "/socket.iox/")).headers["x-other"] == "1"
            assert (await server.request("GET", "/socket.io/none")).body == b"not found"
            assert (await server.request("GET", "/socket.io")).status == 404
            beside = await TestServer(server.app, path="/ws").open()
            assert await beside.closed() == 4000
            assert (await server.connect()).connected

    @async_test
    async def test_alone_it_knows_nothing_else(self) -> None:
        async with TestServer(Server()) as server:
            assert (await server.request("GET", "/page")).status == 404
            with pytest.raises(ConnectionRefused):
                await TestServer(server.app, path="/ws").open()


class TestHealth:
    @async_test
    async def test_a_node_alone_is_alive_and_ready(self) -> None:
        async with TestServer(Server()) as server:
            for path in ("/healthz", "/readyz"):
                response = await server.request("GET", path)
                assert (response.status, response.json) == (200, {"status": "ok"})
                assert response.headers["cache-control"] == "no-store"

    @async_test
    async def test_a_node_without_its_broker_is_alive_but_not_ready(self) -> None:
        """503 with the reason, until the link is back."""
        io = Server(broker="memory://health")
        async with TestServer(io) as server:
            assert (await server.request("GET", "/readyz")).status == 200
            link(io).bus.cut()  # type: ignore[attr-defined]
            response = await server.request("GET", "/readyz")
            assert (response.status, response.json["status"]) == (503, "not ready")
            assert "broker" in response.json["reason"]
            assert (await server.request("GET", "/healthz")).status == 200
            link(io).bus.restore()  # type: ignore[attr-defined]
            assert (await server.request("GET", "/readyz")).status == 200

    @async_test
    async def test_an_application_beside_may_answer_itself(self) -> None:
        """Its 404 lets ours through, whole."""

        async def own(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/healthz":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"mine"})
            else:
                await other(scope, receive, send)

        server = TestServer(Server().asgi(own))
        assert (await server.request("GET", "/healthz")).body == b"mine"
        response = await server.request("GET", "/readyz")
        assert response.json == {"status": "ok"}
        assert "x-other" not in response.headers


class TestCors:
    """Which pages may read an answer; PROTOCOL.md leaves it to the options."""

    CASES = (
        # options, Origin, expected headers
        ({}, None, {"access-control-allow-origin": "*"}),
        ({}, "http://a", {"access-control-allow-origin": "*"}),
        ({"cors_origins": None}, "http://a", {}),
        ({"cors_origins": "http://a"}, "http://a", {"access-control-allow-origin": "http://a", "vary": "Origin"}),
        ({"cors_origins": "http://a"}, "http://b", {"vary": "Origin"}),
        ({"cors_origins": ["http://a", "http://b"]}, "http://b", {"access-control-allow-origin": "http://b"}),
        ({"cors_origins": ["http://a"]}, None, {"vary": "Origin"}),
        (
            {"cors_credentials": True},
            "http://a",
            {"access-control-allow-origin": "http://a", "access-control-allow-credentials": "true", "vary": "Origin"},
        ),
        ({"cors_credentials": True}, None, {"vary": "Origin"}),
        ({"cors_credentials": True, "cors_origins": "http://a"}, "http://b", {"vary": "Origin"}),
    )

    @staticmethod
    def relevant(response: Response) -> dict[str, str]:
        return {n: v for n, v in response.headers.items() if n.startswith("access-control") or n == "vary"}

    @pytest.mark.parametrize(("options", "origin", "expected"), CASES)
    def test_the_headers_of_an_answer(self, options: dict[str, Any], origin: str | None, expected: Any) -> None:
        """Handshakes and refusals carry the same, or a page could not read why it was refused."""

        @async_test
        async def check() -> None:
            async with TestServer(Engine(**options)) as server:
                headers = {} if origin is None else {"Origin": origin}
                for query, status in ((HANDSHAKE, 200), ({}, 400)):
                    response = await server.request("GET", server.path, query=query, headers=headers)
                    assert response.status == status
                    found = self.relevant(response)
                    assert expected.items() <= found.items()
                    assert set(found) - set(expected) <= {"vary"}

        check()

    @async_test
    async def test_a_preflight_is_answered_without_a_session(self) -> None:
        """It allows what it asks for, unless the option names headers."""
        async with TestServer(Engine()) as server:
            asked = {"Origin": "http://a", "Access-Control-Request-Headers": "x-token, x-other"}
            response = await server.request("OPTIONS", server.path, headers=asked)
            assert (response.status, response.body) == (204, b"")
            assert response.headers["access-control-allow-headers"] == "x-token, x-other"
            assert "POST" in response.headers["access-control-allow-methods"]
            assert response.headers["access-control-max-age"] == "600"
            assert server.app.sessions == {}
        async with TestServer(Engine(cors_headers=["x-token"], cors_max_age=5)) as server:
            response = await server.request("OPTIONS", server.path, headers=asked)
            assert response.headers["access-control-allow-headers"] == "x-token"
            assert response.headers["access-control-max-age"] == "5"

    @async_test
    async def test_a_websocket_of_a_foreign_page_is_refused(self) -> None:
        """Browsers do not ask before they open one. No Origin is no browser; the page's own host is not foreign."""
        engine = Engine(cors_origins=["https://good"])
        async with TestServer(engine) as server:
            with pytest.raises(ConnectionRefused) as caught:
                await server.open(headers={"Origin": "https://evil"})
            assert caught.value.data == {"status": 403, "code": 4}
            assert engine.stats.foreign_origins == 1
            for headers in ({"Origin": "https://good"}, {}, {"Origin": "http://testserver"}):
                assert (await server.open(headers=headers)).open
        async with TestServer(Engine(cors_origins=None)) as server:
            with pytest.raises(ConnectionRefused):
                await server.open(headers={"Origin": "https://good"})


class TestClientFiles:
    def app(self, directory: Path) -> TestServer:
        engine = Engine(path="/socket.io/")
        return TestServer(EngineApp(engine, ClientFiles(directory)), path="/socket.io/")

    def test_a_file_is_served_with_an_etag(self, tmp_path: Path) -> None:
        (tmp_path / "socket.io.js").write_bytes(b"// client")
        (tmp_path / "socket.io.min.js.map").write_bytes(b"{}")

        @async_test
        async def check() -> None:
            async with self.app(tmp_path) as server:
                response = await server.request("GET", "/socket.io/socket.io.js")
                assert (response.status, response.body) == (200, b"// client")
                assert response.headers["content-type"] == "application/javascript; charset=utf-8"
                etag = response.headers["etag"]
                for seen in (etag, f"W/{etag}"):
                    again = await server.request("GET", "/socket.io/socket.io.js", headers={"If-None-Match": seen})
                    assert (again.status, again.body) == (304, b"")
                response = await server.request("GET", "/socket.io/socket.io.min.js.map")
                assert response.headers["content-type"] == "application/json"

        check()

    def test_where_it_is_absent_the_browser_is_sent_to_the_public_copy(self, tmp_path: Path) -> None:
        @async_test
        async def check() -> None:
            async with self.app(tmp_path) as server:
                response = await server.request("GET", "/socket.io/socket.io.min.js")
                assert response.status == 302
                assert response.headers["location"] == f"https://cdn.socket.io/{CLIENT_VERSION}/socket.io.min.js"

        check()

    @pytest.mark.parametrize("name", ["", "x.js", "../socket.io.js", "socket.io.js/", "secret.txt", "__init__.py"])
    def test_nothing_else_is_served(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "secret.txt").write_text("secret")

        @async_test
        async def check() -> None:
            async with self.app(tmp_path) as server:
                assert (await server.request("GET", f"/socket.io/{name}")).status in (400, 404)

        check()

    def test_other_methods_are_not_allowed(self, tmp_path: Path) -> None:
        @async_test
        async def check() -> None:
            async with self.app(tmp_path) as server:
                response = await server.request("POST", "/socket.io/socket.io.js")
                assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")

        check()

    def test_the_option_turns_them_off(self) -> None:
        @async_test
        async def check() -> None:
            async with TestServer(Server(serve_client=False)) as server:
                assert (await server.request("GET", "/socket.io/socket.io.js")).status == 404
            async with TestServer(Server()) as server:
                assert (await server.request("GET", "/socket.io/socket.io.js")).status in (200, 302)

        check()


class TestLifespan:
    @async_test
    async def test_ours_is_up_around_the_other_ones(self) -> None:
        """The application beside can emit from its startup to its shutdown."""
        io = Server(broker="memory://lifespan")
        steps: list[tuple[str, bool]] = []

        async def beside(scope: Any, receive: Any, send: Any) -> None:
            for step in ("startup", "shutdown"):
                await receive()
                steps.append((step, link(io).up))
                io.emit("step", step)
                await send({"type": f"lifespan.{step}.complete"})

        async with TestServer(io.asgi(beside)):
            assert steps == [("startup", True)]
        assert steps == [("startup", True), ("shutdown", True)]
        assert not link(io).up

    @async_test
    async def test_a_failed_startup_of_the_other_is_told(self) -> None:
        async def beside(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no luck"})

        with pytest.raises(RuntimeError, match="no luck"):
            async with TestServer(Server().asgi(beside)):
                pass

    @async_test
    async def test_a_failed_shutdown_of_the_other_does_not_keep_ours_up(self) -> None:
        io = Server(broker="memory://lifespan2")

        async def beside(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.failed", "message": "stuck"})

        with pytest.raises(RuntimeError, match="stuck"):
            async with TestServer(io.asgi(beside)):
                pass
        assert not link(io).up

    @async_test
    async def test_one_that_does_not_end_is_not_waited_for_without_end(self) -> None:
        async def beside(scope: Any, receive: Any, send: Any) -> None:
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            await receive()  # for ever

        async with TestServer(Server().asgi(beside)):
            pass

    @async_test
    async def test_without_lifespan_the_first_request_starts_the_server(self) -> None:
        """As under a server program that has none."""
        io = Server(broker="memory://lazy")
        server = TestServer(io)
        assert not link(io).up
        assert (await server.connect()).connected
        assert link(io).up
        await server.__aexit__(None, None, None)
        await io.close()
