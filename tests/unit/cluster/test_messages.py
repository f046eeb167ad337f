"""The envelopes of the native wire, and the channels that they travel on."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.messages import (
    Broadcast,
    Hello,
    Leave,
    Message,
    Reply,
    Request,
    channel_of,
    cluster_channel,
    decode,
    encode,
    node_channel,
    reply_channel,
)
from shoal.engine.ids import new_socket_id, new_tag
from shoal.errors import BrokerError

texts = st.text(max_size=10)
bodies = st.sampled_from([None, 1, "x", [1, {"a": b"b"}]]).map(lambda value: msgspec.Raw(msgspec.msgpack.encode(value)))
envelopes = st.one_of(
    st.builds(
        Broadcast,
        texts,
        st.lists(texts, max_size=3).map(tuple),
        st.lists(texts, max_size=2).map(tuple),
        st.binary(max_size=20),
        st.lists(st.binary(max_size=5), max_size=2),
        st.booleans(),
    ),
    st.builds(Hello, texts),
    st.just(Leave()),
    st.builds(Request, texts, texts, bodies, st.floats(0, 100)),
    st.builds(Reply, texts, bodies),
)


def plain(envelope: object) -> object:
    """Raw compares by identity: look at its bytes."""
    fields = msgspec.structs.astuple(envelope)  # type: ignore[arg-type]
    return type(envelope), tuple(bytes(field) if isinstance(field, msgspec.Raw) else field for field in fields)


@given(texts, st.lists(envelopes, max_size=4))
def test_a_message_survives_the_way(sender: str, sent: list[Broadcast]) -> None:
    received = decode(encode(Message(sender, sent)))
    assert received.sender == sender
    assert [plain(each) for each in received.envelopes] == [plain(each) for each in sent]


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_our_error(data: bytes) -> None:
    for payload in (data, b"\x92\xa1a\x91" + data, b"\x92\xa1a\x91\x97\x01" + data):
        try:
            message = decode(payload)
        except BrokerError:
            continue
        assert isinstance(message.sender, str)


@pytest.mark.parametrize(
    "value",
    [[], {}, 1, ["a"], ["a", [[9]]], ["a", [[1]]], ["a", [[1, "/", "r", [], b"", []]]], [1, []], ["a", [[4, "x"]]]],
)
def test_what_is_no_message_is_our_error(value: object) -> None:
    with pytest.raises(BrokerError, match="not a message of a node"):
        decode(msgspec.msgpack.encode(value))


def test_a_newer_node_may_say_more() -> None:
    """Fields at the end of an envelope, or of a message, are skipped: clusters are upgraded node by node."""
    message = ["tag", [[2, "name", "host:1", b"key", False, True, "and more"], [3]], 0, "and more"]
    assert decode(msgspec.msgpack.encode(message)).envelopes == [Hello("name", "host:1", b"key", answers=True), Leave()]


def test_an_older_node_says_less() -> None:
    """It tells no address: requests are not passed to it."""
    message = ["tag", [[2, "name"]], 0]
    assert decode(msgspec.msgpack.encode(message)).envelopes == [Hello("name", "", b"")]


class TestChannels:
    def test_a_room_has_its_own_and_several_share_the_namespaces(self) -> None:
        assert channel_of("p", "/", ("room",)) == "p#/#room#"
        assert channel_of("p", "/", ()) == channel_of("p", "/", ("a", "b")) == "p#/#"
        assert channel_of("p", "/n", ("room",)) != channel_of("p", "/", ("room",))

    def test_a_sockets_id_travels_to_its_node(self) -> None:
        """All ids of one node on one channel, which that node hears from the beginning."""
        tag = new_tag()
        for _ in range(20):
            assert channel_of("p", "/", (new_socket_id(tag),)) == node_channel("p", "/", tag)

    @given(st.text(min_size=20, max_size=20))
    def test_a_room_that_only_looks_like_an_id_has_a_channel_too(self, room: str) -> None:
        """That of its first characters: whoever is in it subscribes to that."""
        assert channel_of("p", "/", (room,)) == node_channel("p", "/", room[:6])

    @given(
        st.text(max_size=12).map("/".__add__), st.text(max_size=12), st.text(alphabet="abc_-", min_size=6, max_size=6)
    )
    def test_no_room_shares_a_channel_with_requests_or_everyone(self, namespace: str, room: str, tag: str) -> None:
        names = {channel_of("p", namespace, (room,)), channel_of("p", namespace, ())}
        assert not names & {cluster_channel("p"), reply_channel("p", tag)}
        assert len(names) == 2
