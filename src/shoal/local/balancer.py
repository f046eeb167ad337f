"""The configurations of nginx and HAProxy, as text, and the command lines that run them without root.

One generator per product writes both what ``shoal up`` runs on a laptop and what ``deploy/`` holds for containers;
only the parameters differ. Everything here is a pure function: it writes no file and starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .address import Address

__all__ = ["PRODUCTION", "BalancerSetup", "Upstream", "balancer_argv", "balancer_conf", "is_noise", "name_upstreams"]


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server behind the balancer, and the name that the balancer's log calls it by."""

    name: str
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerSetup:
    """What the two generators need to know."""

    servers: tuple[Upstream, ...]
    listen: Address
    directory: str = "/tmp"  # in a container it is the one place that a non-root user may write
    """Where nginx keeps its pid and spools request bodies. HAProxy writes nothing."""
    workers: int = 0
    """Processes of nginx, threads of HAProxy; 0 is one per core."""
    connections: int = 16_384
    """Connections at once, per nginx worker and per HAProxy process. A WebSocket takes two in nginx."""
    user: str | None = None
    """``user group`` of nginx's workers. Needed only where nginx is started by root."""


def name_upstreams(addresses: Iterable[Address]) -> tuple[Upstream, ...]:
    """Name servers by their hosts where those tell them apart, else by host and port."""
    found = tuple(addresses)
    distinct = len({address.host for address in found}) == len(found)
    return tuple(Upstream(a.host if distinct else f"{a.host}:{a.port}", a) for a in found)


PRODUCTION = BalancerSetup(
    servers=name_upstreams(Address(f"ws{number}", 1111 * number) for number in range(1, 5)),
    listen=Address("", 8080),
)
"""What ``shoal balancer`` prints by default: the four servers of the compose file."""


def balancer_conf(product: str, setup: BalancerSetup) -> str:
    """Return the configuration of ``product``, ``"nginx"`` or ``"haproxy"``, ready to be written to a file."""
    return {"nginx": _nginx, "haproxy": _haproxy}[product](setup)


def balancer_argv(product: str, program: str, conf: str, directory: str) -> tuple[str, ...]:
    """Return the command line that runs ``program`` in the foreground, touching nothing outside ``directory``."""
    if product == "nginx":
        # The prefix catches every path that this build's defaults might still resolve relatively.
        return (program, "-p", directory, "-c", conf, "-g", "daemon off;")
    return (program, "-db", "-q", "-f", conf)


def is_noise(product: str, line: str) -> bool:
    """Tell whether ``line`` of a balancer's log is of no interest to someone who runs a demo."""
    return any(word in line for word in _NOISE[product])


_NOISE = {
    # An unprivileged nginx tries its compiled-in error log before it reads the configuration, and only complains.
    "nginx": ("could not open error log file", "[notice]"),
    "haproxy": (
        "[NOTICE]",
        "Proxy shoal started",
        "Stopping backend",
        "Stopping proxy",
        "Proxy public s",
        "Proxy shoal s",
        "Proxy websockets s",
    ),
}


_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")


