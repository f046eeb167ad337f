"""Bytes to sessions: Engine.IO over long-polling and WebSockets, on any ASGI server and on uvicorn's fast lane.

Nothing below knows Socket.IO, rooms or handlers. What arrives is handed up through three callbacks of a connection;
what is sent comes down through its outbox.
"""
