"""Engine.IO v4 and Socket.IO v5 without any I/O: bytes to packets and back, and the states of one session.

Nothing below imports asyncio, opens a socket, reads a clock or draws a random number. Time is always an argument. A bad
peer becomes one of our errors, never a stray exception.
"""
