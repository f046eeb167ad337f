"""What is odd about an application: problems, which should be put right before it serves, and notes.

Each follows from a :class:`Subject`, which is all that is known. One that is not of use to nearly everybody who sees it
does not belong here. Codes are for programs and for ``--ignore``: they stay as they are.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConfigurationError
from ..server.outline import Function, NamespaceOutline
from ..settings import ENVIRONMENT_PREFIX, ROUTABLE_NAME, EngineSettings, ServerSettings
from .applications import Found, describe
from .broker import BrokerState

__all__ = ["Finding", "Subject", "comes_from", "findings", "findings_of_log"]

# Kubernetes gives every container these for a service that is called "shoal", or "shoal-broker".
OF_KUBERNETES: Final = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")
WORKERS: Final = "WEB_CONCURRENCY"
NEEDED_FOR_STREAMS: Final = (6, 2)
MILLISECONDS: Final = 1000.0  # seconds of a heartbeat from here on were meant as these


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is odd."""

    code: str
    message: str
    is_problem: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of an application."""

    target: str
    app: Any
    found: Sequence[Found]
    better_target: str | None
    namespaces: Sequence[NamespaceOutline]
    engine_handlers: Sequence[Function]
    broker: BrokerState | None
    changed: Collection[str]
    """Options that are not what they are by default."""
    warnings: Sequence[warnings.WarningMessage]
    """Of Shoal, while the application was loaded."""
    environment: Mapping[str, str]

    @property
    def settings(self) -> EngineSettings:
        """The server's options."""
        return self.found[0].server.settings


def findings(subject: Subject) -> list[Finding]:
    """All that is odd, in the order in which one would look at it."""
    found = [*_of_names(subject), *_of_environment(subject)]
    if subject.found:
        for look in (_of_ways, _of_handlers, _of_settings, _of_nodes, _of_unused, _of_debug):
            found += look(subject)
    else:
        found.insert(0, _no_server(subject))
    return found


def _no_server(subject: Subject) -> Finding:
    hint = f"; did you mean {subject.better_target}?" if subject.better_target else ""
    what = describe(subject.app)
    return Finding(
        "no-server", f"there is no Shoal server in {subject.target} ({what}), as far as can be seen{hint}", True
    )


def _of_names(subject: Subject) -> Iterator[Finding]:
    """Events that never happen: what Shoal has warned of."""
    for warning in subject.warnings:
        place = f"{os.path.relpath(warning.filename)}:{warning.lineno}"
        yield Finding("event-name", f"{warning.message} ({place})", True)


def _of_environment(subject: Subject) -> Iterator[Finding]:
    """Variables that are no options, and such as the code does not follow."""
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in ServerSettings.__dataclass_fields__}
    for variable in sorted(subject.environment):
        rest = variable.removeprefix(ENVIRONMENT_PREFIX)
        if rest == variable or OF_KUBERNETES.fullmatch(rest):
            continue
        if variable not in known:
            near = difflib.get_close_matches(variable, known, 1, 0.85)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield Finding("unknown-variable", f"{variable} is no option, and is ignored{hint}", bool(near))
        elif (
            subject.found
            and hasattr(subject.settings, known[variable])  # an engine has no broker
            and not comes_from(subject.environment, subject.settings, known[variable])
        ):
            yield Finding(
                "variable-without-effect",
                f"{variable} is set, but the code gives {known[variable]} another value, which wins",
            )


def comes_from(environment: Mapping[str, str], settings: EngineSettings, name: str) -> bool:
    """Whether an option has the value that the environment gives it."""
    variable = ENVIRONMENT_PREFIX + name.upper()
    if variable not in environment:
        return False
    try:
        alone = type(settings).load({}, {variable: environment[variable]})
    except ConfigurationError:  # it goes with others only
        return True
    return bool(getattr(alone, name) == getattr(settings, name))


def _of_ways(subject: Subject) -> Iterator[Finding]:
    """How requests come to the server."""
    first = subject.found[0]
    if len(subject.found) > 1:
        others = ", ".join(found.endpoint for found in subject.found[1:])
        yield Finding("more-servers", f"there are more servers in it, at {others}; this is about the first")
    if subject.better_target is not None:
        yield Finding(
            "page-not-served",
            f"{subject.better_target} is the same server in front of another application, which is not served by "
            f"{subject.target}",
        )
    if not first.is_front:
        yield Finding(
            "no-fast-lane",
            f"the server is within {describe(subject.app)}, so it runs without the fast lane, and starts with the "
            "first request if neither `shoal serve` nor a lifespan does it; io.asgi(other) puts it in front",
        )


def _of_handlers(subject: Subject) -> Iterator[Finding]:
    if not subject.engine_handlers and all(namespace.is_empty for namespace in subject.namespaces):
        yield Finding(
            "no-handlers", "nothing handles what clients send: is the module with the handlers imported?", True
        )


