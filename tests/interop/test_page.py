"""The chat's page in real browser windows, on one server."""

from __future__ import annotations

import http.client
import re
import sys
from collections.abc import Iterator

import pytest
from tests.interop.browser import PHONE, Window, Windows, chromium, window
from tests.ports import free_port
from tests.servers import ServerProcess, tracebacks

__all__ = ["chromium", "window"]  # fixtures

HELLO = "Hello! I'm client"
SCRIPTED = "<img src=x onerror=\"console.log('struck')\"><script>console.log('struck')</script>"
LONG = "unbroken" * 60


@pytest.fixture(scope="module")
def chat() -> Iterator[ServerProcess]:
    server = serve(free_port())
    try:
        server.wait_until_up()
        yield server
        log = server.log()
        server.stop()
        assert not tracebacks(log), log
    finally:
        server.close()


def serve(port: int) -> ServerProcess:
    argv = [sys.executable, "-m", "shoal", "serve", "shoal.demo:app", "--port", str(port)]
    return ServerProcess(argv, port, {"SHOAL_NODE": "1111"})


def say(window: Window, text: str) -> None:
    window.run("text => void ws.emit('chat', text)", text)


def shown(window: Window) -> list[str]:
    return window.page.locator(".message .bubble p").all_text_contents()


def shows(window: Window, text: str) -> None:
    window.until(lambda: text in shown(window), f"the page never showed {text!r}")


def test_a_message_from_one_console_is_printed_in_every_console(chat: ServerProcess, window: Windows) -> None:
    one, two = window(chat.url), window(chat.url)
    one.run("""ws.emit('chat', "Hello! I'm client")""")
    for each in (one, two):
        each.prints(f"1111: {HELLO}")
        assert each.console == ["ws connected", f"1111: {HELLO}"]
        shows(each, HELLO)
        assert each.errors == []


def test_the_log_tells_of_connections_and_messages_word_for_word(chat: ServerProcess, window: Windows) -> None:
    one = window(chat.url)
    say(one, HELLO)
    one.prints(f"1111: {HELLO}")
    lines = chat.log().splitlines()
    for line in (
        "1111 is listening on port: " + str(chat.port),
        "new connection was made server 1111",
        "Server 1111 join successfully to chat room!",
        "server 1111 received a message",
    ):
        assert line in lines


def test_what_is_typed_and_sent_with_enter_arrives_everywhere_once(chat: ServerProcess, window: Windows) -> None:
    one, two = window(chat.url), window(chat.url)
    one.page.get_by_label("Message", exact=True).fill("typed by hand")
    one.page.keyboard.press("Enter")
    shows(two, "typed by hand")
    shows(one, "typed by hand")
    assert one.page.locator(".mine .badge").all_text_contents() == ["1111"]
    assert two.page.locator(".mine").count() == 0
    assert one.page.get_by_label("Message", exact=True).input_value() == ""
    assert shown(two) == ["typed by hand"]


def test_every_control_is_reached_and_worked_with_the_keyboard(chat: ServerProcess, window: Windows) -> None:
    one = window(chat.url)
    reached = set()
    for _ in range(12):
        one.page.keyboard.press("Tab")
        reached.add(one.run("document.activeElement.id || document.activeElement.className"))
        assert one.run(FOCUS_IS_VISIBLE), f"no outline around the last of {reached}"
    assert {"scroll", "text", "send", "copy", "another"} <= reached


FOCUS_IS_VISIBLE = """document.activeElement === document.body
    || getComputedStyle(document.activeElement).outlineStyle !== "none" """


def test_a_text_is_shown_as_it_was_sent(chat: ServerProcess, window: Windows) -> None:
    one, two = window(chat.url), window(chat.url)
    for text in (SCRIPTED, "&lt;b&gt; &amp;", "x: y: z", "  two\nlines "):
        say(one, text)
        shows(two, text)
    assert two.page.locator("#messages img, #messages script, #messages b").count() == 0
    assert "struck" not in two.console + one.console


def test_a_payload_that_is_no_text_is_refused_and_hurts_nobody(chat: ServerProcess, window: Windows) -> None:
    one, two = window(chat.url), window(chat.url)
    for payload in ("42", "null", "[]", "{text: 'x'}", "''", "'x'.repeat(2001)", "new Uint8Array(3)"):
        answer = one.run(f"ws.timeout(5000).emitWithAck('chat', {payload})")
        assert answer["ok"] is False, payload
        assert answer["error"], payload
    one.run("void ws.emit('chat')")
    say(one, "still here")
    shows(two, "still here")
    assert shown(two) == ["still here"]


def test_the_longest_text_is_taken_and_acknowledged(chat: ServerProcess, window: Windows) -> None:
    one = window(chat.url)
    assert one.run("ws.timeout(5000).emitWithAck('chat', 'é'.repeat(2000))") == {"ok": True}
    shows(one, "é" * 2000)


def test_the_page_counts_the_clients_of_a_server_and_says_where_it_is(chat: ServerProcess, window: Windows) -> None:
    one = window(chat.url)
    two = window(chat.url)
    card = one.page.locator(".server[data-node='1111']")
    one.until(lambda: "2 clients" in card.inner_text(), "two clients were never counted")
    assert "you are here" in card.inner_text()
    assert one.page.locator("#state").inner_text() == "connected to 1111"
    two.page.close()
    one.until(lambda: "1 client" in card.inner_text(), "the client that left is still counted")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["phone", "desktop"])
