"""`python -m entrypoints.serve.probe api|worker`: whether this container's process works. For health checks.

The worker renews its file while its event loop turns, so that one that hangs is seen, too.
"""

from __future__ import annotations

import http.client
import sys
import time

from portico.settings.home import Home

FRESH_S = 15.0
TIMEOUT_S = 2.5


def main(arguments: list[str]) -> int:
    part = arguments[0] if arguments else "api"
    try:
        return 0 if (_worker() if part == "worker" else _api()) else 1
    except (OSError, http.client.HTTPException):
        return 1


def _worker() -> bool:
    ready = Home.from_environment().run / "worker.ready"
    return time.time() - ready.stat().st_mtime < FRESH_S


def _api() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=TIMEOUT_S)
    connection.request("GET", "/healthz")
    return connection.getresponse().status == 200


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
