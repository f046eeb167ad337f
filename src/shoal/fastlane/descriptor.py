"""Which sockets the fan-out may write to by itself, past their transport: the conditions of its short cut.

``os.write`` on a socket does what its transport's ``write`` does, as long as the transport has nothing waiting and
knows when the socket will be closed. uvloop's TCP transport gives both: it tries to write at once, pauses its protocol
with the first byte that it keeps back once its limit is zero, and calls ``connection_lost`` before it closes the
descriptor (its ``handles/stream.pyx`` and ``handles/basetransport.pyx``, version 0.23). TLS, other loops and pipes have
made no such promise, and take the plain way.

The plain twin is the transport's ``write``. ``tests/contract/test_descriptor.py`` holds uvloop to these promises, and
``tests/unit/fanout/test_ticker.py`` compares what both ways deliver.
"""

from __future__ import annotations

import asyncio

__all__ = ["claim_descriptor"]


def claim_descriptor(transport: asyncio.Transport) -> int:
    """The descriptor that bytes may be written to while ``transport`` holds none, else -1.

    From now on its protocol is paused as soon as one byte waits, and resumed when none does.
    """
    kind = type(transport)
    if kind.__name__ != "TCPTransport" or kind.__module__ != "uvloop.loop":
        return -1
    transport.set_write_buffer_limits(high=0)
    return int(transport.get_extra_info("socket").fileno())