def _nginx(setup: BalancerSetup) -> str:
    servers = "\n".join(f"        server {s.address} max_fails=2 fail_timeout=2s;" for s in setup.servers)
    user = f"user {setup.user};\n" if setup.user else ""
    listen = str(setup.listen) if setup.listen.host else str(setup.listen.port)
    return NGINX.format(
        servers=servers,
        user=user,
        listen=listen,
        workers=setup.workers or "auto",
        connections=setup.connections,
        pid=_quoted(f"{setup.directory}/nginx.pid"),
        spools="\n".join(
            f"    {name}_temp_path {_quoted(f'{setup.directory}/nginx-{name}')};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
    )


def _quoted(path: str) -> str:
    if _PLAIN_PATH.fullmatch(path):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _haproxy(setup: BalancerSetup) -> str:
    width = max(len(s.name) for s in setup.servers)
    servers = "\n".join(f"    server {s.name:<{width}} {s.address}" for s in setup.servers)
    named = any(s.address.is_name for s in setup.servers)
    resolve = HAPROXY_RESOLVE if named else ""
    tracking = "\n".join(
        f"    server {s.name:<{width}} {s.address} track shoal/{s.name}{resolve}" for s in setup.servers
    )
    return HAPROXY.format(
        servers=servers,
        tracking=tracking,
        listen=setup.listen,
        threads=f"    nbthread {setup.workers}\n" if setup.workers else "",
        connections=setup.connections,
        resolvers=HAPROXY_RESOLVERS if named else "",
        resolve=resolve,
    )


NGINX = """\
# nginx in front of Shoal servers, as `shoal balancer nginx` prints it.
# Runs without root: `nginx -c FILE -g 'daemon off;'`. Round robin, no sticky sessions.
# Server names are resolved when nginx starts.

{user}worker_processes {workers};
worker_shutdown_timeout 5s;  # a graceful stop or a reload cuts WebSockets that are still open after this
error_log stderr warn;
pid {pid};

events {{
    worker_connections {connections};
}}

http {{
    access_log off;
    server_tokens off;

{spools}

    # A plain request sends no Connection header on, so that connections to the servers are kept and used again.
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' '';
    }}

    upstream shoal {{
        zone shoal 256k;  # one round robin, and one opinion of who is down, for all workers
{servers}
        keepalive 64;
        keepalive_timeout 4s;  # a second before uvicorn closes an idle connection, or a POST could meet a closed one
    }}

    # WebSockets have a round robin of their own. With one for everything, the other requests of a page would make each
    # window skip as many servers, and windows would meet on the same one.
    upstream shoal_websockets {{
        zone shoal_websockets 256k;
{servers}
    }}

    map $http_upgrade $pool {{
        '~*^websocket$' shoal_websockets;
        default shoal;
    }}

    server {{
        listen {listen} backlog=4096;

        client_header_timeout 10s;
        client_body_timeout 30s;
        keepalive_timeout 65s;

        # The servers enforce their own, smaller max_payload.
        client_max_body_size 16m;
        client_body_buffer_size 128k;

        location / {{
            proxy_pass http://$pool;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;

            # Messages go out as they come in. The buffers need only hold the headers of a response.
            proxy_buffering off;
            proxy_buffer_size 16k;
            proxy_buffers 4 16k;

            # An open WebSocket may be silent for as long as the servers' ping_interval. An hour covers any.
            proxy_connect_timeout 2s;
            proxy_read_timeout 3600s;
            proxy_send_timeout 3600s;

            # A server that is down costs a client nothing: the next one is asked. nginx never repeats a POST that a
            # server may have seen, and after ten seconds it repeats nothing.
            proxy_next_upstream error timeout;
            proxy_next_upstream_timeout 10s;
        }}
    }}
}}
"""

HAPROXY = """\
# HAProxy in front of Shoal servers, as `shoal balancer haproxy` prints it.
# Runs without root: `haproxy -db -f FILE`. Round robin, no sticky sessions. Needs HAProxy 2.2 or newer.

global
    log stdout format raw local0 notice
    maxconn {connections}
    no strict-limits  # with fewer file descriptors allowed it takes fewer connections instead of not starting
{threads}    hard-stop-after 5s  # a graceful stop or a reload cuts WebSockets that are still open after this

defaults
    mode http
    timeout connect 2s
    timeout http-request 10s
    timeout http-keep-alive 65s
    # A long poll is answered within the servers' ping_interval, 25 seconds.
    timeout client 75s
    timeout server 75s
    # Once it is a WebSocket only this one counts.
    timeout tunnel 1h
    timeout client-fin 30s
    timeout queue 5s
    timeout check 2s
    # A server that is down costs a client nothing: each new attempt asks another one. Only an attempt that never
    # reached a server is repeated, so no request is handled twice.
    retries 3
    retry-on conn-failure
    option redispatch 1
{resolvers}
frontend public
    bind {listen}
    use_backend websockets if {{ hdr(Upgrade) -i websocket }}
    default_backend shoal

backend shoal
    log global
    balance roundrobin
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
    # /readyz answers 503 while a server cannot reach the broker. It keeps its clients but gets no new ones. An
    # application that knows no /readyz answers 404 and counts as ready.
    option httpchk GET /readyz
    http-check expect ! rstatus ^5
    default-server check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1{resolve}
{servers}

# WebSockets have a round robin of their own. With one for everything, the other requests of a page would make each
# window skip as many servers, and windows would meet on the same one. Who is up is known from above.
backend websockets
    balance roundrobin
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
{tracking}
"""

HAPROXY_RESOLVE = " init-addr libc,none resolvers system resolve-prefer ipv4"

HAPROXY_RESOLVERS = """
# Names are resolved at the start and again while running, so that a server may come back with another address. A name
# server that is away takes nobody out: health checks decide that.
resolvers system
    parse-resolv-conf
    hold valid 5s
    hold obsolete 30s
    hold nx 24h
    hold refused 24h
    hold timeout 24h
    hold other 24h
"""
