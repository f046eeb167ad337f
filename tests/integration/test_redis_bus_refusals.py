"""A Redis bus whose peer refuses it, or is none: one clear line, no secrets in it, and it keeps trying.

Real brokers with passwords, users, limits and TLS; real sockets for what is no broker.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.brokers import HOST, Broker
from tests.contract.buses import TEST_TIME, Ear, quick
from tests.integration.redis_peers import Proxy, peer
from tests.requirements import need

from shoal.bus import BusLimits, open_bus

PASSWORD = "correct-horse"
ATTEMPTS = 0.2  # seconds: with pauses of at most 0.05 s, many attempts
OFTEN = quick(backoff_max=0.05, connect_timeout=0.2)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Broker]:
    """A broker with a password, and a user that may listen and not speak."""
    with Broker(options=("--requirepass", PASSWORD)) as broker:
        yield broker


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def try_for_a_while(url: str, limits: BusLimits = OFTEN) -> Ear:
    """Start a bus, give it time for several attempts, and close it."""
    ear = Ear(open_bus(url, limits=limits))
    await ear.start()
    await asyncio.sleep(ATTEMPTS)
    await ear.bus.close()
    return ear


def attempt(url: str, limits: BusLimits = OFTEN) -> Ear:
    async def bounded() -> Ear:
        async with asyncio.timeout(TEST_TIME):
            return await try_for_a_while(url, limits)

    return asyncio.run(bounded())


@pytest.mark.parametrize(
    "credentials", [f":{PASSWORD}@", f"default:{PASSWORD}@", f":{PASSWORD.replace('-', '%2D')}@"], ids=["", "user", "%"]
)
def test_credentials_and_database_of_the_url_are_used(guarded: Broker, credentials: str) -> None:
    """A URL with user, password and database number logs in with them."""

    async def main() -> None:
        ear = Ear(open_bus(f"redis://{credentials}{HOST}:{guarded.port}/3?client_name=mine"))
        await ear.start()
        await ear.listen("room")
        ear.bus.publish("room", b"in")
        await ear.until(lambda: ear.heard)
        await ear.bus.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [(":wrong-secret@", "WRONGPASS"), ("nobody:wrong-secret@", "WRONGPASS"), ("", "NOAUTH")],
)
def test_a_wrong_password_is_said_once(
    guarded: Broker, caplog: pytest.LogCaptureFixture, credentials: str, reason: str
) -> None:
    """However often it is tried, the log has one line with the broker's reason and without the password."""
    ear = attempt(f"redis://{credentials}{HOST}:{guarded.port}")
    assert ear.states == []
    [line] = lines(caplog)
    assert line.startswith(f"broker redis://{HOST}:{guarded.port}: {reason} ")
    assert line.endswith("; retrying")
    assert "wrong-secret" not in caplog.text


def test_a_password_that_becomes_right_is_enough(guarded: Broker) -> None:
    """The bus keeps trying: a user that is created later lets it in."""

    async def main() -> None:
        ear = Ear(open_bus(f"redis://late:{PASSWORD}@{HOST}:{guarded.port}", limits=quick()))
        await ear.start()
        assert not ear.bus.up
        admin = Ear(open_bus(f"redis://:{PASSWORD}@{HOST}:{guarded.port}"))
        await admin.start()
        grant(guarded, "late", "allchannels", "allcommands")
        await ear.until(lambda: ear.bus.up)
        await ear.bus.close()
        await admin.bus.close()

    asyncio.run(main())


def grant(broker: Broker, user: str, *rules: str) -> None:
    words = ["redis-cli", "-p", str(broker.port), "--no-auth-warning", "-a", PASSWORD]
    words[0] = need("redis-cli", "valkey-cli")
    subprocess.run([*words, "ACL", "SETUSER", user, "on", f">{PASSWORD}", *rules], check=True, capture_output=True)


