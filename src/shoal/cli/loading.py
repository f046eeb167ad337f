"""From ``module:attribute`` to an ASGI application.

Imports a module and checks that the attribute can be called as one; a factory is called, nothing else is run.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from ..errors import ConfigurationError

__all__ = ["load_app"]


def load_app(target: str, *, factory: bool = False, app_dir: str = "") -> Any:
    """Import ``target`` from a folder or from what is installed, and return it. Options are uvicorn's.

    Args:
        target: ``module:attribute``; the attribute may have dots.
        factory: The attribute is a function without arguments that makes the application.
        app_dir: The folder to import from; empty: the working directory.

    Raises:
        ConfigurationError: There is no such module or attribute, importing it failed, or it is no ASGI application.
    """
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ConfigurationError(f"cannot load {target!r}: write module:attribute, as in app:io")
    folder = os.path.abspath(app_dir)
    if not os.path.isdir(folder):
        raise ConfigurationError(f"cannot load {target}: there is no folder {app_dir}")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found = _find(target, _import(target, module), attribute)
    if factory:
        return _check_shape(f"what {target} returns", _call(target, found))
    return _check_shape(target, found)


def _import(target: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise ConfigurationError(f"cannot load {target}: there is no module {error.name!r} here") from error
        raise _failed(target, error) from error
    except (Exception, SystemExit) as error:  # importing runs the application's code: anything may arrive
        raise _failed(target, error) from error


def _failed(target: str, error: BaseException) -> ConfigurationError:
    reason = traceback.format_exception_only(error)[-1].strip()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    frames = [f for f in frames if f.filename != __file__]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return ConfigurationError(f"cannot load {target}: {reason}{place}")


def _find(target: str, module: ModuleType, attribute: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigurationError(f"cannot load {target}: {module.__name__} has no {attribute!r}") from error
    return found


def _call(target: str, factory: Any) -> Any:
    if not callable(factory):
        raise ConfigurationError(f"{target} is no factory: it is {_describe(factory)}")
    if not _takes(factory, 0):
        raise ConfigurationError(f"{target} is no factory: it is {_describe(factory)} that wants arguments")
    try:
        return factory()
    except (Exception, SystemExit) as error:  # the application's code, too
        raise _failed(target, error) from error


def _check_shape(target: str, app: Any) -> Any:
    """An ASGI 3 application is called with scope, receive and send."""
    problem = f"{target} is no ASGI application: it is {_describe(app)}"
    if not callable(app) or inspect.isclass(app):
        raise ConfigurationError(problem)
    if not _takes(app, 3):
        hint = "; if it makes one, add --factory" if _takes(app, 0) else ""
        raise ConfigurationError(f"{problem} that does not take scope, receive and send{hint}")
    return app


def _takes(function: Any, count: int) -> bool:
    """Whether a function can be called with so many positional arguments."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # written in C: there is nothing to look at
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _describe(thing: Any) -> str:
    if inspect.isclass(thing):
        return f"the class {thing.__name__}, not an instance of it"
    if inspect.isfunction(thing):
        return f"the function {thing.__name__}"
    kind = type(thing).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
