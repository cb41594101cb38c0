"""Takes a secret out of a running process's command line, which every user of the machine can read.

Triton takes the key of its restricted protocols as an argument only, and copies it when it parses its options;
what `/proc/PID/cmdline` shows afterwards is its own memory, where its parent may write.
"""

from __future__ import annotations

from pathlib import Path

from portico.processes import stat_fields

ARG_START, ARG_END = 45, 46  # of stat_fields


def hide_argument(pid: int, secret: str) -> bool:
    """Overwrite every copy of the secret among the arguments; True where none is left to read.

    False where the kernel does not let this process write there: the secret then stays visible, as documented.
    """
    words = Path(f"/proc/{pid}/cmdline").read_bytes()
    hidden = words.replace(secret.encode(), b"*" * len(secret.encode()))
    if hidden == words:
        return True
    fields = stat_fields(pid)
    start, end = int(fields[ARG_START]), int(fields[ARG_END])
    try:
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(hidden[: end - start])
    except OSError:
        return False
    return secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
