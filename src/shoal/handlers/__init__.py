"""How an application's functions are registered and run: tables, a socket's own listeners, runners, rates.

Nothing here knows a socket, a namespace or a packet.
"""
