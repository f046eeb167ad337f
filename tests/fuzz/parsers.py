"""Targets without I/O: packets, messages, options and addresses.

What is decoded is encoded and decoded again, and must be the same; what has a second reader is read by that too.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from typing import Any

import orjson
from tests.fuzz.harness import target

from shoal.bus.redis_url import Endpoint
from shoal.cluster import messages
from shoal.engine.base import BaseEngine
from shoal.errors import BrokerError, ConfigurationError, EngineProtocolError, SocketProtocolError
from shoal.http.request import Request, is_secure, is_trusted, trusted_address
from shoal.local.address import Address, parse_address
from shoal.local.balancer import PRODUCTION, balancer_conf
from shoal.local.upstreams import Upstream, parse_upstreams
from shoal.protocol import engineio, msgpack, socketio
from shoal.protocol.frames import apply_mask, binary_frame, parse_header, text_frame
from shoal.settings import EngineSettings, ServerSettings

DEPTH = 64
LIMITS = socketio.Limits(attachments=10, attachment_bytes=1000, depth=DEPTH)
ROOMY = socketio.Limits(attachments=10_000, attachment_bytes=1 << 30, depth=DEPTH)
ATTACHMENT = b"\n--\n"
"""Parts the text of a Socket.IO packet from its attachments, in a seed."""


@target(EngineProtocolError, mutations=6000)
def engineio_payload(data: bytes) -> None:
    """The body of a polling request."""
    packets = engineio.decode_payload(data, 100)
    assert 0 < len(packets) <= 100
    again = engineio.encode_payload(packets)
    assert engineio.decode_payload(again, 100) == packets
    assert len(again) <= sum(engineio.payload_size(p) * (1 if isinstance(p, bytes) else 4) for p in packets) + 4


@target(EngineProtocolError, mutations=1500)
def engineio_base64(data: bytes) -> None:
    """A binary message that came as text."""
    message = engineio.binary_from_text("b" + data.decode("utf-8", "replace"))
    assert engineio.binary_from_text(engineio.binary_as_text(message)) == message


@target(SocketProtocolError, mutations=10000)
def socketio_packet(data: bytes) -> None:
    """A packet and its attachments."""
    text, *attachments = data.split(ATTACHMENT)
    decoder = socketio.Decoder(LIMITS)
    packet = decoder.feed_text(text)
    for attachment in attachments:
        assert (packet is None) == decoder.waiting
        packet = decoder.feed_binary(attachment)
    if packet is None:
        return
    assert packet.type in (socketio.CONNECT, socketio.DISCONNECT, socketio.EVENT, socketio.ACK, socketio.CONNECT_ERROR)
    assert packet.namespace.startswith("/")
    assert deepest(packet.data) <= DEPTH
    assert packet.id is None or 0 <= packet.id < 10**16
    assert same(socketio_again(packet), packet), packet


def socketio_again(packet: socketio.Packet) -> socketio.Packet | None:
    text, attachments = socketio.encode(packet.type, packet.namespace, packet.data, packet.id)
    decoder = socketio.Decoder(ROOMY)
    again = decoder.feed_text(text[1:])
    for attachment in attachments:
        again = decoder.feed_binary(attachment)
    return again


@target(SocketProtocolError, mutations=6000)
def json_text(data: bytes) -> None:
    """JSON of a peer: a reader that is not ours agrees, but for half characters."""
    value = socketio.loads(data, DEPTH)
    assert deepest(value) <= DEPTH
    assert same(orjson.loads(orjson.dumps(value)), value)
    other = json.loads(data.decode(), parse_int=float)
    assert isinstance(value, type(other)) or (isinstance(value, int) and isinstance(other, float))


@target(SocketProtocolError, mutations=10000)
def msgpack_packet(data: bytes) -> None:
    """A packet of the msgpack parser."""
    packet = msgpack.decode(data, DEPTH)
    assert packet.namespace.startswith("/")
    assert deepest(packet.data) <= DEPTH
    text, [again] = msgpack.encode(packet.type, packet.namespace, packet.data, packet.id)
    assert text == b""
    assert same(msgpack.decode(again, DEPTH), packet), packet


@target(mutations=4000)
def frame_header(data: bytes) -> None:
    """The sizes in a frame's header, and the mask."""
    for start in range(min(4, len(data))):
        sizes = parse_header(data, start)
        if sizes is None:
            assert len(data) - start < 14
            continue
        header, length = sizes
        assert 2 <= header <= 14
        assert 0 <= length < 1 << 64
        if data[start + 1] & 128:
            mask, body = data[start + header - 4 : start + header], data[start + header :][:length]
            assert apply_mask(apply_mask(body, mask), mask) == body
    for build in (text_frame, binary_frame):
        frame = build(data)
        assert parse_header(frame, 0) == (len(frame) - len(data), len(data))


