"""Certificates for tests: made by openssl, for this machine's loopback address, for a day."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.requirements import need

ADDRESS = "127.0.0.1"


def make_certificate(folder: Path, name: str = "served", password: str = "") -> tuple[Path, Path]:
    """A certificate that nobody has signed but itself, and its key; with a password, an encrypted one."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "1"]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{ADDRESS}"]
    secret = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([need("openssl"), "req", *kind, *subject, *secret, *files], check=True, capture_output=True)
    return certificate, key
