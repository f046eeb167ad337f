"""The command line: up, serve, emit, balancer and their friends. The only part of Shoal that prints.

Every command is a module of its own that imports what it runs only when it runs, so that ``shoal --help`` is quick.
"""

from .app import main

__all__ = ["main"]