ENGINE: BaseEngine[Any] = BaseEngine(EngineSettings(cors_origins=("http://a",)), lambda connection: None)


@target(mutations=1500)
def http_request(data: bytes) -> None:
    """A request's query, headers and forwarded address. The first line is the query; nothing is refused here."""
    query, _, block = data.partition(b"\r\n")
    request = Request("GET", "/socket.io/", query, block, "127.0.0.1", False)
    for table in (request.headers, request.query):
        assert all(type(name) is type(value) is str for name, value in table.items())
    assert len(request.query) <= 101
    assert request.wants_base64 in (True, False)
    assert "," not in (request.subprotocol or "")
    assert request.url.startswith("/socket.io/")
    for proxies in (("127.0.0.1", "10.0.0.0/8", "fd00::/8"), ("*",), ()):
        address = trusted_address(request, proxies)
        assert is_trusted(address, proxies) in (True, False)
        assert proxies or address == "127.0.0.1"
        assert is_secure(request, proxies) in (True, False)
    for refusal in (ENGINE.admission.check_websocket(request), ENGINE.admission.check_origin(request)):
        assert refusal is None or 400 <= refusal.status < 500
    before = request.headers, request.query
    request.forget()
    assert (request.headers, request.query) == before


@target(BrokerError, mutations=10000)
def cluster_message(data: bytes) -> None:
    """What a node publishes."""
    message = messages.decode(data)
    again = messages.encode(message)
    assert messages.encode(messages.decode(again)) == again
    assert again.startswith(messages.sender_prefix(message.sender)[:1])
    for envelope in message.envelopes:
        if isinstance(envelope, messages.Broadcast):
            channel = messages.channel_of("shoal", envelope.namespace, envelope.rooms)
            assert channel.startswith("shoal#")


@target(ConfigurationError, mutations=800)
def redis_url(data: bytes) -> None:
    """The broker's URL, as the environment gives it: any bytes. Files of certificates are left alone."""
    url = data.decode("utf-8", "surrogateescape")
    if "ssl" in url.lower() or "%" in url.partition("?")[2]:
        return
    endpoint = Endpoint.parse(f"redis://{url}")
    assert 0 <= endpoint.port <= 65535
    assert "\0" not in endpoint.host
    endpoint.client_name.encode()
    assert all(type(word) is bytes for command in endpoint.login for word in command)
    assert "@" not in endpoint.label


@target(ConfigurationError, mutations=3000)
def addresses(data: bytes) -> None:
    """Addresses as operators write them: what is accepted cannot leave its line of a balancer's configuration."""
    text = data.decode("utf-8", "surrogateescape")
    found = parse_upstreams(text)
    assert len({server.name for server in found}) == len(found)
    for address in [server.address for server in found]:
        assert 1 <= address.port <= 65535
        assert re.fullmatch(r"[A-Za-z0-9._:-]+", address.host)
        assert parse_address(str(address)) == address
        assert isinstance(address.reachable, Address)
    plain = replace(PRODUCTION, servers=tuple(_plain(number, server) for number, server in enumerate(found)))
    setup = replace(PRODUCTION, servers=found)
    for product in ("nginx", "haproxy"):
        conf = balancer_conf(product, setup)
        for sign in "{};#\n":
            assert conf.count(sign) == balancer_conf(product, plain).count(sign)


def _plain(number: int, server: Upstream) -> Upstream:
    """A server without surprises, for which the same lines are written."""
    name = f"n{number}" if server.routable else f"n.{number}"
    return Upstream(name, Address("ws" if server.address.is_name else "127.0.0.1", 1))


@target(ConfigurationError, mutations=800)
def environment(data: bytes) -> None:
    """Options from ``SHOAL_`` variables, a line each."""
    pairs = [line.partition("=") for line in data.decode("utf-8", "surrogateescape").split("\n")]
    variables = {f"SHOAL_{name}": value for name, _, value in pairs}
    settings = ServerSettings.load({}, variables)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.type in ("int", "float"):
            assert 0 <= value < math.inf
            assert type(value) is int or field.type == "float"
    assert settings.path.startswith("/")
    assert settings.path.endswith("/")
    for address in ("127.0.0.1", "::1", "nonsense"):
        assert is_trusted(address, settings.trusted_proxies) in (True, False)


def deepest(value: Any) -> int:
    """How deep lists and dicts are nested."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, list | dict)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def same(one: Any, other: Any) -> bool:
    """Equal, where a number that is none equals itself."""
    return bool(one == other) or repr(one) == repr(other)