def test_a_user_that_may_not_publish_is_found_out(guarded: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """A refused publish is logged with the broker's reason and counted, and the probe that was refused is missed."""
    grant(guarded, "quiet", "allchannels", "+@all", "-publish")

    async def main() -> None:
        limits = quick(probe_interval=0.1, probe_timeout=0.2)
        ear = Ear(open_bus(f"redis://quiet:{PASSWORD}@{HOST}:{guarded.port}", limits=limits))
        await ear.start()
        ear.bus.publish("room", b"refused")
        await ear.until(lambda: ear.states[:3] == [True, False, True])
        assert ear.bus.stats.dropped >= 1
        await ear.bus.close()

    asyncio.run(main())
    assert "the broker refuses a publish: NOPERM" in caplog.text
    assert "a probe was not received within 0.2 s" in caplog.text


def test_a_user_that_may_not_listen_is_told_why(guarded: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """A refused subscription keeps the bus down, and the log says what the broker said."""
    grant(guarded, "outsider", "resetchannels", "+@all")
    ear = attempt(f"redis://outsider:{PASSWORD}@{HOST}:{guarded.port}")
    assert ear.states == []
    [line] = lines(caplog)
    assert ": NOPERM " in line


def test_a_full_broker_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """What a broker says unasked before it hangs up is the reason in the log."""
    with Broker(options=("--maxclients", "1")) as broker:
        ear = attempt(broker.url)
    assert ear.states == []
    assert any("max number of clients reached" in line for line in lines(caplog))


@pytest.mark.parametrize(
    ("answer", "hangs_up", "reason"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n" * 2, False, "LOADING Redis is loading"),
        (b"-DENIED Redis is running in protected mode\r\n", True, "DENIED Redis is running in protected mode"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n<h1>" + b"x" * 5_000, False, "the peer is no Redis broker"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "the peer is no Redis broker"),
        (b"+OK\r\n+OK\r\n", False, "it is no Redis broker"),
        (b"*2\r\n*0\r\n:1\r\n" * 2, False, "it is no Redis broker"),
        (b"\x15\x03\x01\x00\x02\x02\x16", True, "the peer is no Redis broker"),
        (b"-\r\nline\x1b[31m\r\n\r\n", True, "no Redis broker"),
        (b"", True, "closed by the broker"),
        (None, False, "no answer within 0.2 s"),
    ],
    ids=["loading", "protected", "http", "ssh", "liar", "nonsense", "tls alert", "garbage", "hang up", "silent"],
)
def test_a_peer_that_is_no_ready_broker(
    caplog: pytest.LogCaptureFixture, answer: bytes | None, hangs_up: bool, reason: str
) -> None:
    """Each gets one short, printable line with what is wrong with it."""

    async def main() -> None:
        async with peer(answer, hangs_up=hangs_up) as port:
            ear = await try_for_a_while(f"redis://{HOST}:{port}")
            assert ear.states == []

    asyncio.run(main())
    [line] = lines(caplog)
    assert reason in line
    assert line.isprintable()
    assert len(line) < 400


def test_attempts_do_not_hammer(caplog: pytest.LogCaptureFixture) -> None:
    """Pauses grow: a peer that refuses at once is not asked more often than the backoff allows."""

    async def main() -> None:
        async with peer(b"-ERR no\r\n", hangs_up=True) as port, Proxy(port).open() as proxy:
            await try_for_a_while(f"redis://{HOST}:{proxy.port}", quick(backoff_first=0.1, backoff_max=10.0))
            assert 1 <= proxy.connections <= 25

    asyncio.run(main())


def test_a_name_that_does_not_resolve(caplog: pytest.LogCaptureFixture) -> None:
    """A host that does not exist is one line in the log, and start returns."""
    began = time.monotonic()
    ear = attempt("redis://no-such-host.invalid:6379")
    assert ear.states == []
    assert time.monotonic() - began < 5.0
    assert len(lines(caplog)) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody but a test trusts, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    words = f"{need('openssl')} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=shoal -keyout {key} -out {cert}"
    subprocess.run([*words.split(), "-addext", f"subjectAltName=IP:{HOST}"], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(key.read_text() + cert.read_text())
    return both


@pytest.mark.parametrize(
    ("host", "options", "reason"),
    [
        (HOST, "?ssl_ca_certs={certificate}", ""),
        (HOST, "?ssl_cert_reqs=none", ""),
        ("localhost", "?ssl_ca_certs={certificate}&ssl_check_hostname=false", ""),
        (HOST, "", "certificate not accepted: self-signed certificate"),
        ("localhost", "?ssl_ca_certs={certificate}", "certificate not accepted: Hostname mismatch"),
    ],
    ids=["trusted", "unchecked", "any name", "unknown", "another name"],
)
def test_tls(caplog: pytest.LogCaptureFixture, certificate: Path, host: str, options: str, reason: str) -> None:
    """`rediss://` speaks TLS, and checks certificate and name unless the URL says otherwise."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def main() -> None:
        with Broker() as broker:
            async with Proxy(broker.port, context).open() as proxy:
                url = f"rediss://{host}:{proxy.port}{options.format(certificate=certificate)}"
                ear = Ear(open_bus(url, limits=quick()))
                await ear.start()
                if not reason:
                    await ear.listen("room")
                    ear.bus.publish("room", b"x" * 300_000)
                    await ear.until(lambda: ear.heard)
                assert ear.bus.up is not bool(reason)
                await ear.bus.close()

    asyncio.run(main())
    found = lines(caplog)
    assert [reason in line for line in found] == ([True] if reason else [])


def test_a_plain_broker_behind_a_tls_url(caplog: pytest.LogCaptureFixture) -> None:
    """`rediss://` on a broker without TLS says so in one line."""
    with Broker() as broker:
        ear = attempt(broker.url.replace("redis://", "rediss://"))
    assert ear.states == []
    assert len(lines(caplog)) == 1
