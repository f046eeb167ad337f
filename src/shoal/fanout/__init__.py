"""The hot path from one emit to many connections: who is in a room, what waits for whom, one write a turn.

Nothing below knows Socket.IO's packets, handlers, transports or brokers. What it moves is encoded already.
"""
