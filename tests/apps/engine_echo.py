"""Engine.IO on its own: every message comes back as it went, text as text and binary as binary."""

from shoal import Engine

engine = Engine(path="/engine.io/", ping_interval=0.3, ping_timeout=1.0, max_payload=1_000_000)


@engine.on("message")
def echo(session, data):
    session.send(data)
