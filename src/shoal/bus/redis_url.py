"""A Redis URL, read once: where to connect, how to greet, and what to call the broker in a log.

The reading is redis-py's own, so that a URL means here what it means everywhere else. One of host, port and database
alone is read by a short cut: to import redis-py takes as long as to import Shoal. This module opens no connection.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from .base import label_of

__all__ = ["Command", "Endpoint"]

Command = tuple[bytes, ...]
"""The words of one command."""

CLIENT_NAME = "shoal"
_SECRETIVE = "cannot be read; reserved characters of a user or a password must be percent-encoded"
_OPTIONS = frozenset({"host", "port", "db", "username", "password", "client_name"})
_PLAIN = re.compile(r"redis://([a-z0-9.-]+)(?::([1-9][0-9]{0,4}))?(?:/([0-9]{1,9})?)?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One broker, as its URL describes it."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    login: tuple[Command, ...]
    """Commands that must succeed before anything else: AUTH and SELECT, where the URL asks for them."""
    client_name: str
    label: str
    """Scheme, host and port: never the password."""

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read a ``redis://`` or ``rediss://`` URL.

        Args:
            url: ``redis[s]://[[user][:password]@]host[:port][/db]``, with redis-py's ``ssl_*`` options and
                ``client_name`` in the query.

        Raises:
            ConfigurationError: The URL cannot be read, has an unknown option, or names a certificate that cannot be.
        """
        label = label_of(url)
        try:
            options = read_plainly(url) or read_by_driver(url)
            tls = _tls(options)
            host, port = _peer(options)
            client_name = str(options.get("client_name", CLIENT_NAME))
            client_name.encode()  # what the environment holds may be no text
            login = _login(options)
        except (ValueError, TypeError, OSError) as error:
            if set("/?#") & set(
                url.partition("://")[2].rpartition("@")[0]
            ):  # the error may quote a part of the password
                raise ConfigurationError(f"broker {label}: {_SECRETIVE}") from None
            raise ConfigurationError(f"broker {label}: {error}") from error
        if unknown := sorted(set(options) - _OPTIONS):
            raise ConfigurationError(f"broker {label}: unknown option {unknown[0]!r} in the URL")
        if "db" not in options and urlsplit(url).path.strip("/"):
            raise ConfigurationError(f"broker {label}: {urlsplit(url).path!r} is no database number")
        return cls(host, port, tls, login, client_name, label)


def read_plainly(url: str) -> dict[str, Any] | None:
    """What :func:`read_by_driver` would return, or ``None`` where only that can tell."""
    plain = _PLAIN.fullmatch(url)
    if plain is None or int(plain[2] or 0) > 65535:
        return None
    options: dict[str, Any] = {"host": plain[1]}
    if plain[2]:
        options["port"] = int(plain[2])
    if plain[3]:
        options["db"] = int(plain[3])
    return options


def read_by_driver(url: str) -> dict[str, Any]:
    """The URL's parts under the names that redis-py has for them."""
    from redis.asyncio.connection import parse_url  # noqa: PLC0415 - slow

    return {**parse_url(url)}


def _peer(options: dict[str, Any]) -> tuple[str, int]:
    """Host and port. What no resolver and no socket takes would else be found at each attempt to connect."""
    host, port = str(options.get("host", "localhost")), int(options.get("port", 6379))
    host.encode("idna")
    if not host.isprintable():
        raise ValueError(f"{host!r} is no host name or address")
    if not 1 <= port <= 65535:
        raise ValueError(f"{port} is no port: use 1 to 65535")
    return host, port


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    """Take the ``ssl_*`` options out of ``options`` and make a context of them, as redis-py would."""
    chosen_class = options.pop("connection_class", None)
    if chosen_class is None:
        return None
    from redis.asyncio.connection import SSLConnection  # noqa: PLC0415 - slow
    from redis.exceptions import RedisError  # noqa: PLC0415 - slow

    if chosen_class is not SSLConnection:
        return None
    chosen = {name: options.pop(name) for name in list(options) if name.startswith("ssl_")}
    # redis-py 5 did not check the host's name unless asked to; 6 and later do.
    chosen.setdefault("ssl_check_hostname", chosen.get("ssl_cert_reqs") != "none")
    try:
        context: ssl.SSLContext = SSLConnection(**chosen).ssl_context.get()
    except RedisError as error:
        raise ValueError(str(error)) from error
    return context


def _login(options: dict[str, Any]) -> tuple[Command, ...]:
    commands: list[Command] = []
    username, password = options.get("username"), options.get("password")
    if username:
        commands.append((b"AUTH", username.encode(), (password or "").encode()))
    elif password:
        commands.append((b"AUTH", password.encode()))
    if options.get("db", 0) < 0:
        raise ValueError(f"{options['db']} is no database number")
    if options.get("db"):
        commands.append((b"SELECT", b"%d" % options["db"]))
    return tuple(commands)
