"""Engine.IO sessions on uvicorn's own connections: the way in of :mod:`shoal.asgi` for an order of magnitude less work.

Each step has a plain twin that it is tested to equal: the first bytes and the handshake uvicorn's HTTP, the WebSocket
`websockets` and :mod:`shoal.asgi.websocket_lane`, polling :mod:`shoal.asgi.polling`.
"""
