"""The process of functions: loads their files and calls them, one call at a time.

It runs in the environment of its functions and knows nothing but what the worker tells it over one socket: no keys,
no variables of the worker. Its worker's end is its own end. Standard library, pydantic and `portico.tool` only.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from portico.tools.functions.line import Line

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
OPEN_FILES = 1024
LARGEST_FILE = 1 << 30


def limit(memory_bytes: int, processes: int) -> None:
    """Bounds that hold for this process and everything it starts."""
    _at_most(resource.RLIMIT_CORE, 0)
    _at_most(resource.RLIMIT_DATA, memory_bytes)
    _at_most(resource.RLIMIT_NOFILE, OPEN_FILES)
    _at_most(resource.RLIMIT_FSIZE, LARGEST_FILE)
    if processes:
        _at_most(resource.RLIMIT_NPROC, processes)


def _at_most(which: int, wanted: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(which, (value, value))


def _die_with(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Serve the worker until it goes. The one argument says how."""
    given = json.loads(sys.argv[1])
    sys.argv = ["portico-function"]
    _die_with(given["parent"])
    limit(given["memory_bytes"], given["processes"])
    os.umask(0o077)
    line = Line(socket.socket(fileno=given["socket"]))
    from portico.tools.functions.calls import FunctionCalls

    calls = FunctionCalls(line, Path(given["scratch"]))
    line.send({"say": "ready"})
    while True:
        message = line.todo.get()
        answer = calls.describe(message) if message["do"] == "describe" else calls.call(message)
        line.leave_if_forked()
        line.send(answer)
