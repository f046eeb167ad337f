"""Reads a file of environment variables, with the package that uvicorn uses for it."""

from __future__ import annotations

from ..errors import ConfigurationError

__all__ = ["load_environment"]


def load_environment(path: str) -> None:
    """Put the variables of a file into the environment. Those that are set already stay.

    Raises:
        ConfigurationError: There is no such file, or python-dotenv is not installed.
    """
    try:
        from dotenv import load_dotenv  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise ConfigurationError("--env-file needs python-dotenv: run pip install 'shoal[dotenv]'") from error
    try:
        with open(path, encoding="utf-8") as file:
            load_dotenv(stream=file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"cannot read --env-file {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
