"""Free TCP ports: for inner parts, and for the edge."""

from __future__ import annotations

import random
import socket

from portico.errors import Misconfigured

LOOPBACK = "127.0.0.1"
INNER_PORTS = range(20_000, 32_000)
"""Below Linux' range for outgoing connections, which would take a free one."""
EDGE_TRIES = 100


def is_free(port: int, *, host: str = LOOPBACK) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def inner_address(known: str | None) -> str:
    """The address that was used before, or one on a free port."""
    if known and is_free(int(known.rpartition(":")[2])):
        return known
    port = next(port for port in random.sample(INNER_PORTS, len(INNER_PORTS)) if is_free(port))
    return f"{LOOPBACK}:{port}"


def edge_port(wanted: int, *, host: str, insist: bool, known: int | None) -> int:
    """The port that a person set, else the one used before, else the first free one from `wanted` on.

    Raises `Misconfigured` where the port that a person set is taken.
    """
    if insist and wanted:
        if not is_free(wanted, host=host):
            raise Misconfigured(
                f"port {wanted} is taken; stop what listens there, or choose another with --port"
            )
        return wanted
    candidates = [known] if known else []
    candidates += (
        list(range(wanted, wanted + EDGE_TRIES)) if wanted else random.sample(INNER_PORTS, EDGE_TRIES)
    )
    for port in candidates:
        if is_free(port, host=host):
            return port
    raise Misconfigured(f"no free port from {wanted} on; choose one with --port")
