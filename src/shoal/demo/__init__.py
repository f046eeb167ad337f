"""The scaled chat: what `shoal up` shows, and the smallest application that uses a cluster.

``io`` is its Socket.IO server, configured by ``SHOAL_*`` variables such as ``SHOAL_NODE`` and ``SHOAL_BROKER``; ``app``
is the same server with the page at ``/``, and what ``shoal serve shoal.demo:app`` runs. The package uses the public
API only, as any application would, and refuses to know how many servers there are or what starts them.
"""

from __future__ import annotations

from typing import Final

from shoal import Server

from .chat import open_chat
from .controls import Controls
from .page import Page

__all__ = ["app", "io"]

io: Final = Server()
_presence = open_chat(io)
app: Final = io.asgi(Page(_presence.publishing, _presence.gone, Controls.load()))
