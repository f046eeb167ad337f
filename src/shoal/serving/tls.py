"""Looks at the files and numbers of TLS before anything starts: what is wrong with them is one clear error.

uvicorn makes the context that is used, from the same arguments. With them wrong it raises what OpenSSL says, which
names no file; and for an encrypted key without its password OpenSSL asks at the terminal, where a server has nobody.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from ..errors import ConfigurationError

__all__ = ["check_certificate"]

FILES: Final = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs")


def check_certificate(tls: Mapping[str, Any]) -> None:
    """Raise if TLS cannot be had with these arguments of :func:`shoal.serving.run.run`. An empty mapping is no TLS.

    Raises:
        ConfigurationError: A file is missing or does not fit the others, a key cannot be decrypted, a number is none.
    """
    if not tls:
        return
    if "ssl_certfile" not in tls:
        raise ConfigurationError(f"{next(iter(tls))} has no meaning without ssl_certfile")
    for name in FILES:
        try:
            if name in tls:
                with open(tls[name], "rb"):
                    pass
        except OSError as error:
            raise ConfigurationError(f"cannot read {name} {tls[name]}: {error.strerror}") from error
    try:
        _make(tls)
    except (OSError, ValueError) as error:  # OpenSSL's are OSErrors
        raise ConfigurationError(f"cannot serve TLS with {tls['ssl_certfile']}: {_reason(error, tls)}") from error


def _make(tls: Mapping[str, Any]) -> None:
    context = ssl.SSLContext(tls.get("ssl_version", ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(
        tls["ssl_certfile"], tls.get("ssl_keyfile"), lambda: str(tls.get("ssl_keyfile_password", ""))
    )
    context.verify_mode = ssl.VerifyMode(tls.get("ssl_cert_reqs", ssl.CERT_NONE))
    if "ssl_ca_certs" in tls:
        context.load_verify_locations(tls["ssl_ca_certs"])
    if "ssl_ciphers" in tls:
        context.set_ciphers(tls["ssl_ciphers"])


def _reason(error: Exception, tls: Mapping[str, Any]) -> str:
    """In words what OpenSSL says of the mistakes that are made most; of others what it says."""
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return "the key is of another certificate"
    if "PEM lib" in str(error):
        key = tls.get("ssl_keyfile", tls["ssl_certfile"])
        password = "does not open it" if "ssl_keyfile_password" in tls else "is not given"
        return (
            f"there is no certificate in it, or no key in {key}, or the key is encrypted and ssl_keyfile_password "
            f"{password}"
        )
    return getattr(error, "strerror", None) or str(error.args[0] if error.args else error)
