"""From ``module:attribute`` to an ASGI application, and to the servers that there are then.

Imports a module and checks that the attribute can be called as one. It runs nothing.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from ..errors import ConfigurationError

__all__ = ["engines", "load_app", "servers"]

PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def load_app(target: str, *, directory: str = "", factory: bool = False) -> Any:
    """Import ``target`` from a directory or from what is installed, and return it.

    Args:
        target: ``module:attribute``; the attribute may have dots.
        directory: Default: the working directory.
        factory: What is found is called without arguments, and returns the application.

    Raises:
        ConfigurationError: There is no such module or attribute, importing it failed, or it is no ASGI application.
    """
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ConfigurationError(f"cannot load {target!r}: write module:attribute, as in app:io")
    place = os.path.abspath(directory)
    if not os.path.isdir(place):
        raise ConfigurationError(f"cannot load {target}: there is no directory {directory}")
    if place not in sys.path:
        sys.path.insert(0, place)
    found = _find(target, _import(target, module), attribute)
    return _check_shape(target, _make(target, found) if factory else found)


def _import(target: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise ConfigurationError(f"cannot load {target}: there is no module {error.name!r} here") from error
        raise _failed(target, error) from error
    except (Exception, SystemExit) as error:  # importing runs the application's code: anything may arrive
        raise _failed(target, error) from error


def _make(target: str, factory: Any) -> Any:
    if not callable(factory):
        raise ConfigurationError(f"{target} is no factory: it is {_describe(factory)}")
    try:
        inspect.signature(factory).bind()
    except ValueError:  # written in C
        pass
    except TypeError as error:
        raise ConfigurationError(
            f"{target} is no factory: it is {_describe(factory)} that wants arguments; an application itself needs no "
            "--factory"
        ) from error
    try:
        return factory()
    except (Exception, SystemExit) as error:  # it is the application's code
        raise _failed(target, error) from error


def _failed(target: str, error: BaseException) -> ConfigurationError:
    reason = traceback.format_exception_only(error)[-1].strip()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    frames = [f for f in frames if f.filename != __file__]
    if isinstance(error, ConfigurationError):  # its words are enough, and the mistake is where we were called
        reason = str(error)
        frames = [f for f in frames if not f.filename.startswith(PACKAGE)] or frames
    filename, line = (frames[-1].filename, frames[-1].lineno) if frames else ("", None)
    if isinstance(error, SyntaxError) and error.filename:  # what is wrong has not run
        filename, line = error.filename, error.lineno
    place = f" ({filename}, line {line})" if filename else ""
    return ConfigurationError(f"cannot load {target}: {reason}{place}")


def _find(target: str, module: ModuleType, attribute: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigurationError(f"cannot load {target}: {module.__name__} has no {attribute!r}") from error
    return found


def _check_shape(target: str, app: Any) -> Any:
    """An ASGI 3 application is called with scope, receive and send."""
    problem = f"{target} is no ASGI application: it is {_describe(app)}"
    if not callable(app) or inspect.isclass(app):
        raise ConfigurationError(problem)
    try:
        signature = inspect.signature(app)
    except (ValueError, TypeError):  # written in C: there is nothing to look at
        return app
    try:
        signature.bind(None, None, None)
    except TypeError as error:
        if inspect.isfunction(app) and not signature.parameters:
            raise ConfigurationError(
                f"{problem} that takes nothing: if it makes the application, say --factory"
            ) from error
        raise ConfigurationError(f"{problem} that does not take scope, receive and send") from error
    return app


def _describe(thing: Any) -> str:
    if inspect.isclass(thing):
        return f"the class {thing.__name__}, not an instance of it"
    if inspect.isfunction(thing):
        return f"the function {thing.__name__}"
    kind = type(thing).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def servers() -> list[Any]:
    """All servers in this process, wherever the application keeps them."""
    from ..server.server import Server  # noqa: PLC0415 - see the package's docstring

    return _instances(Server)


def engines() -> list[Any]:
    """All engines in this process that belong to no server."""
    from ..server.engine import Engine  # noqa: PLC0415 - see the package's docstring

    return _instances(Engine)


def _instances(kind: type) -> list[Any]:
    # By their types: an application may have objects that are made when they are asked for their class.
    return [found for found in gc.get_objects() if issubclass(type(found), kind)]
