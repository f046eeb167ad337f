"""What application code holds: the server, its namespaces, sockets, broadcasts and handlers.

Nothing below reads a socket of the operating system or speaks to a broker: bytes come from :mod:`shoal.asgi` and
:mod:`shoal.fastlane`, other nodes are reached through :mod:`shoal.adapter`.
"""
