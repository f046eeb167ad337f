"""The load tester behind ``shoal bench``: many Socket.IO clients in one process, and what they see.

It is a client like any other: it speaks the public protocol, and refuses to know any server's code, Shoal's included.
"""
