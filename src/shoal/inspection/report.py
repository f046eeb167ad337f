"""What an application would serve, as plain data: its endpoint, broker, namespaces and options, and what is odd.

``docs/reference/cli.md`` describes the keys of :meth:`Report.as_dict`, which stay as they are.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .. import Server
from ..bus.base import label_of
from ..http.client_files import DIRECTORY
from ..server.outline import Function, NamespaceOutline, outline, outline_engine
from ..settings import EngineSettings
from .applications import Found, better_target, describe, find
from .broker import BrokerState, reach
from .findings import Finding, Subject, comes_from, findings

__all__ = ["ChangedOption", "Report", "examine"]

MINIFIED: Final = "socket.io.min.js"


@dataclass(frozen=True, slots=True)
class ChangedOption:
    """An option that is not what it is by default."""

    name: str
    value: Any
    default: Any
    source: str
    """``environment``, or ``code``."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known of an application that was loaded and not run. Of one without a server most is empty."""

    target: str
    kind: str
    """``server``, ``engine``, or ``none``."""
    endpoint: str | None = None
    transports: tuple[str, ...] = ()
    parser: str | None = None
    client: str | None = None
    """Where the browser client is served; ``None`` if it is not."""
    client_source: str | None = None
    """``here``, or ``public copy``, where browsers are sent if this installation has no copy."""
    behind: str | None = None
    """The application that gets what is not the server's own."""
    node: str | None = None
    """Its name, if it was given one; ``shoal serve`` gives it the port otherwise."""
    recovery: bool | None = None
    broker: BrokerState | None = None
    namespaces: tuple[NamespaceOutline, ...] = ()
    engine_handlers: tuple[Function, ...] = ()
    """Of the engine's own events, and for handshakes."""
    options: tuple[ChangedOption, ...] = ()
    problems: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are no problems. Notes do not count."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "target": self.target,
            "ok": self.ok,
            "error": None,
            "kind": self.kind,
            "endpoint": self.endpoint,
            "transports": [*self.transports],
            "parser": self.parser,
            "client": self.client,
            "client_source": self.client_source,
            "behind": self.behind,
            "node": self.node,
            "recovery": self.recovery,
            "broker": None if self.broker is None else dataclasses.asdict(self.broker),
            "namespaces": [_namespace_as_dict(namespace) for namespace in self.namespaces],
            "engine_handlers": [_function_as_dict(function) for function in self.engine_handlers],
            "options": [dataclasses.asdict(option) for option in self.options],
            "problems": [{"code": one.code, "message": one.message} for one in self.problems],
            "notes": [{"code": one.code, "message": one.message} for one in self.notes],
        }


def _namespace_as_dict(namespace: NamespaceOutline) -> dict[str, Any]:
    return {
        "name": namespace.name,
        "dynamic": namespace.dynamic,
        "class": namespace.kind,
        "middleware": [_function_as_dict(function) for function in namespace.middleware],
        "handlers": [_function_as_dict(function) for function in namespace.handlers],
        "server_handlers": [_function_as_dict(function) for function in namespace.server_handlers],
    }


def _function_as_dict(function: Function) -> dict[str, Any]:
    found = dataclasses.asdict(function)
    found["async"] = found.pop("is_async")
    return found


async def examine(
    target: str,
    app: Any,
    warned: Sequence[warnings.WarningMessage] = (),
    *,
    timeout: float = 2.0,
    ignore: Collection[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Report:
    """Look at an application, and try its broker.

    Args:
        target: What it was loaded from, ``module:attribute``.
        app: The application.
        warned: Shoal's warnings while it was loaded.
        timeout: Seconds that the broker may take.
        ignore: Codes of findings that are meant to be so.
        environment: Where ``SHOAL_*`` variables are.
    """
    servers = find(app)
    server = servers[0].server if servers else None
    broker = await reach(server.settings.broker, timeout) if isinstance(server, Server) else None
    namespaces = outline(server) if isinstance(server, Server) else []
    engine = None if server is None else server.engine if isinstance(server, Server) else server
    handlers = [] if engine is None else outline_engine(engine)
    options = [] if server is None else _changed(server.settings, environment)
    subject = Subject(
        target=target,
        app=app,
        found=servers,
        better_target=better_target(app, target),
        namespaces=namespaces,
        engine_handlers=handlers,
        broker=broker,
        changed=frozenset(option.name for option in options),
        warnings=warned,
        environment=environment,
    )
    odd = [finding for finding in findings(subject) if finding.code not in ignore]
    report = Report(
        target=target,
        kind="none",
        broker=broker,
        namespaces=tuple(namespaces),
        engine_handlers=tuple(handlers),
        options=tuple(options),
        problems=tuple(finding for finding in odd if finding.is_problem),
        notes=tuple(finding for finding in odd if not finding.is_problem),
    )
    return _with_server(report, servers[0]) if servers else report


def _with_server(report: Report, found: Found) -> Report:
    server, settings = found.server, found.server.settings
    report = dataclasses.replace(
        report,
        kind="engine",
        endpoint=found.endpoint,
        transports=settings.transports,
        behind=None if found.behind is None else describe(found.behind),
    )
    if not isinstance(server, Server):
        return report
    served = server.settings.serve_client
    return dataclasses.replace(
        report,
        kind="server",
        parser=server.settings.parser,
        client=found.endpoint + MINIFIED if served else None,
        client_source=("here" if (DIRECTORY / MINIFIED).is_file() else "public copy") if served else None,
        node=server.settings.node or None,
        recovery=server.settings.recovers,
    )


def _changed(settings: EngineSettings, environment: Mapping[str, str]) -> list[ChangedOption]:
    """The options that are not what they are by default, as far as they may be shown."""
    found = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value != field.default:
            source = "environment" if comes_from(environment, settings, field.name) else "code"
            found.append(
                ChangedOption(field.name, label_of(value) if field.name == "broker" else value, field.default, source)
            )
    return found
