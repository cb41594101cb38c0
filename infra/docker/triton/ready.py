"""Whether Triton's gRPC port speaks. Only the standard library: an HTTP/2 greeting by hand."""

from __future__ import annotations

import socket
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def main() -> int:
    """A server that speaks HTTP/2 on its port has loaded its models: Triton opens the port after that."""
    try:
        with socket.create_connection(("127.0.0.1", 8001), timeout=2) as connection:
            connection.sendall(PREFACE + SETTINGS)
            return 0 if len(connection.recv(9)) == 9 else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
