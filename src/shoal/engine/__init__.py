"""Engine.IO sessions: their table, one connection, its heartbeat, and what carries it, a WebSocket or long-polling.

Nothing here knows Socket.IO, rooms or handlers, nor the server that the bytes come from: :mod:`shoal.asgi` and
:mod:`shoal.fastlane` bring them. What arrives is handed up to a connection's receiver; what is sent comes
down through its outbox.
"""
