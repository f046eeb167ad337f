"""nginx's configuration, as text."""

from __future__ import annotations

import re

from .upstreams import BalancerSetup, Upstream

__all__ = ["nginx_conf"]

NEW_SESSION = {
    "leastconn": """\
    # New sessions: to the server with the fewest connections, so that one that was restarted fills up again. nginx
    # counts those of this group alone: WebSockets of sessions that began with polling are in the groups below, and
    # are not counted.""",
    "roundrobin": "    # New sessions, to the servers by turns.",
}
ALGORITHM = {"leastconn": "        least_conn;\n", "roundrobin": ""}
SPOOLS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")


def nginx_conf(setup: BalancerSetup) -> str:
    """Return the configuration, ready to be written to a file."""
    routable = [server for server in setup.servers if server.routable]
    return CONF.format(
        listen=str(setup.listen) if setup.listen.host else str(setup.listen.port),
        user=f"user {setup.user};\n" if setup.user else "",
        workers=setup.workers or "auto",
        connections=setup.connections,
        pid=_quoted(f"{setup.directory}/nginx.pid"),
        spools="\n".join(f"    {name}_temp_path {_quoted(f'{setup.directory}/nginx-{name}')};" for name in SPOOLS),
        new_session=NEW_SESSION[setup.algorithm],
        algorithm=ALGORITHM[setup.algorithm],
        pages="\n".join(f"        server {s.address} max_fails=2 fail_timeout=2s;" for s in setup.servers),
        sessions="\n".join(f"        server {s.address} max_fails=0;" for s in setup.servers),
        example=setup.servers[0].name,
        routes="".join(f"        ~^{s.name}\\. node_{s.name};\n" for s in routable),
        nodes="\n".join(_node(setup, server) for server in routable),
    )


def _node(setup: BalancerSetup, own: Upstream) -> str:
    others = "".join(f"        server {s.address} backup;\n" for s in setup.servers if s is not own)
    return NODE.format(name=own.name, address=own.address, others=others)


def _quoted(path: str) -> str:
    if PLAIN_PATH.fullmatch(path):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


CONF = """\
# nginx in front of Shoal servers, as `shoal balancer nginx` prints it.
# Runs without root: `nginx -c FILE -g 'daemon off;'`. Needs no cookies, and no look at client addresses.
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

    # Pages, files, and whatever else the application answers. A server that fails twice is left alone for two seconds.
    upstream shoal {{
        zone shoal 256k;  # one round robin, and one opinion of who is down, for all workers
{pages}
        keepalive 64;
        keepalive_timeout 4s;  # a second before uvicorn closes an idle connection, or a POST could meet a closed one
    }}

{new_session}
    # They are dealt out apart from other requests, which would take turns, or weigh, as much.
    # max_fails=0: no server is left alone because it failed. One that is down refuses at once, and the next is asked;
    # one that is back is seen at once. With any other number it would get one WebSocket at a time until the first of
    # them ends, which may be hours: nginx forgives a failure only when a later request has ended well.
    upstream shoal_sessions {{
        zone shoal_sessions 256k;  # one count for all workers
{algorithm}{sessions}
        keepalive 64;
        keepalive_timeout 4s;
    }}

    # All requests of a session and its WebSocket belong to the server that has it. The session's id says which one: it
    # begins with the name of that node and a dot, as in "sid={example}.". No other server would know it.
    # A node's name is what `shoal serve --node` was given, by default its port.
    map $arg_sid $pool {{
{routes}        default $pool_without_sid;
    }}

    # Every request of a Socket.IO client says which transport it is for. Other WebSockets are balanced as sessions too.
    map $http_upgrade:$arg_transport $pool_without_sid {{
        '~*^websocket:' shoal_sessions;
        '~:.' shoal_sessions;
        default shoal;
    }}

    # One group for each node. If nobody listens there any more, the request goes to another server, which says that it
    # knows no such session; then the client begins a new one.
{nodes}
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

NODE = """\
    upstream node_{name} {{
        server {address} max_fails=0;
{others}        keepalive 64;
        keepalive_timeout 4s;
    }}
"""
