"""Socket.IO v5 to the letter, against `Server`: Engine.IO's contracts at /socket.io/, and packets compared as text."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from tests.interop.contracts import Closing, Handshake, Heartbeat, Upgrade
from tests.interop.wire import POLLING, Client, Endpoint, Frames, case, client, parse_open
from tests.servers import lanes, serving, stricter, tracebacks
from websockets.exceptions import InvalidStatus

TWO_PLACEHOLDERS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
TWO_FRAMES: list[str | bytes] = [b"\x01\x02\x03", b"\x04\x05\x06"]


@pytest.fixture(scope="module", params=lanes("fastlane", "uvicorn"))
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    with serving("socket_suite:io", request.param) as server:
        yield Endpoint(server.port, "/socket.io/")
    assert not tracebacks(server.final_log), server.final_log


def reply_of(frame: str | bytes, prefix: str) -> str:
    """The sid in a CONNECT reply, which must hold nothing else."""
    assert isinstance(frame, str)
    assert frame.startswith(prefix + "{"), frame
    reply = json.loads(frame[len(prefix) :])
    assert set(reply) == {"sid"}
    assert isinstance(reply["sid"], str)
    assert reply["sid"]
    sid: str = reply["sid"]
    return sid


async def opened(someone: Client) -> Frames:
    """A WebSocket with its OPEN packet read."""
    frames = await someone.websocket()
    await frames.open_packet()
    return frames


async def connected(someone: Client) -> Frames:
    """A WebSocket connected to `/`, with reply and `auth` event read."""
    frames = await opened(someone)
    await frames.send("40")
    reply_of(await frames.next(), "40")
    assert await frames.next() == '42["auth",{}]'
    return frames


class TestHandshake(Handshake):
    pass


class TestOtherTimes:
    """Clients of Socket.IO 2, which speak Engine.IO 3, and what was there before browsers could ask another origin."""

    @stricter("Node switches protocols first and writes its HTTP refusal into the open WebSocket")
    @case
    async def test_a_websocket_of_engine_io_3_is_told_why(self, endpoint: Endpoint) -> None:
        """It is refused as a GET is: 400, and code 5 with Node's words."""
        async with client(endpoint) as someone:
            with pytest.raises(InvalidStatus) as caught:
                await someone.websocket("EIO=3&transport=websocket")
            assert caught.value.response.status_code == 400
            refusal = {"code": 5, "message": "Unsupported protocol version"}
            assert json.loads(caught.value.response.body) == refusal

    @stricter("Node answers with a script")
    @case
    async def test_a_request_for_jsonp_is_like_any_other(self, endpoint: Endpoint) -> None:
        """What it calls its callback is nowhere in the answer, which is no script; a form is no payload."""
        async with client(endpoint) as someone:
            response = await someone.get(f"{POLLING}&j=0")
            sid = parse_open(response.text)["sid"]
            assert response.headers["content-type"].lower().startswith("text/plain")
            await someone.push(f"{sid}&j=0", "40")
            reply, auth = await someone.packets(f"{sid}&j=0", 2)
            reply_of(reply, "40")
            assert auth == '42["auth",{}]'
            await someone.push(f"{sid}&j=0", "d=42%5B%22message%22%5D")
            assert (await someone.poll(sid)).status_code == 400


class TestHeartbeat(Heartbeat):
    pass


class TestClosing(Closing):
    pass


class TestUpgrade(Upgrade):
    pass


