"""What a test needs and a machine may lack: a program, a browser, an npm package.

A missing thing skips the test. With SHOAL_TEST_REQUIRE=all it fails it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent


def need(*programs: str) -> str:
    """The path of the first of `programs` that is installed, or the end of the test that asks for one."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])  # Debian's nginx is there
    found = next(filter(None, (shutil.which(program, path=path) for program in programs)), None)
    return found or missing(f"{' or '.join(programs)} is not installed")


def need_npm(package: str) -> Path:
    """The folder of an npm package, installed at the root of the repository or on NODE_PATH."""
    places = [ROOT / "node_modules", *map(Path, filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)))]
    found = [place / package for place in places if (place / package / "package.json").is_file()]
    return found[0] if found else missing(f"the npm package {package} is not installed")


def has_io_uring() -> bool:
    """Whether the kernel is new enough, and gives this process a ring. It asks by itself, for the plainest there is:
    that Shoal gets none where there are some is a failure."""
    if not sys.platform.startswith("linux") or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 1):
        return False
    descriptor = ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120))
    if descriptor >= 0:
        os.close(descriptor)
    return bool(descriptor >= 0)


needs_io_uring = pytest.mark.skipif(
    not has_io_uring(), reason="not applicable: the kernel gives no io_uring here; then nothing uses it"
)


def missing(reason: str) -> NoReturn:
    """Skip the test that asks, or fail it where nothing may be missing."""
    if os.environ.get("SHOAL_TEST_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)
