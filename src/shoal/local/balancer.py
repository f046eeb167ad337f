"""The configurations of nginx and HAProxy, as text, and the command lines that run them without root.

One generator per product (:mod:`.nginx`, :mod:`.haproxy`) writes both what ``shoal up`` runs on a laptop and what
``deploy/`` holds for containers; only the parameters differ. Everything here is a pure function: it writes no file and
starts nothing.
"""

from __future__ import annotations

from .address import Address
from .haproxy import haproxy_conf
from .nginx import nginx_conf
from .upstreams import BalancerSetup, name_upstreams

__all__ = ["PRODUCTION", "balancer_argv", "balancer_conf", "is_noise"]

PRODUCTION = BalancerSetup(
    servers=name_upstreams(Address(f"ws{number}", 1111 * number) for number in range(1, 5)),
    listen=Address("", 8080),
)
"""What ``shoal balancer`` prints by default: the four servers of the compose file."""


def balancer_conf(product: str, setup: BalancerSetup) -> str:
    """Return the configuration of ``product``, ``"nginx"`` or ``"haproxy"``, ready to be written to a file."""
    return {"nginx": nginx_conf, "haproxy": haproxy_conf}[product](setup)


def balancer_argv(product: str, program: str, conf: str, directory: str) -> tuple[str, ...]:
    """Return the command line that runs ``program`` in the foreground, touching nothing outside ``directory``."""
    if product == "nginx":
        # The prefix catches every path that this build's defaults might still resolve relatively.
        return (program, "-p", directory, "-c", conf, "-g", "daemon off;")
    return (program, "-db", "-q", "-f", conf)


def is_noise(product: str, line: str) -> bool:
    """Tell whether ``line`` of a balancer's log is of no interest to someone who runs a demo."""
    return any(word in line for word in _NOISE[product])


_NOISE = {
    # An unprivileged nginx tries its compiled-in error log before it reads the configuration, and only complains.
    "nginx": ("could not open error log file", "[notice]"),
    "haproxy": (
        "[NOTICE]",
        "Proxy shoal started",
        "Stopping backend",
        "Stopping proxy",
        "Proxy public s",
        "Proxy shoal s",
        "Proxy sessions s",
    ),
}
