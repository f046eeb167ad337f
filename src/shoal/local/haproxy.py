"""HAProxy's configuration, as text."""

from __future__ import annotations

from .upstreams import BalancerSetup

__all__ = ["haproxy_conf"]

NEW_SESSION = {
    "leastconn": "to the server with the fewest connections, so that one that was restarted fills up again.",
    "roundrobin": "to the servers by turns.",
}


def haproxy_conf(setup: BalancerSetup) -> str:
    """Return the configuration, ready to be written to a file."""
    width = max(len(s.name) for s in setup.servers)
    lines = [f"    server {s.name:<{width}} {s.address}" for s in setup.servers]
    named = any(s.address.is_name for s in setup.servers)
    resolve = RESOLVE if named else ""
    tracking = [f"{line} track shoal/{s.name}{resolve}" for line, s in zip(lines, setup.servers, strict=True)]
    return CONF.format(
        servers="\n".join(lines),
        tracking="\n".join(tracking),
        listen=setup.listen,
        threads=f"    nbthread {setup.workers}\n" if setup.workers else "",
        connections=setup.connections,
        algorithm=setup.algorithm,
        new_session=NEW_SESSION[setup.algorithm],
        example=setup.servers[0].name,
        resolvers=RESOLVERS if named else "",
        resolve=resolve,
    )


CONF = """\
# HAProxy in front of Shoal servers, as `shoal balancer haproxy` prints it.
# Runs without root: `haproxy -db -f FILE`. Needs HAProxy 2.2 or newer, no cookies, and no look at client addresses.
# The name of each server is the name of its node: what `shoal serve --node` was given, by default its port.

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
    # Every request of a Socket.IO client says which transport it is for. Other WebSockets are balanced as sessions too.
    use_backend sessions if {{ urlp(transport) -m found }} or {{ hdr(Upgrade) -i websocket }}
    default_backend shoal

# Pages, files, and whatever else the application answers.
backend shoal
    log global
    balance roundrobin
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
    # /readyz answers 503 while a server cannot reach the broker. It keeps its clients but gets no new ones. An
    # application that knows no /readyz answers 404 and counts as ready. A server that comes back is seen within a
    # tenth of a second: the clients that it sent away return after half a second or more, and are to find it.
    option httpchk GET /readyz
    http-check expect ! rstatus ^5
    default-server check inter 1s fastinter 250ms downinter 100ms fall 2 rise 1{resolve}
{servers}

# Sessions. A new one goes {new_session}
# They are dealt out apart from other requests, which would take turns, or weigh, as much. Who is up is known from
# above.
backend sessions
    balance {algorithm}
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
    # All requests of a session and its WebSocket belong to the server that has it. The session's id says which one: it
    # begins with the server's name and a dot, as in "sid={example}.". No other server would know it.
    use-server %[urlp(sid),field(1,.)] if {{ urlp(sid) -m found }}
    # Also while that server is not ready for new clients. If nobody listens there any more, the request goes to another
    # server, which says that it knows no such session; then the client begins a new one.
    option persist
{tracking}
"""

RESOLVE = " init-addr libc,none resolvers system resolve-prefer ipv4"

RESOLVERS = """
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
