"""The load tester's short cut through WebSocket frames finds what `websockets` finds, however the bytes are cut."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from shoal.load.frames import FrameClient, masked_text, split

URI = "ws://127.0.0.1:1111/socket.io/?EIO=4&transport=websocket"

payloads = st.one_of(st.binary(max_size=140), st.integers(120, 70_000).map(lambda n: b"y" * n))
controls = st.builds(Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> list[Frame]:
    """One message as the frames that carry it, with control frames between them."""
    opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.TEXT, Opcode.BINARY]))
    parts = draw(st.lists(payloads, min_size=1, max_size=3)) if draw(st.booleans()) else [draw(payloads)]
    frames: list[Frame] = []
    for i, part in enumerate(parts):
        frames += draw(st.lists(controls, max_size=1))
        frames.append(Frame(opcode if i == 0 else Opcode.CONT, part, fin=i == len(parts) - 1))
    return frames


def serialize(frames: list[Frame]) -> bytes:
    return b"".join(frame.serialize(mask=False) for frame in frames)


def handshake_answer(request: bytes) -> bytes:
    server = ServerProtocol()
    server.receive_data(request)
    (event,) = server.events_received()
    assert isinstance(event, Request)
    server.send_response(server.accept(event))
    return b"".join(server.data_to_send())


@dataclass
class Seen:
    texts: list[bytes]
    sent: bytes


def by_websockets(data: bytes) -> Seen:
    """The text messages that the library finds, and what it answers."""
    client = ClientProtocol(parse_uri(URI), max_size=None)
    client.send_request(client.connect())
    client.receive_data(handshake_answer(b"".join(client.data_to_send())))
    client.receive_data(data)
    texts, parts, kind = [], b"", Opcode.CONT
    for frame in client.events_received():
        if not isinstance(frame, Frame) or frame.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            continue
        if frame.opcode is not Opcode.CONT:
            parts, kind = b"", frame.opcode
        parts += bytes(frame.data)
        if frame.fin and kind is Opcode.TEXT:
            texts.append(parts)
    return Seen(texts, b"".join(client.data_to_send()))


def by_us(data: bytes, cuts: list[int]) -> tuple[Seen, FrameClient]:
    """The same with FrameClient, which gets handshake and frames in pieces that end at `cuts`."""
    client = FrameClient(URI)
    stream = handshake_answer(client.to_send()) + data
    texts: list[bytes] = []
    sent = b""
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {len(stream)})
    for start, end in zip([0, *ends], ends, strict=False):
        texts += client.feed(stream[start:end])
        sent += client.to_send()
    return Seen(texts, sent), client


def unmasked(data: bytes) -> list[bytes]:
    """Payloads of a client's frames: pongs carry random masks, so bytes cannot be compared."""
    server = ServerProtocol()
    request = FrameClient(URI).to_send()
    server.receive_data(request)
    (event,) = server.events_received()
    assert isinstance(event, Request)
    server.send_response(server.accept(event))
    server.receive_data(data)
    return [bytes(frame.data) for frame in server.events_received() if isinstance(frame, Frame)]


@settings(max_examples=100)
@given(st.lists(messages(), max_size=6), st.lists(st.integers(0, 10**6), max_size=8))
def test_messages_and_answers_are_those_of_websockets(groups: list[list[Frame]], cuts: list[int]) -> None:
    data = serialize([frame for group in groups for frame in group])
    theirs = by_websockets(data)
    ours, client = by_us(data, cuts)
    assert ours.texts == theirs.texts
    assert unmasked(ours.sent) == unmasked(theirs.sent)
    assert client.failure is None


@given(st.binary(max_size=400), st.lists(st.integers(0, 1000), max_size=4))
def test_any_bytes_end_in_messages_or_a_failure(data: bytes, cuts: list[int]) -> None:
    """Whatever a server sends raises nothing."""
    _, client = by_us(data, cuts)
    assert client.failure is None or client.failure.startswith("the server ")


@given(payloads)
def test_a_frame_of_ours_is_read_by_a_server(payload: bytes) -> None:
    assert unmasked(masked_text(payload)) == [payload]


def test_split_stops_before_what_is_not_its_business() -> None:
    whole = Frame(Opcode.TEXT, b"42[1]").serialize(mask=False)
    for other in (b"\x89\x00", b"\x01\x01a", b"\x82\x01a", b"\xc1\x01a", b"\x81\x81maska", whole[:-1], b"\x81", b""):
        assert split(whole + whole + other) == ([b"42[1]", b"42[1]"], 2 * len(whole))


def test_a_refused_handshake_says_with_what_status() -> None:
    client = FrameClient(URI)
    assert client.feed(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") == []
    assert client.failure is not None
    assert "400" in client.failure


def test_an_endless_answer_to_the_handshake_is_a_failure() -> None:
    client = FrameClient(URI)
    client.feed(b"HTTP/1.1 101 OK\r\n" + b"X: y\r\n" * 20_000)
    assert client.failure == "the answer to the WebSocket handshake is too long"


def test_a_close_is_reported_with_its_code() -> None:
    seen, client = by_us(Frame(Opcode.CLOSE, b"\x03\xf0bye").serialize(mask=False), [])
    assert client.failure == "the server closed the WebSocket: 1008 (policy violation) bye"
    assert seen.sent  # the close is answered


def test_a_frame_beyond_the_bound_is_a_failure_before_it_has_arrived() -> None:
    _, client = by_us(b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), [])
    assert client.failure is not None
    assert "protocol" in client.failure


def test_closing_sends_code_1000_and_after_the_servers_close_nothing() -> None:
    _, client = by_us(b"", [])
    assert unmasked(client.close()) == [b"\x03\xe8"]
    _, client = by_us(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False), [])
    assert client.close() == b""
