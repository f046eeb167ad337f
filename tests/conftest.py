"""What holds for every test: nothing is left behind, where nothing may be missing nothing is skipped, and tests that
run side by side do not disturb each other.

Knows threads, tasks, child processes and listening sockets of this process, and pytest-xdist by its hooks. It knows
nothing of Shoal, and holds no fixture that a test would ask for by name.
"""

from __future__ import annotations

import asyncio
import asyncio.runners
import contextlib
import fcntl
import gc
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# The helper modules' assertions read as the tests' own. Said here, before any test module can import a helper.
for _folder in ("apps", "chaos", "contract", "docker", "docs", "integration", "interop", "unit"):
    pytest.register_assert_rewrite(f"tests.{_folder}")

# Docker's tests take minutes and a daemon: `make test-docker` runs them.
collect_ignore = [] if os.environ.get("SHOAL_TEST_DOCKER") else ["docker"]

NOTHING_MAY_BE_MISSING = os.environ.get("SHOAL_TEST_REQUIRE") == "all"
NOT_APPLICABLE = "not applicable"  # opens the reason of a skip that no installation could cure

GRACE = 2.0  # seconds for what a test has ended to be gone: a thread to run out, a process to be reaped
TASKS, FILES = "/proc/self/task", "/proc/self/fd"  # read twice for each of thousands of tests, so no Path
FAILED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which a thread, a child process, a listening socket or an asyncio task is still there.

    What fixtures of a wider scope start is there before the test and does not count against it, nor does a process that
    a test has put in the place of such a one. A test that failed was cut short: what it left is ended without a word.
    """
    before = Leftovers.now()
    with _tasks_that_outlived_their_loop() as tasks:
        yield
    left = _after_grace(before)
    found = [*left.words(), *(f"task {task}" for task in tasks)]
    for pid, _ in left.children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if found and not request.node.stash.get(FAILED, False):
        pytest.fail("left behind: " + "; ".join(found), pytrace=False)


@dataclass(frozen=True)
class Leftovers:
    """What is alive in this process at one moment."""

    threads: frozenset[threading.Thread]
    children: frozenset[tuple[int, str]]
    """Process ids and command lines."""
    listeners: frozenset[str]

    @classmethod
    def now(cls) -> Leftovers:
        return cls(frozenset(threading.enumerate()), frozenset(_children()), frozenset(_listeners()))

    def __sub__(self, other: Leftovers) -> Leftovers:
        new = self._children_but_for(other)  # by their ids: a command line may be read while a program begins
        gone = Counter(command for _, command in other._children_but_for(self))
        more = Counter(command for _, command in new) - gone
        children = frozenset(child for child in new if child[1] in more)
        return Leftovers(self.threads - other.threads, children, self.listeners - other.listeners)

    def _children_but_for(self, other: Leftovers) -> set[tuple[int, str]]:
        known = {pid for pid, _ in other.children}
        return {child for child in self.children if child[0] not in known}

    def words(self) -> list[str]:
        """One phrase for each thing."""
        return [
            *(f"thread {thread.name}" for thread in self.threads),
            *(f"process {pid} ({command})" for pid, command in self.children),
            *(f"socket listening on {address}" for address in self.listeners),
        ]


def _after_grace(before: Leftovers) -> Leftovers:
    deadline = time.monotonic() + GRACE
    while (left := Leftovers.now() - before).words() and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _children() -> Iterator[tuple[int, str]]:
    """The direct children that run. One that has ended and waits to be collected is Popen's own warning."""
    if not os.path.exists(TASKS):
        return
    for task in os.listdir(TASKS):
        with contextlib.suppress(OSError), open(f"{TASKS}/{task}/children") as children:
            for pid in map(int, children.read().split()):
                command = _command(pid)
                if _state(pid) not in {"Z", "X", ""} and "multiprocessing.resource_tracker" not in command:
                    yield pid, command


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()[:120]
    return "gone"


def _listeners() -> Iterator[str]:
    """Sockets of this process that accept connections, by descriptor and address."""
    if not os.path.exists(FILES):
        return
    for name in os.listdir(FILES):
        with contextlib.suppress(OSError):
            if os.readlink(f"{FILES}/{name}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(name))) as probe:
                    if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        yield f"{probe.getsockname()} (fd {name})"


@contextlib.contextmanager
def _tasks_that_outlived_their_loop() -> Iterator[list[str]]:
    """The tasks that `asyncio.run` found when its main coroutine was done, and that nobody had cancelled.

    asyncio.run cancels them without a word. The place where it does is private, and the only one that sees them.
    """
    found: list[str] = []
    original = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]

    def record(loop: asyncio.AbstractEventLoop) -> None:
        found.extend(_name(task) for task in asyncio.all_tasks(loop) if not task.cancelling())
        original(loop)

    asyncio.runners._cancel_all_tasks = record  # type: ignore[attr-defined]
    try:
        yield found
    finally:
        asyncio.runners._cancel_all_tasks = original  # type: ignore[attr-defined]


def _name(task: asyncio.Task[object]) -> str:
    return f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', task.get_coro())})"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note that a test failed. Turn a skipped one into a failed one where nothing may be missing."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not (NOTHING_MAY_BE_MISSING and report.skipped):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(NOT_APPLICABLE):
        report.outcome = "failed"
        report.longrepr = f"skipped although SHOAL_TEST_REQUIRE=all: {reason}"


# ---- side by side ----

# In this order files are dealt to the processes of `pytest -n`: first what waits for other processes, and last what is
# short and busy, and fills every gap. The longest prefix counts.
ORDER = ("tests/test_newest_python.py", "tests/interop", "tests/integration", "", "tests/unit")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: two processes for each core, since most tests wait most of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2 * cores, 8)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort files by ORDER where they are dealt to several processes, with those that run apart at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (_company(item), _place(item.nodeid)))


def pytest_collection_finish() -> None:
    """Spare the garbage collector five thousand tests: it would walk all of them again and again."""
    gc.collect()
    gc.freeze()


def _place(nodeid: str) -> int:
    return max((len(prefix), number) for number, prefix in enumerate(ORDER) if nodeid.startswith(prefix))[1]


def _company(item: pytest.Item) -> int:
    """Beside whom it may run, and so is dealt: 0 is all others, 1 calm ones, 2 nobody."""
    return 2 if item.get_closest_marker("alone") is not None else int(item.get_closest_marker("calm") is not None)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test that is marked "alone" or "calm" wait until no other runs, and no other begin while it does; but calm
    ones run side by side.

    That holds for all processes that test this tree. Outside of the time that faulthandler gives a test.
    """
    with _lock(Path(__file__)) as others, _lock(Path(__file__).parent) as calm:
        if _company(item) == 1:
            fcntl.flock(others, fcntl.LOCK_EX)
            fcntl.flock(calm, fcntl.LOCK_SH)
            fcntl.flock(others, fcntl.LOCK_UN)
        else:
            mode = fcntl.LOCK_EX if _company(item) else fcntl.LOCK_SH
            fcntl.flock(others, mode)
            while not _is_free(calm):
                fcntl.flock(others, fcntl.LOCK_UN)  # whoever waits keeps no calm one from beginning beside another
                fcntl.flock(calm, fcntl.LOCK_EX)
                fcntl.flock(calm, fcntl.LOCK_UN)
                fcntl.flock(others, mode)
        return (yield)


def _is_free(lock: int) -> bool:
    """Whether nobody has a lock. Whoever wants it has to own another one first."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True