def test_the_page_fits_its_screen_and_can_be_read(
    chat: ServerProcess, window: Windows, device: str, scheme: str
) -> None:
    one = window(chat.url, color_scheme=scheme, **(PHONE if device == "phone" else {}))
    say(one, LONG)
    shows(one, LONG)
    one.run("document.getAnimations().forEach(each => each.finish())")
    assert one.run("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert one.run("document.documentElement.scrollHeight <= innerHeight"), "the input is below the screen"
    one.page.get_by_label("Message", exact=True).click(trial=True)
    for colour in range(8):
        one.run(
            "slot => document.querySelectorAll('[data-colour]').forEach(each => each.dataset.colour = slot)", colour
        )
        assert one.run(FAINT_TEXTS) == []
    dark = one.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part < 64)")
    assert dark == (scheme == "dark")
    assert one.errors == []


# WCAG 2.2 AA: the texts whose contrast with what lies behind them is below 4.5. A canvas turns any colour into bytes.
FAINT_TEXTS = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const bytes = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (colours) => bytes(colours).map((byte) => byte / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) =>
    (element ? [...behind(element.parentElement), getComputedStyle(element).backgroundColor] : []);
  const faint = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".unseen") || element.disabled) continue;
    const below = behind(element);
    const pair = [light(below), light([...below, getComputedStyle(element).color])].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) faint.push(`${element.className || element.tagName}: ${contrast.toFixed(2)}`);
  }
  return faint;
}"""


def test_the_list_of_messages_is_bounded(chat: ServerProcess, window: Windows) -> None:
    one = window(chat.url)
    one.run("for (let i = 1; i <= 600; i += 1) ws.emit('chat', `number ${i}`)")
    one.prints("1111: number 600")
    assert shown(one) == [f"number {i}" for i in range(101, 601)]


def test_a_reader_of_old_messages_is_not_pulled_to_the_end(chat: ServerProcess, window: Windows) -> None:
    one, two = window(chat.url), window(chat.url)
    one.run("for (let i = 1; i <= 60; i += 1) ws.emit('chat', `number ${i}`)")
    shows(two, "number 60")
    assert two.run(AT_END), "a reader at the end must follow"
    two.run("document.getElementById('scroll').scrollTop = 0")
    say(one, "news")
    shows(two, "news")
    assert two.run("document.getElementById('scroll').scrollTop") == 0
    two.page.get_by_role("button", name="New messages below").click()
    assert two.run(AT_END)


AT_END = "(list => list.scrollHeight - list.scrollTop - list.clientHeight < 2)(document.getElementById('scroll'))"


def test_the_hint_for_the_console_is_copied(chat: ServerProcess, window: Windows) -> None:
    one = window(chat.url, permissions=["clipboard-read", "clipboard-write"])
    one.page.get_by_role("button", name="Copy").click()
    one.page.get_by_role("button", name="Copied").wait_for()
    one.run(one.run("navigator.clipboard.readText()"))
    one.prints(f"1111: {HELLO}")


def test_a_page_without_the_client_script_says_what_to_do(chat: ServerProcess, window: Windows) -> None:
    one = window("about:blank", connected=False)
    one.page.route("**/socket.io.min.js", lambda route: route.abort())
    one.page.goto(chat.url)
    one.page.get_by_text("scripts/fetch-client.sh").wait_for()
    assert one.page.get_by_role("button", name="Send").is_disabled()


def test_the_security_policy_lets_in_the_public_copy_of_the_client_and_nobody_else(
    chat: ServerProcess, window: Windows
) -> None:
    one = window(chat.url)
    one.page.route(
        re.compile("^https://"), lambda route: route.fulfill(body="console.log('ran ' + document.currentScript.src)")
    )
    for host in ("cdn.socket.io", "elsewhere.example"):
        one.run(
            "url => new Promise(done => document.head.append(Object.assign(document.createElement('script'),"
            " {src: url, onload: done, onerror: done})))",
            f"https://{host}/x.js",
        )
    one.run("document.head.append(Object.assign(document.createElement('script'), {text: 'console.log(\"inline\")'}))")
    one.prints("ran https://cdn.socket.io/x.js")
    assert one.console == ["ws connected", "ran https://cdn.socket.io/x.js"]


def test_the_page_comes_back_when_its_server_does(window: Windows) -> None:
    port = free_port()
    server = serve(port)
    try:
        server.wait_until_up()
        one = window(server.url)
        server.kill()
        one.page.wait_for_selector("#state[data-state=lost]")
        assert one.page.get_by_role("button", name="Send").is_disabled()
        server.close()
        server = serve(port)
        one.page.wait_for_selector("#state[data-state=connected]")
        say(one, "back again")
        one.prints("1111: back again")
        assert one.console.count("ws connected") == 2
    finally:
        server.close()


def ask(chat: ServerProcess, method: str, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", chat.port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/chat.css", "text/css; charset=utf-8"),
        ("/chat.js", "text/javascript; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ],
)
def test_a_file_of_the_page_is_sent_once_and_then_only_asked_about(chat: ServerProcess, path: str, kind: str) -> None:
    first, body = ask(chat, "GET", path)
    assert (first.status, first.headers["content-type"], first.headers["cache-control"]) == (200, kind, "no-cache")
    assert "unsafe" not in first.headers["content-security-policy"]
    assert len(body) == int(first.headers["content-length"])
    again, nothing = ask(chat, "GET", path, If_None_Match=f'"other", W/{first.headers["etag"]}')
    assert (again.status, nothing) == (304, b"")
    head, nothing = ask(chat, "HEAD", path)
    assert (head.status, head.headers["content-length"], nothing) == (200, str(len(body)), b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/../chat.py", 404), ("GET", "/%2e%2e/chat.py", 404), ("POST", "/", 405)],
)
def test_what_is_not_the_page_is_not_served(chat: ServerProcess, method: str, path: str, status: int) -> None:
    assert ask(chat, method, path)[0].status == status
