"""A bus from a URL: known schemes, clear errors without secrets, limits that make sense, and no driver unless asked."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.bus import BusLimits, MemoryBus, open_bus
from shoal.bus.base import BACKOFF_MAX, BUFFER_BYTES, encode_channel, prefix_in_database
from shoal.bus.redis import RedisBus, longest_pause
from shoal.bus.redis_url import Endpoint, read_by_driver, read_plainly
from shoal.bus.redis_wire import encode_command, reason_of
from shoal.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "kind"),
    [("memory://", MemoryBus), ("memory://hub", MemoryBus), ("redis://h", RedisBus), ("rediss://h:1/2", RedisBus)],
)
def test_the_scheme_chooses_the_bus(url: str, kind: type) -> None:
    """Each known scheme makes its bus, which does nothing before it is started."""
    bus = open_bus(url)
    assert type(bus) is kind
    assert not bus.up


@pytest.mark.parametrize("tail", ["", "/0", "/00", "/1", "/01", "/10/", "?db=0", "?db=3", "/1?db=2", "/1?db=0"])
def test_clusters_are_apart_where_their_databases_are(tail: str) -> None:
    """However its number is written: the channels' prefix is that of the database which the link selects."""
    [*_, (_, number)] = [(b"SELECT", b"0"), *Endpoint.parse(f"redis://h{tail}").login]
    expected = "p" if number == b"0" else f"p@{number.decode()}"
    assert prefix_in_database(f"redis+streams://h{tail}", "p") == expected


@pytest.mark.parametrize("url", ["kafka://h", "redis:h", "", "://", "localhost:6379", "REDIS://h"])
def test_an_unknown_scheme_is_refused(url: str) -> None:
    """The error names the schemes that are known."""
    with pytest.raises(ConfigurationError, match="the known ones are memory://, redis://, rediss://"):
        open_bus(url)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("h:port", "port"),
        ("h:99999", "0-65535"),
        ("h/first", "'/first' is no database number"),
        ("h?db=x", "db"),
        ("h?databse=1", "unknown option 'databse'"),
        ("h?socket_timeout=3", "unknown option 'socket_timeout'"),
        ("h?ssl_ca_certs=/etc/hosts", "unknown option 'ssl_ca_certs'"),
        ("[::1", "IPv6"),
        ("a..b", "label"),
    ],
)
def test_a_url_that_cannot_be_used(tail: str, words: str) -> None:
    """One line that says what is wrong and never repeats the password."""
    with pytest.raises(ConfigurationError) as caught:
        open_bus(f"redis://user:open-sesame@{tail}")
    assert words in str(caught.value)
    assert "open-sesame" not in str(caught.value)


@pytest.mark.parametrize("options", ["ssl_ca_certs=/no/such/file", "ssl_cert_reqs=maybe", "ssl_ca_certs=/etc/hosts"])
def test_tls_options_are_looked_at_early(options: str) -> None:
    """A certificate that cannot be read is an error of configuration, not of the first connection."""
    with pytest.raises(ConfigurationError, match=r"^broker rediss://h:"):
        open_bus(f"rediss://h?{options}")


@pytest.mark.parametrize(
    ("url", "host", "port", "login"),
    [
        ("redis://", "localhost", 6379, ()),
        ("redis://h", "h", 6379, ()),
        ("redis://[::1]:7/0", "::1", 7, ()),
        ("redis://:p%40ss@h/3", "h", 6379, ((b"AUTH", b"p@ss"), (b"SELECT", b"3"))),
        ("redis://me:p@h?db=4", "h", 6379, ((b"AUTH", b"me", b"p"), (b"SELECT", b"4"))),
        ("redis://me@h", "h", 6379, ((b"AUTH", b"me", b""),)),
    ],
)
def test_a_url_is_read_as_everywhere(url: str, host: str, port: int, login: tuple[Any, ...]) -> None:
    """Host, port and the commands that log in are those that redis-py would use; the label holds no secret."""
    endpoint = Endpoint.parse(url)
    assert (endpoint.host, endpoint.port, endpoint.login) == (host, port, login)
    assert endpoint.label.startswith("redis://")
    assert "@" not in endpoint.label


