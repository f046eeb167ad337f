"""What is decided about workers before one is started."""

from __future__ import annotations

import socket

import pytest

from shoal.errors import ConfigurationError
from shoal.local.job import Job
from shoal.local.workers import Facts, address_towards, check, place

JOB = Job(app="app:io", name="w")
ALONE = Facts(brokers=("memory://",))
JOINED = Facts(brokers=("redis://127.0.0.1:6379",))


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHOAL_ADVERTISE", "SHOAL_BROKER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("host", "facts", "own", "advertised"),
    [
        ("127.0.0.1", ALONE, "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", ALONE, "127.0.0.1", "127.0.0.1"),  # the broker is here, so nobody elsewhere wants it
        ("10.0.0.1", ALONE, "127.0.0.1", "127.0.0.1"),
        ("10.0.0.1", JOINED, "10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", JOINED, "0.0.0.0", "127.0.0.1"),  # the broker is reached by loopback
        ("::1", JOINED, "::1", "::1"),
    ],
)
def test_workers_reach_each_other_where_their_broker_is(host: str, facts: Facts, own: str, advertised: str) -> None:
    job = place(Job(app="app:io", host=host), facts)
    assert (job.own_host, job.own_port, job.advertise, job.is_clustered) == (own, 0, advertised, True)


def test_an_address_that_is_given_says_the_first_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_ADVERTISE", "ws.example.org:5001")
    job = place(JOB, ALONE)
    assert (job.own_host, job.own_port, job.advertise) == ("127.0.0.1", 5001, "ws.example.org")
    monkeypatch.setenv("SHOAL_ADVERTISE", "nothing")
    with pytest.raises(ConfigurationError, match="use host:port"):
        place(JOB, ALONE)


def test_who_has_no_server_needs_nothing() -> None:
    assert place(JOB, Facts(engines=1)) == JOB


def test_a_broker_that_is_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolves_nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolves_nothing)
    with pytest.raises(ConfigurationError, match=r"no\.invalid: .*Give SHOAL_ADVERTISE=host:port"):
        address_towards("redis://no.invalid:6379")


def test_one_address_for_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"advertise='10\.0\.0\.1:80' in its code"):
        check(JOB, Facts(brokers=("memory://",), advertised=("10.0.0.1:80",)))


def test_a_broker_that_was_given_and_that_the_code_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_BROKER", "redis://127.0.0.1:6379")
    with pytest.raises(ConfigurationError, match="app:io says broker='memory://' in its code"):
        check(JOB, ALONE)
    monkeypatch.setenv("SHOAL_BROKER", "memory://")
    assert check(JOB, ALONE) == []


def test_an_engines_sessions_are_not_passed_on_and_it_says_so() -> None:
    assert check(JOB, ALONE) == []
    (words,) = check(JOB, Facts(engines=1))
    assert "its clients must use WebSockets alone" in words


def test_a_job_arrives_as_it_was_told() -> None:
    job = Job(app="app:io", tls={"ssl_certfile": "c.pem", "ssl_version": 17}, uds="/run/x.sock", own_host="::1")
    name, text = job.told(control=7)
    assert name == "SHOAL_JOB"
    assert Job.read(text) == Job(
        app="app:io", tls={"ssl_certfile": "c.pem", "ssl_version": 17}, uds="/run/x.sock", own_host="::1", control=7
    )
