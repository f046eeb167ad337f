"""What is measured, and what is asked of it: data only.

Each scenario names the servers that take part, the load, the figure that is compared, and its targets. The costs that
must stay flat are in growth.py.
"""

from suite.rows import Bound, Load, Scenario, Target

FANOUT: Load = {"mode": "fanout", "clients": 1000}
ECHO: Load = {"mode": "echo", "clients": 100}
MSGPACK: Load = {"parser": "msgpack"}
BINARY: Load = {"binary": 1}
TLS: Load = {"tls": 1}
IDLE: Load = {"mode": "echo", "clients": 100, "rate": 1000, "idle": 50_000, "hold": 1}
# All connections are opened within some seconds; their first pings fall due 25 s later, and into the measured time.
PINGED: Load = {"warmup": 17, "seconds": 8}


def _four(kind: str) -> tuple[str, ...]:
    """The servers that anyone might choose, run in this way."""
    return tuple(f"{name}-{kind}" for name in ("shoal", "node", "bun", "psio"))


def _awaiting(key: str, title: str, quick: tuple[str, ...] = ()) -> Scenario:
    """An echo whose handler is a coroutine that waits once, for something that the loop brings in its next turn."""
    return Scenario(
        key,
        title,
        ECHO | {"event": key},
        ("shoal", "node", "bun", "psio"),
        (Target("node", 2), Target("bun", None)),
        unit="answers/s",
        brief=True,
        quick_servers=quick,
    )


def _burst(clients: int) -> Scenario:
    return Scenario(
        f"burst-{clients}",
        f"{clients:,} WebSocket connections at once",
        {"mode": "connect", "clients": clients, "handshakes": clients, "hold": 0},
        ("shoal", "node", "bun", "psio", "limit"),
        (Target("node", 3), Target("bun", 1.2)),
        figure="connects_per_s",
        unit="connections/s",
    )


def _bytes(size: int) -> tuple[Scenario, Scenario]:
    """Binary events: an echo, and a fan-out to fewer clients the larger they are, since the kernel copies each."""
    crowd: Load = {"mode": "fanout", "clients": 1000 if size < 10_000 else 100, "publishers": 10}
    what = f"binary events of {size >> 10} KiB"
    servers = ("shoal", "node", "bun", "psio")
    return (
        Scenario(
            f"bytes-{size >> 10}k-echo",
            f"{what}: acked echo",
            ECHO | BINARY | {"payload": size},
            servers,
            (Target("node", 1.0), Target("bun", None)),
            unit="answers/s",
            brief=True,
        ),
        Scenario(
            f"bytes-{size >> 10}k-fanout",
            f"{what}: fan-out, {crowd['clients']:,} clients, 10 publishers",
            crowd | BINARY | {"payload": size},
            servers,
            (Target("node", 1.0), Target("bun", None)),
            brief=True,
        ),
    )