HOSTS = st.sampled_from(["h", "a.b-c", "10.0.0.1", "-", ".", "..", "H", "h%20", "h_", "ü", "[::1]", "", "me@h"])
PORTS = st.sampled_from(["", ":", ":0", ":1", ":01", ":6379", ":65535", ":65536", ":99999", ":100000", ":١", ":x"])
TAILS = st.sampled_from(["", "/", "//", "/0", "/00", "/3", "/10/", "/x", "/-1", "/١", "?db=1", "/1?", "/1#", "/1\n"])


@given(st.sampled_from(["redis://", "rediss://", "REDIS://", " redis://"]), HOSTS, PORTS, TAILS)
def test_the_short_cut_reads_a_url_as_redis_py(scheme: str, host: str, port: str, tail: str) -> None:
    """What the short cut reads, it reads alike."""
    url = f"{scheme}{host}{port}{tail}"
    plainly = read_plainly(url)
    assert plainly is None or plainly == read_by_driver(url)


def test_a_plain_url_needs_no_redis_py() -> None:
    """A host with a port and a database is read without what takes as long to import as all of Shoal."""
    program = "import sys, shoal.bus as bus; bus.open_bus('redis://h:6379/2'); print({'redis'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "set()\n"


def test_a_missing_driver_names_the_extra() -> None:
    """Without redis-py the package and the memory bus work, and a Redis URL says what to type."""
    program = """
import sys
sys.modules["redis"] = None
from shoal.bus import open_bus
from shoal.errors import ConfigurationError
open_bus("memory://")
try:
    open_bus("redis://:open-sesame@h")
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "broker redis:// needs a driver that is not installed: pip install 'shoal[redis]'\n"


def test_drivers_are_not_imported_unless_asked_for() -> None:
    """Importing the bus, and opening a memory bus, imports no driver."""
    program = "import sys, shoal.bus as bus; bus.open_bus('memory://'); print({'redis', 'hiredis'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("value", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["buffer_bytes", "probe_interval", "connect_timeout", "backoff_max"])
def test_limits_are_more_than_zero(name: str, value: float) -> None:
    """Nothing can be switched off by a zero: everything has a bound."""
    with pytest.raises(ConfigurationError, match=name):
        BusLimits(**{name: value})  # type: ignore[arg-type]


def test_the_default_buffer_is_eight_mebibytes() -> None:
    """What waits for a broker that is away is 8 MiB, unless told otherwise."""
    assert BusLimits().buffer_bytes == BUFFER_BYTES == 8_388_608


@given(failures=st.integers(0, 10_000))
def test_pauses_double_up_to_a_bound(failures: int) -> None:
    """The pause after a failure is at most twice the one before, and never longer than the bound."""
    limits = BusLimits()
    pause = longest_pause(failures, limits)
    assert pause == min(longest_pause(max(failures - 1, 0), limits) * (2 if failures else 1), BACKOFF_MAX)
    assert 0 < pause <= BACKOFF_MAX


@given(st.text(st.characters(codec=None)))
def test_every_text_has_a_channel_name_of_its_own(channel: str) -> None:
    """Names of channels survive the way to bytes and back, lone surrogates included."""
    assert encode_channel(channel).decode("utf-8", "surrogatepass") == channel


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_commands_are_what_hiredis_packs(words: list[bytes]) -> None:
    """Our encoding of a command is the driver's, byte for byte."""
    hiredis = pytest.importorskip("hiredis")
    assert encode_command(tuple(words)) == hiredis.pack_command(tuple(words))


@given(st.text(), st.sampled_from([ValueError, OSError, RuntimeError]))
def test_a_reason_is_one_printable_line(text: str, kind: type[Exception]) -> None:
    """Whatever a peer or the system wrote, the log gets one short line of it."""
    reason = reason_of(kind(text))
    assert reason.isprintable()
    assert 0 < len(reason) < 210
