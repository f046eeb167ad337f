"""Opens listening sockets: a port of one process, a port that several share, a Unix socket.

Each that cannot be opened is one clear error before anything starts. Who accepts from them is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator

from ..errors import ConfigurationError

__all__ = ["BACKLOG", "listen", "listen_unix", "reserve"]

BACKLOG = 2048
ANYBODY = 0o666
"""Who may connect to a new Unix socket, as uvicorn has it: a proxy runs as another user."""


@contextlib.contextmanager
def listen(host: str, port: int, *, shared: bool = False) -> Iterator[socket.socket]:
    """Listen on a port for the length of the block; 0 is any free one. ``shared``: others may too, by SO_REUSEPORT.

    Raises:
        ConfigurationError: The address is in use, or none of this machine's.
    """
    with _bound(host, port, shared=shared) as listener:
        try:
            listener.listen(BACKLOG)
        except OSError as error:
            raise _failed(f"{host}:{port}", error) from error
        yield listener


@contextlib.contextmanager
def reserve(host: str, port: int) -> Iterator[None]:
    """Hold a port for those who share it, so that it stays theirs while none of them runs. Nothing can connect.

    Raises:
        ConfigurationError: The address is in use, by others who share it too, or none of this machine's.
    """
    with _bound(host, port, shared=False):
        pass  # with SO_REUSEPORT it would not be refused beside somebody else's
    with contextlib.ExitStack() as stack:
        try:
            # Without SO_REUSEADDR: with it on both sides the bind above succeeds beside this socket, which does not
            # listen, and two commands would share the port.
            stack.enter_context(_bound(host, port, shared=True, again=False))
        except ConfigurationError:  # connections of a server that has just ended
            stack.enter_context(_bound(host, port, shared=True))
        yield


@contextlib.contextmanager
def _bound(host: str, port: int, *, shared: bool, again: bool = True) -> Iterator[socket.socket]:
    """``again``: also while the system keeps connections of a server before, by SO_REUSEADDR."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, again)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise _failed(f"{host}:{port}", error) from error
        listener.setblocking(False)
        yield listener


@contextlib.contextmanager
def listen_unix(path: str) -> Iterator[socket.socket]:
    """Listen on a Unix socket for the length of the block. The file is removed at its end.

    One that is left there, and that nobody listens at, is replaced; its permissions stay.

    Raises:
        ConfigurationError: Somebody listens there, there is another file, or no socket can be made there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        permissions = _clear(path)
        try:
            listener.bind(path)
            os.chmod(path, permissions)
            made = os.stat(path)
            listener.listen(BACKLOG)
        except OSError as error:
            raise _failed(path, error) from error
        listener.setblocking(False)
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(made, os.stat(path)):  # else it is a later server's
                    os.unlink(path)


def _clear(path: str) -> int:
    """Remove a socket that nobody listens at. Returns the permissions that the new one gets."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ANYBODY
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"cannot listen on {path}: it is no socket, and stays as it is")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            return stat.S_IMODE(mode)
        except OSError as error:
            raise _failed(path, error) from error
    raise ConfigurationError(f"cannot listen on {path}: another server listens there")


def _failed(where: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"cannot listen on {where}: {getattr(error, 'strerror', None) or error}")