class TestConnect:
    @pytest.mark.parametrize(
        ("packet", "prefix", "auth"),
        [
            ("40", "40", '42["auth",{}]'),
            ('40{"token":"123"}', "40", '42["auth",{"token":"123"}]'),
            ("40/custom,", "40/custom,", '42/custom,["auth",{}]'),
            ("40/custom", "40/custom,", '42/custom,["auth",{}]'),
            ('40/custom,{"token":"abc"}', "40/custom,", '42/custom,["auth",{"token":"abc"}]'),
        ],
    )
    @case
    async def test_a_namespace_accepts(self, endpoint: Endpoint, packet: str, prefix: str, auth: str) -> None:
        """The CONNECT reply holds the sid alone, and the connect handler's event comes after it."""
        async with client(endpoint) as someone:
            frames = await opened(someone)
            await frames.send(packet)
            reply_of(await frames.next(), prefix)
            assert await frames.next() == auth

    @case
    async def test_socket_ids_differ(self, endpoint: Endpoint) -> None:
        """The ids in two namespaces differ from each other and from the session's."""
        async with client(endpoint) as someone:
            frames = await someone.websocket()
            session = (await frames.open_packet())["sid"]
            await frames.send("40")
            main = reply_of(await frames.next(), "40")
            assert await frames.next() == '42["auth",{}]'
            await frames.send("40/custom,")
            custom = reply_of(await frames.next(), "40/custom,")
            assert len({session, main, custom}) == 3

    @pytest.mark.parametrize("packet", ["40/random", "40/random,", '40/random,{"token":"123"}'])
    @case
    async def test_an_unknown_namespace_refuses(self, endpoint: Endpoint, packet: str) -> None:
        """The client is told, in so many words, and may go on with another namespace."""
        async with client(endpoint) as someone:
            frames = await opened(someone)
            await frames.send(packet)
            assert await frames.next() == '44/random,{"message":"Invalid namespace"}'
            await frames.send("40")
            reply_of(await frames.next(), "40")

    @case
    async def test_a_bad_packet_before_connect_closes(self, endpoint: Endpoint) -> None:
        """What is no packet ends the connection at once."""
        async with client(endpoint) as someone:
            frames = await opened(someone)
            await frames.send("4abc")
            assert await frames.closed_though_ponging() == []

    @case
    async def test_silence_closes(self, endpoint: Endpoint) -> None:
        """A client that answers every ping but never connects is closed after the connect timeout of two seconds."""
        async with client(endpoint) as someone:
            frames = await opened(someone)
            started = time.monotonic()
            assert await frames.closed_though_ponging() == []
            assert 1.9 < time.monotonic() - started < 5.0

    @case
    async def test_over_polling(self, endpoint: Endpoint) -> None:
        """Reply and event come in the next poll, in their order."""
        async with client(endpoint) as someone:
            sid = await someone.open()
            assert (await someone.push(sid, "40")).text == "ok"
            received: list[str] = []
            while len(received) < 2:
                received += (await someone.poll(sid)).text.split("\x1e")
            reply_of(received[0], "40")
            assert received[1] == '42["auth",{}]'


