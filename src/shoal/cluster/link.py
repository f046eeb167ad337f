"""This node's link to the others: it publishes what is sent here and receives what is sent there, where it must.

A room's channel is subscribed while the room has a member on this node. Publishes of one turn of the loop to the same
channel travel as one message, in order. The link knows channels and rooms by name; who is in them is not its business.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import structs

from ..bus.base import Bus
from ..errors import BrokerError, ConfigurationError
from .gathering import GATHERING_TIME, Gathering
from .messages import (
    ID_LENGTH,
    TAG_LENGTH,
    Broadcast,
    Claimed,
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
    sender_prefix,
)
from .peers import Peers
from .requests import Requests

__all__ = ["Link"]

AnyEnvelope = Broadcast | Hello | Leave | Request | Reply | Claimed

log: Final = logging.getLogger("shoal.cluster")

# A turn that publishes more than this sends at once, so that one message stays far below what a broker takes.
FLUSH_SIZE: Final = 256 * 1024
NOT_HERE: Final = (
    "this server does not run here; a program that serves no clients, such as a Celery worker or a management command, "
    "takes shoal.Emitter or shoal.SyncEmitter"
)


class Link:
    """The link of one node.

    Args:
        bus: Carries the channels.
        tag: This node's tag, which its sockets' ids begin with.
        node: This node's name.
        prefix: First part of every channel.
        deliver: Takes broadcasts of other nodes.
        on_state: Told when the link comes up and goes down.
    """

    def __init__(
        self,
        bus: Bus,
        tag: str,
        node: str,
        prefix: str,
        deliver: Callable[[Broadcast], None],
        on_state: Callable[[bool], None],
    ) -> None:
        self.bus: Bus = bus
        self.tag = tag
        self.prefix = prefix
        self._own = sender_prefix(tag)
        self._deliver = deliver
        self._on_state = on_state
        self._rooms: Counter[str] = Counter()
        """Channels that are subscribed for rooms, with how many rooms each."""
        self._namespaces: set[str] = set()
        self._unconfirmed: set[str] = set()
        self._outgoing: list[tuple[str, str, list[AnyEnvelope]]] = []
        """Channel, name of the log if it has one, and envelopes."""
        self._size = 0
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._warned = False
        """Of something sent while the link was not started."""
        self.peers: Peers = Peers(tag, Hello(node), self._send_to_all)
        self.requests: Requests = Requests(self.peers, self._send_to_all, self._reply)
        self._gathering = Gathering(self._all_are_there)
        self._number = 0
        """Of the last message."""
        self._heard: dict[str, int] = {}
        """Numbers of the last messages of other nodes: after a lost link a node repeats what may not have arrived."""
        self.unreadable: int = 0
        """Messages that were no message of a node."""
        self.received: int = 0
        """Envelopes of other nodes."""
        self.published: int = 0
        """Envelopes published."""
        self.repeated: int = 0
        """Messages that came once more, and were ignored."""

    @property
    def up(self) -> bool:
        """Whether the broker can be reached."""
        return self.bus.up

    async def start(self) -> None:
        """Connect; returns after the first attempt, whatever came of it."""
        self._loop = asyncio.get_running_loop()
        self.bus.subscribe(cluster_channel(self.prefix))
        self.bus.subscribe(reply_channel(self.prefix, self.tag))
        await self.bus.start(self._receive, self._changed)
        self.peers.start()

    async def close(self) -> None:
        """Send what waits, as far as the broker takes it, and let go of it."""
        self._gathering.cancel()
        await self.peers.close()
        await self.requests.close()
        self._send_to_all(Leave())
        self._flush()
        await self.bus.close()
        self._loop = None

    def replace_bus(self, bus: Bus) -> None:
        """Use another bus, after the end of the one before. No room has members."""
        self.bus = bus
        self._rooms.clear()
        self._unconfirmed.clear()
        for namespace in self._namespaces:
            self.open_namespace(namespace)

    def _changed(self, up: bool) -> None:
        if up:
            self._unconfirmed.clear()  # every subscription is placed
            self._gather()
        else:
            self._gathering.cancel()
        self.peers.link_changed(up)
        self._on_state(up)

    def _gather(self) -> None:
        """Let what waits for the broker wait for the nodes known before, too: the broker keeps nothing for them."""
        if nodes := self.peers.names():
            self.bus.hold()
            self._gathering.begin(nodes)
            self._send_hello(cluster_channel(self.prefix), asks=True)

    def _all_are_there(self, missing: list[str]) -> None:
        count = self.bus.release()
        if missing and count:
            self.bus.stats.unheard += count
            log.warning(
                "%s not back within %g s: %d messages that waited are published without",
                ", ".join(missing),
                GATHERING_TIME,
                count,
            )

    def _forget_gone(self) -> None:
        self._heard = {tag: number for tag, number in self._heard.items() if self.peers.knows(tag)}

    def _send_hello(self, channel: str, asks: bool = False, answers: bool = False) -> None:
        """Ahead of what waits, so it has no number."""
        hello = structs.replace(self.peers.hello, asks=asks, answers=answers)
        self.bus.publish_first(channel, encode(Message(self.tag, [hello])))

    # ---- receiving

    def open_namespace(self, namespace: str) -> None:
        """Receive what is sent to everyone in a namespace, to several rooms of it, and to this node's socket ids."""
        self._namespaces.add(namespace)
        self.bus.subscribe(channel_of(self.prefix, namespace, ()))
        self.bus.subscribe(node_channel(self.prefix, namespace, self.tag))

    def close_namespace(self, namespace: str) -> None:
        self._namespaces.discard(namespace)
        self.bus.unsubscribe(channel_of(self.prefix, namespace, ()))
        self.bus.unsubscribe(node_channel(self.prefix, namespace, self.tag))

    def open_room(self, namespace: str, room: str) -> None:
        """A room has its first member here."""
        channel = channel_of(self.prefix, namespace, (room,))
        self._rooms[channel] += 1
        if self._rooms[channel] == 1 and channel != node_channel(self.prefix, namespace, self.tag):
            self._unconfirmed.add(channel)
            self.bus.subscribe(channel)

    def close_room(self, namespace: str, room: str) -> None:
        """A room has lost its last member here."""
        channel = channel_of(self.prefix, namespace, (room,))
        self._rooms[channel] -= 1
        if self._rooms[channel] <= 0:
            del self._rooms[channel]
            self._unconfirmed.discard(channel)
            if channel != node_channel(self.prefix, namespace, self.tag):
                self.bus.unsubscribe(channel)

    def is_open(self, namespace: str, room: str) -> bool:
        """Whether messages to a room are received here, or will be before anything that is sent from now on."""
        channel = channel_of(self.prefix, namespace, (room,))
        return channel in self._rooms or channel == node_channel(self.prefix, namespace, self.tag)

    def is_elsewhere(self, room: str) -> bool:
        """Whether a room has the name of a socket of another node: its length, and that node's tag in front."""
        return len(room) == ID_LENGTH and self.peers.knows(room[:TAG_LENGTH])

    def is_confirmed(self, namespace: str, room: str) -> bool:
        """Whether messages to a room that was opened are sure to be received, or cannot be for now."""
        return not self.bus.up or channel_of(self.prefix, namespace, (room,)) not in self._unconfirmed

    async def confirm(self, namespace: str, rooms: Iterable[str], timeout: float) -> None:
        """Wait until the broker has confirmed rooms' channels, at most ``timeout`` seconds."""
        channels = [channel_of(self.prefix, namespace, (room,)) for room in rooms]
        if await self.bus.settled(timeout):
            self._unconfirmed.difference_update(channels)

    def _receive(self, channel: str, payload: bytes) -> None:
        if payload.startswith(self._own):
            return  # the broker sends us what we published ourselves
        try:
            message = decode(payload)
        except BrokerError:
            self.unreadable += 1
            log.debug("unreadable message on %s", channel, exc_info=True)
            return
        number = message.group
        if number:
            if number <= self._heard.get(message.sender, 0):
                self.repeated += 1
                return
            self._heard[message.sender] = number
        self.received += len(message.envelopes)
        for envelope in message.envelopes:
            if type(envelope) is Broadcast:
                self._deliver(envelope)
            else:
                self._take(message.sender, envelope)

    def _take(self, sender: str, envelope: AnyEnvelope) -> None:
        match envelope:
            case Hello():
                if not self.peers.knows(sender):
                    self._forget_gone()
                self.peers.hello_received(sender, envelope)
                if envelope.asks:
                    self._send_hello(reply_channel(self.prefix, sender), answers=True)
                if envelope.asks or envelope.answers:
                    self._gathering.heard(sender)
            case Leave():
                self.peers.node_left(sender)
                self._gathering.heard(sender)
                self._heard.pop(sender, None)
                self.requests.node_left(sender)
            case Request():
                self.requests.request_received(sender, envelope)
            case Reply():
                try:
                    self.requests.reply_received(sender, envelope)
                except BrokerError:
                    self.unreadable += 1
                    log.debug("unreadable answer of %s", sender, exc_info=True)

    # ---- sending

    def publish(self, broadcast: Broadcast) -> None:
        """Send a broadcast to the other nodes. It leaves at the end of this turn of the loop; it never waits."""
        self._size += len(broadcast.text) + sum(map(len, broadcast.attachments))
        self._send(channel_of(self.prefix, broadcast.namespace, broadcast.rooms), broadcast)

    def _send_to_all(self, envelope: AnyEnvelope) -> None:
        self._send(cluster_channel(self.prefix), envelope)

    def _reply(self, tag: str, reply: Reply) -> None:
        self._send(reply_channel(self.prefix, tag), reply)

    def _send(self, channel: str, envelope: AnyEnvelope, log: str = "") -> None:
        outgoing = self._outgoing
        # Only neighbours are joined: a node that receives two channels must get both in the order of the calls.
        if outgoing and outgoing[-1][0] == channel and outgoing[-1][1] == log:
            outgoing[-1][2].append(envelope)
        else:
            outgoing.append((channel, log, [envelope]))
        if self._size > FLUSH_SIZE:
            self._flush()
        elif not self._scheduled:
            (self._loop or self._early_loop()).call_soon(self._flush)
            self._scheduled = True

    def _early_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that runs here, while the link itself has none: what is sent then waits for the start."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._outgoing.clear()  # what this call put there; nothing is scheduled, so nothing else is
            self._size = 0
            raise ConfigurationError(f"nothing sent: {NOT_HERE}") from None
        if not self._warned:
            self._warned = True
            log.warning("an event waits for this server to start: %s", NOT_HERE)
        return loop

    def _flush(self) -> None:
        self._scheduled = False
        self._size = 0
        outgoing, self._outgoing = self._outgoing, []
        for channel, log_name, envelopes in outgoing:
            self.published += len(envelopes)
            try:
                self._put(channel, log_name, envelopes)
            except UnicodeEncodeError:  # a room's name with half a character in it: no other node can have such a one
                log.exception("a message on %r cannot be sent to other nodes", channel)

    def _put(self, channel: str, log_name: str, envelopes: list[AnyEnvelope]) -> None:
        self._number += 1
        self.bus.publish(channel, encode(Message(self.tag, envelopes, self._number)))
