"""Where things lie. Everything that is built goes into `benchmarks/build`, which is not committed."""

from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent
NATIVE = HERE / "native"
PEERS = HERE / "peers"
SERVERS = HERE / "servers"
WORK = HERE / "suite" / "work.py"  # what interpreters are compared with
BUILD = HERE / "build"
BUILT_PEERS = BUILD / "peers"
SHOAL_VENV = BUILD / "shoal"  # the environments of the Python that was chosen
PSIO_VENV = BUILD / "python-socketio"
CERTIFICATE = BUILD / "tls"  # a folder with cert.pem and key.pem
REPORTS = ROOT / "docs" / "benchmarks"