def _of_settings(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    if settings.cors_credentials and settings.cors_origins == "*":
        yield Finding(
            "cors-open",
            'cors_credentials with cors_origins="*": every web site may act in the name of your users; '
            "name the origins",
            True,
        )
    for name in ("ping_interval", "ping_timeout", "connect_timeout", "upgrade_timeout"):
        if (seconds := getattr(settings, name, 0)) >= MILLISECONDS:
            yield Finding(
                "milliseconds",
                f"{name}={seconds:g} is {seconds / 3600:.2g} hours; Node's options are milliseconds, these are seconds",
                True,
            )
    if "*" in settings.trusted_proxies:
        yield Finding(
            "proxies-open",
            'trusted_proxies="*": clients may claim any address, unless they can come through a proxy only',
        )


def _of_nodes(subject: Subject) -> Iterator[Finding]:
    """The broker, and whether the nodes can be one."""
    settings, broker = subject.settings, subject.broker
    if not isinstance(settings, ServerSettings) or broker is None:
        return
    if broker.error is not None:
        yield Finding("broker-unreachable", f"{broker.url} cannot be reached: {broker.error}", True)
    workers = subject.environment.get(WORKERS, "")
    if settings.broker == "memory://" and workers.isdecimal() and int(workers) > 1:
        yield Finding(
            "workers-apart",
            f"{WORKERS}={workers} asks for {workers} processes, and memory:// does not join them: clients of one would "
            "not hear those of another; they need a broker, as redis://host:port",
            True,
        )
    if settings.broker.startswith("memory://") and settings.broker != "memory://":
        yield Finding("memory-named", f"{broker.url} joins servers of one process only: it is for tests")
    if settings.node and broker.reachable is not None and not ROUTABLE_NAME.fullmatch(settings.node):
        yield Finding(
            "node-not-routable",
            f"node={settings.node!r} cannot stand in a session's id, so that no balancer can send a session's requests "
            "here: use 1 to 32 letters, digits, - and _",
        )
    if settings.has_log:
        yield from findings_of_log(settings, broker)


def findings_of_log(settings: ServerSettings, broker: BrokerState) -> Iterator[Finding]:
    """Whether a broker with ``redis+streams://`` can keep what it is to keep."""
    if broker.product == "Redis" and (version := _numbers(broker.version)) and version < NEEDED_FOR_STREAMS:
        yield Finding(
            "broker-too-old",
            f"{settings.broker.partition('://')[0]}:// needs Redis 6.2; this is {broker.version}",
            True,
        )
    if broker.eviction not in (None, "noeviction"):
        yield Finding(
            "broker-evicts",
            f"when its memory is full the broker forgets what clients may come back to: maxmemory-policy is "
            f"{broker.eviction}, noeviction does not",
        )
    if not settings.recovers:
        yield Finding(
            "log-unused", "the broker keeps all messages, but connection_state_recovery is off: redis:// does with less"
        )


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (version or "").split(".")[:2] if part.isdecimal())


def _of_unused(subject: Subject) -> Iterator[Finding]:
    """Options that were set and do nothing, because of another one."""
    settings = subject.settings
    for names, reason in _without_effect(settings):
        if unused := [name for name in names if name in subject.changed]:
            verb = "has" if len(unused) == 1 else "have"
            yield Finding("option-without-effect", f"{', '.join(unused)} {verb} no effect {reason}")


def _without_effect(settings: EngineSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    if "polling" not in settings.transports:
        yield ("http_compression", "max_packets_per_poll"), "without the transport polling"
    if "websocket" not in settings.transports:
        yield ("per_message_deflate",), "without the transport websocket"
    if not settings.allow_upgrades or len(settings.transports) < 2:
        yield ("upgrade_timeout",), "where no session can be upgraded"
    if settings.cors_origins is None:
        yield ("cors_credentials", "cors_headers", "cors_max_age"), "with cors_origins=None"
    if not isinstance(settings, ServerSettings):
        return
    if not settings.recovers:
        names = ("max_disconnection_duration", "skip_middlewares", "recovery_buffer", "recovery_states", "max_replay")
        yield names, "without connection_state_recovery"
    if not settings.has_log:
        yield ("log_length", "log_lifetime"), "without a broker redis+streams://"
    if settings.broker == "memory://":
        forwarding = ("advertise", "max_forwarded", "max_forwarded_bytes", "forward_timeout")
        yield ("channel_prefix", "broker_buffer", *forwarding), "without a broker"


def _of_debug(subject: Subject) -> Iterator[Finding]:
    if sys.flags.dev_mode or subject.environment.get("PYTHONASYNCIODEBUG"):
        yield Finding(
            "asyncio-debug", "asyncio's debug mode is on (python -X dev, PYTHONASYNCIODEBUG): everything is slower"
        )
    apps = [subject.app, *(found.behind for found in subject.found)]
    if any(getattr(app, "debug", None) is True for app in apps) or _django_debug():
        yield Finding(
            "application-debug",
            "the application behind is in debug mode: it shows its code to those who cause an error",
        )


def _django_debug() -> bool:
    conf = sys.modules.get("django.conf")
    settings = getattr(conf, "settings", None)
    return bool(settings is not None and settings.configured and settings.DEBUG)