SCENARIOS = (
    Scenario(
        "fanout-1",
        "fan-out, 1,000 clients, 1 publisher",
        FANOUT | {"publishers": 1},
        ("shoal", "node", "bun", "psio", "limit", "bare"),
        (Target("node", 1.7), Target("limit", 0.85), Target("bare", None), Target("limit", None, "bare")),
        quick_servers=("shoal", "node", "limit", "bare"),
    ),
    Scenario(
        "fanout-10",
        "fan-out, 10 publishers",
        FANOUT | {"publishers": 10},
        ("shoal", "node", "bun", "psio", "limit-turn"),
        (Target("node", 15), Target("bun", 8)),
        quick_servers=("shoal", "node", "bun"),
    ),
    Scenario(
        "fanout-100",
        "fan-out, 100 publishers",
        FANOUT | {"publishers": 100},
        ("shoal", "node", "bun", "psio", "limit-turn"),
        (Target("node", 60),),
        quick_servers=("shoal", "node"),
    ),
    Scenario(
        "rooms",
        "fan-out over 100 rooms of 10",
        {"mode": "rooms", "clients": 1000, "rooms": 100, "members": 10, "publishers": 100},
        ("shoal", "node", "bun", "psio"),
        (Target("node", 4), Target("bun", 3)),
    ),
    Scenario(
        "fanout-16k",
        "fan-out of 16 KiB texts, 1 publisher",
        FANOUT | {"publishers": 1, "payload": 16384},
        ("shoal", "node", "bun", "limit-large"),
        (Target("limit-large", 0.95), Target("node", None)),
        brief=True,
    ),
    Scenario(
        "echo",
        "acked echo, 100 clients",
        ECHO,
        ("shoal", "node", "bun", "psio", "limit"),
        (Target("node", 2.5), Target("bun", 1.2)),
        unit="answers/s",
        quick_servers=("shoal", "node", "bun"),
    ),
    Scenario(
        "echo-async",
        "the same, the handler a coroutine that does not wait",
        ECHO | {"event": "echo-async"},
        ("shoal", "shoal-plain", "node", "bun", "psio"),
        (Target("shoal-plain", 0.95), Target("node", None), Target("bun", None)),
        unit="answers/s",
        loads={"shoal-plain": {"event": "echo"}},
        brief=True,
    ),
    _awaiting("echo-turn", "the same, waiting for one turn of the loop", ("shoal", "node")),
    _awaiting("echo-future", "the same, waiting for a future that the loop sets"),
    Scenario(
        "echo-polling",
        "acked echo over long-polling",
        ECHO | {"transport": "polling"},
        ("shoal", "node", "psio"),
        (Target("node", 3),),
        unit="answers/s",
    ),
    Scenario(
        "connect",
        "new WebSocket connections",
        {"mode": "connect", "clients": 4000, "hold": 0},
        ("shoal", "node", "bun", "psio", "limit"),
        (Target("node", 3), Target("bun", 1.2)),
        figure="connects_per_s",
        unit="connections/s",
        quick_servers=("shoal", "node"),
        quick_load={"clients": 1500},
    ),
    _burst(1000),
    _burst(4000),
    Scenario(
        "memory",
        "memory of an idle connection, 5,000 of them",
        {"mode": "connect", "clients": 5000, "hold": 2},
        ("shoal", "node", "bun", "psio"),
        (Target("node", 1 / 3),),
        figure="rss_kib_per_connection",
        unit="KiB",
        higher_is_better=False,
    ),
    Scenario(
        "idle",
        "memory of an idle connection, 50,000 of them",
        IDLE | PINGED,
        ("shoal", "node"),
        (Target(None, 4.0), Target("node", None)),
        figure="rss_kib_per_connection",
        unit="KiB",
        higher_is_better=False,
        rounds=1,
    ),
    Scenario(
        "idle-p99",
        "p99 latency of 1,000 echoes a second beside them",
        IDLE | PINGED,
        ("shoal", "shoal-alone", "node"),
        (Target("shoal-alone", 1.2), Target("node", None)),
        figure="latency_ms.p99",
        unit="ms",
        higher_is_better=False,
        loads={"shoal-alone": {"idle": 0, "warmup": 1}},
        same_as="idle",
        rounds=1,
    ),
    Scenario(
        "latency",
        "p99 latency at half of Node's best fan-out rate",
        FANOUT | {"publishers": 10},
        ("shoal", "node", "bun"),  # more than python-socketio can deliver at all
        (Target("node", 1.0),),
        figure="latency_ms.p99",
        unit="ms",
        higher_is_better=False,
        rate_of=("fanout-1", "fanout-10"),
    ),
    Scenario(
        "cluster",
        "four nodes and a broker on one core, 10 publishers",
        FANOUT | {"publishers": 10},
        ("shoal-4", "node-4"),
        (Target("node-4", 8, "shoal-4"),),
    ),
    Scenario(
        "cluster-streams",
        "the same, with a broker that keeps what is sent",
        FANOUT | {"publishers": 10},
        ("shoal-4-streams", "shoal-4", "node-4-streams"),
        (Target("shoal-4", 0.5, "shoal-4-streams"), Target("node-4-streams", 8, "shoal-4-streams")),
    ),
    Scenario(
        "cluster-latency",
        "median latency over four idle nodes, 100 messages a second to 100 clients",
        {"mode": "fanout", "clients": 100, "publishers": 10, "rate": 100},
        ("shoal-4-streams", "shoal-4", "node-4-streams"),
        (Target("shoal-4", None, "shoal-4-streams"), Target("node-4-streams", None, "shoal-4-streams")),
        figure="latency_ms.p50",
        unit="ms",
        higher_is_better=False,
    ),
    Scenario(
        "cluster-latency-p99",
        "the same, 99th percentile",
        {"mode": "fanout", "clients": 100, "publishers": 10, "rate": 100},
        ("shoal-4-streams", "shoal-4", "node-4-streams"),
        (Target("shoal-4", None, "shoal-4-streams"), Target("node-4-streams", None, "shoal-4-streams")),
        figure="latency_ms.p99",
        unit="ms",
        higher_is_better=False,
        same_as="cluster-latency",
    ),
    Scenario(
        "return",
        "2,000 clients of a killed node come back to the other three, while 200 others talk: the last one",
        {"program": "returning", "clients": 2000, "others": 200, "rooms": 100, "rate": 200},
        ("shoal-4-streams", "node-4-recovery"),
        (),
        figure="return_s.max",
        unit="s since it tried",
        higher_is_better=False,
        bounds=(
            Bound("seconds since it tried for the last to be back", "return_s.max", 10),
            Bound("clients that are not recovered", "not_recovered", 0),
            Bound("texts lost", "lost", 0),
            Bound("seconds since the kill for all to be back", "all_back_s", None),
            Bound("p99 of the others meanwhile, ms", "others_ms.p99", None),
            Bound("p99 of the others before, ms", "others_before_ms.p99", None),
        ),
    ),
    Scenario(
        "keeping-room",
        "memory in the broker of a room with a member and one text of 64 bytes",
        {"program": "keeping"},
        ("shoal-4-streams",),
        (),
        figure="room_bytes",
        unit="bytes",
        higher_is_better=False,
    ),
    Scenario(
        "keeping-message",
        "memory in the broker of each text more that is kept",
        {"program": "keeping"},
        ("shoal-4-streams",),
        (),
        figure="message_bytes",
        unit="bytes",
        higher_is_better=False,
        same_as="keeping-room",
    ),
    Scenario(
        "polling-hop",
        "acked echo over long-polling, two nodes and a broker on one core: every request at the wrong node",
        ECHO | {"transport": "polling", "hop": 1},
        ("shoal-2",),
        (),
        unit="answers/s",
    ),
    Scenario(
        "polling-home",
        "the same, every request at the right node; and Node, alone",
        ECHO | {"transport": "polling"},
        ("shoal-2", "node"),
        (Target("node", None, "shoal-2"),),
        unit="answers/s",
    ),
    Scenario(
        "polling-balancer",
        "the same behind HAProxy, which knows each session's node, on the same core",
        ECHO | {"transport": "polling"},
        ("shoal-2-haproxy", "shoal-2", "node"),
        (Target("shoal-2", None, "shoal-2-haproxy"), Target("node", None, "shoal-2-haproxy")),
        unit="answers/s",
        same_as="polling-home",
    ),
    Scenario(
        "msgpack-echo",
        "msgpack parser: acked echo",
        ECHO | MSGPACK,
        _four("msgpack"),
        (Target("node-msgpack", 1.0, "shoal-msgpack"), Target("bun-msgpack", None, "shoal-msgpack")),
        unit="answers/s",
        brief=True,
    ),
    Scenario(
        "msgpack-fanout",
        "msgpack parser: fan-out, 10 publishers",
        FANOUT | MSGPACK | {"publishers": 10},
        _four("msgpack"),
        (Target("node-msgpack", 1.0, "shoal-msgpack"), Target("bun-msgpack", None, "shoal-msgpack")),
        brief=True,
    ),
    *_bytes(1024),
    *_bytes(65536),
    Scenario(
        "tls-echo",
        "TLS: acked echo",
        ECHO | TLS,
        _four("tls"),
        (Target("node-tls", 1.0, "shoal-tls"), Target("bun-tls", None, "shoal-tls")),
        unit="answers/s",
        brief=True,
    ),
    Scenario(
        "tls-fanout",
        "TLS: fan-out, 10 publishers",
        FANOUT | TLS | {"publishers": 10},
        _four("tls"),
        (Target("node-tls", 1.0, "shoal-tls"), Target("bun-tls", None, "shoal-tls")),
        brief=True,
    ),
    Scenario(
        "asgi-fanout",
        "plain ASGI on stock uvicorn: fan-out, 10 publishers",
        FANOUT | {"publishers": 10},
        ("shoal-asgi", "psio"),
        (Target("psio", 3, "shoal-asgi"),),
        once=(),
    ),
    Scenario(
        "asgi-echo",
        "plain ASGI on stock uvicorn: acked echo",
        ECHO,
        ("shoal-asgi", "psio", "node"),
        (Target("psio", 3, "shoal-asgi"), Target("node", 1.0, "shoal-asgi")),
        unit="answers/s",
        once=(),
        quick_servers=("shoal-asgi", "psio"),
    ),
)

# What Shoal is measured with on each Python that was found: a handler that does not wait, and one that does.
ON_EACH_PYTHON = tuple(s for s in SCENARIOS if s.key in ("echo", "echo-turn"))
