"""The application of the Socket.IO v5 protocol tests: echoes events, acks what it got, and tells the auth payload.

The protocol suites ask for a ping timeout of a second. Tests that are not about it may ask for more patience.
"""

import os

from shoal import Server

io = Server(
    node=os.environ.get("SUITE_NODE", "suite"),
    broker=os.environ.get("SUITE_BROKER", "memory://"),
    ping_interval=0.3,
    ping_timeout=float(os.environ.get("SUITE_PING_TIMEOUT", "1.0")),
    connect_timeout=2.0,
    max_payload=1_000_000,
)
custom = io.of("/custom")


@io.on("connect")
def connect(socket):
    socket.emit("auth", socket.handshake.auth)


@io.on("message")
def message(socket, *args):
    socket.emit("message-back", *args)


@io.on("message-with-ack")
def message_with_ack(socket, *args):
    return args


@custom.on("connect")
def connect_custom(socket):
    socket.emit("auth", socket.handshake.auth)
