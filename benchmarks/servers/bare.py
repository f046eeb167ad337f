"""What a Python process can do at most: `python bare.py PORT`. For comparison beside the server in C.

One room, and one `os.write` per client and text, out of a list of descriptors. No session, no heartbeat, no bound, no
second event; a client that does not read makes it raise. Nobody should build on it: `os.write` lets go of the
interpreter's lock each time, so that any busy thread holds up every single write.
"""

import asyncio
import os
import re
import sys
from base64 import b64encode
from collections import deque
from hashlib import sha1
from itertools import repeat

import orjson
import uvloop
from websockets.speedups import apply_mask

OPEN = b'0{"sid":"bare","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
KEY = re.compile(rb"(?i)\nSec-WebSocket-Key: *([^\r ]+)")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
NOTHING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NODE = os.environ.get("SHOAL_NODE", "bare")
members: list[int] = []


def frame(payload: bytes) -> bytes:
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + payload


class Client(asyncio.Protocol):
    open = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if not self.open:
            self.open = True
            if key := KEY.search(data):
                self.transport.write(ACCEPT % b64encode(sha1(key[1] + GUID).digest()) + frame(OPEN))
            else:
                self.transport.write(NOTHING)
                self.transport.close()
            return
        while data:
            size, begin = data[1] & 127, 2
            if size == 126:
                size, begin = int.from_bytes(data[2:4], "big"), 4
            end = begin + 4 + size
            if data[0] == 0x81:
                self.take(apply_mask(data[begin + 4 : end], data[begin : begin + 4]))
            data = data[end:]

    def take(self, packet: bytes) -> None:
        if packet == b"40":
            self.transport.write(frame(b'40{"sid":"bare"}'))
            members.append(self.descriptor)
        elif packet.startswith(b"42["):
            text = frame(b"42" + orjson.dumps(["chat-message", f"{NODE}: {orjson.loads(packet[2:])[1]}"]))
            deque(map(os.write, members, repeat(text)), maxlen=0)

    def connection_lost(self, error: Exception | None) -> None:
        if self.descriptor in members:
            members.remove(self.descriptor)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
