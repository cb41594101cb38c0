"""Becomes the program of an MCP server, within limits: `python -I mcp_child.py DATA_BYTES PROGRAM [ARGUMENT…]`.

A program of its own and not code between fork and exec: the worker has threads. Standard library only.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
OPEN_FILES = 1024


def main() -> None:
    data_bytes, program = int(sys.argv[1]), sys.argv[2]
    # The worker may be killed at any time; its children must not stay.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    # What is written to, not what is reserved: JavaScript engines reserve far more than they use.
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    os.execv(program, sys.argv[2:])


main()