class TestDisconnect:
    @case
    async def test_leaving_the_main_namespace_keeps_the_connection(self, endpoint: Endpoint) -> None:
        """Nothing is sent back; the next frame is the ping."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            await frames.send("41")
            await frames.ping()

    @case
    async def test_leaving_one_namespace_keeps_the_other(self, endpoint: Endpoint) -> None:
        """After leaving /custom, / goes on working."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            await frames.send("40/custom,")
            reply_of(await frames.next(), "40/custom,")
            assert await frames.next() == '42/custom,["auth",{}]'
            await frames.send("41/custom,")
            await frames.send('42["message","message to main namespace"]')
            assert await frames.next() == '42["message-back","message to main namespace"]'

    @case
    async def test_leaving_without_a_comma(self, endpoint: Endpoint) -> None:
        """The comma after the namespace may be missing."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            await frames.send("40/custom")
            reply_of(await frames.next(), "40/custom,")
            assert await frames.next() == '42/custom,["auth",{}]'
            await frames.send("41/custom")
            await frames.send('42["message",1]')
            assert await frames.next() == '42["message-back",1]'


class TestMessage:
    @pytest.mark.parametrize(
        ("sent", "received"),
        [
            ('42["message",1,"2",{"3":[true]}]', '42["message-back",1,"2",{"3":[true]}]'),
            ('42["message"]', '42["message-back"]'),
            ('42["message",null,1.5,"é€𝄞",{}]', '42["message-back",null,1.5,"é€𝄞",{}]'),
            ('42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]'),
            ('420["message-with-ack"]', "430[]"),
            ('421["message-with-ack",[1,2]]', "431[[1,2]]"),
        ],
    )
    @case
    async def test_text(self, endpoint: Endpoint, sent: str, received: str) -> None:
        """The packet that comes back is the expected text, byte for byte."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            await frames.send(sent)
            assert await frames.next() == received

    @pytest.mark.parametrize(
        ("sent", "received"),
        [
            (f'452-["message",{TWO_PLACEHOLDERS}]', f'452-["message-back",{TWO_PLACEHOLDERS}]'),
            (f'452-789["message-with-ack",{TWO_PLACEHOLDERS}]', f"462-789[{TWO_PLACEHOLDERS}]"),
        ],
    )
    @case
    async def test_binary(self, endpoint: Endpoint, sent: str, received: str) -> None:
        """The packet and its two attachments come back, contiguous."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            for frame in (sent, *TWO_FRAMES):
                await frames.send(frame)
            assert [await frames.next() for _ in range(3)] == [received, *TWO_FRAMES]

    @case
    async def test_binary_within_an_object(self, endpoint: Endpoint) -> None:
        """Attachments are numbered in the order of the text."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            arguments = '{"a":[{"_placeholder":true,"num":0}],"b":{"c":{"_placeholder":true,"num":1}}}'
            for frame in (f'452-["message",{arguments}]', *TWO_FRAMES):
                await frames.send(frame)
            expected = [f'452-["message-back",{arguments}]', *TWO_FRAMES]
            assert [await frames.next() for _ in range(3)] == expected

    @case
    async def test_order_of_binary_and_text(self, endpoint: Endpoint) -> None:
        """Text packets sent after a binary one come back after its attachments."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            packets = [
                f'452-["message",{TWO_PLACEHOLDERS}]',
                *TWO_FRAMES,
                '42["message",2]',
                '429["message-with-ack",3]',
            ]
            for frame in packets:
                await frames.send(frame)
            expected = [
                f'452-["message-back",{TWO_PLACEHOLDERS}]',
                *TWO_FRAMES,
                '42["message-back",2]',
                "439[3]",
            ]
            assert [await frames.next() for _ in range(5)] == expected

    @pytest.mark.parametrize(
        "packet",
        [
            "4abc",
            "42{}",
            '42abc["message-with-ack",1,"2",{"3":[false]}]',
            "42[",
            "42[]",
            '42[{"event":1}]',
            '42["message"',
            "431{}",
            "47",
            '45["message",{"_placeholder":true,"num":0}]',
            '45abc-["message",{"_placeholder":true,"num":0}]',
            "40[]",
            '42["connect"]',
            '42["disconnect"]',
        ],
    )
    @case
    async def test_a_bad_packet_closes(self, endpoint: Endpoint, packet: str) -> None:
        """What breaks the format ends the connection at once; another client is unharmed."""
        async with client(endpoint) as someone:
            frames, other = await connected(someone), await connected(someone)
            await frames.send(packet)
            assert await frames.closed_though_ponging() == []
            await other.send('42["message",1]')
            assert await other.next() == '42["message-back",1]'

    @case
    async def test_packets_without_meaning_harm_nobody(self, endpoint: Endpoint) -> None:
        """An event without a name, an ack nobody waits for, a packet for a namespace not joined: no answer to it."""

        async def send(packet: str) -> None:
            frames = await connected(someone)
            await frames.send(packet)
            assert await frames.closed() in ([], ["2"])

        async with client(endpoint) as someone:
            other = await connected(someone)
            senseless = ["42", "43[]", "43999[1]", "41/custom,", '42/custom,["message",1]']
            await asyncio.gather(
                *(send(packet) for packet in senseless),
                self.goes_on(other),
            )

    async def goes_on(self, frames: Frames) -> None:
        """Talk to the server for a second."""
        for number in range(3):
            await frames.send(f'42["message",{number}]')
            assert await frames.next() == f'42["message-back",{number}]'
            await frames.ping()
            await frames.send("3")

    @case
    async def test_a_lost_attachment_closes(self, endpoint: Endpoint) -> None:
        """A text packet where an attachment is due ends the connection."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            await frames.send(f'452-["message",{TWO_PLACEHOLDERS}]')
            await frames.send(TWO_FRAMES[0])
            await frames.send('42["message",1]')
            assert await frames.closed_though_ponging() == []

    @case
    async def test_an_unexpected_attachment_closes(self, endpoint: Endpoint) -> None:
        """A binary frame that no packet announced ends the connection."""
        async with client(endpoint) as someone:
            frames = await connected(someone)
            await frames.send(b"\x01")
            assert await frames.closed_though_ponging() == []
