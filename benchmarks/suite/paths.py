"""Where things lie. Everything that is built goes into `benchmarks/build`, which is not committed."""

from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
NATIVE = HERE / "native"
PEERS = HERE / "peers"
SERVERS = HERE / "servers"
BUILD = HERE / "build"
BUILT_PEERS = BUILD / "peers"
PSIO_VENV = BUILD / "python-socketio"
CERTIFICATE = BUILD / "tls"  # a folder with cert.pem and key.pem
REPORTS = HERE.parent / "docs" / "benchmarks"
