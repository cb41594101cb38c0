"""`filtered.py PROFILE COMMAND…`: run a command under a container's seccomp profile, without a container.

What a container's runtime does with the profile, for the comparisons that ours uses: equality of the first argument.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import sys
from pathlib import Path

HEADERS = tuple(Path("/usr/include") / folder / "asm/unistd_64.h" for folder in ("x86_64-linux-gnu", "."))
YOUNG = {
    "cachestat": 451,
    "fchmodat2": 452,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "mseal": 462,
}
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused with EPERM
X86_64 = 0xC000003E
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, 16


def numbers() -> dict[str, int]:
    header = next(path for path in HEADERS if path.exists())
    found = re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())
    return {**YOUNG, **{name: int(number) for name, number in found}}


def program(profile: Path) -> bytes:
    known = numbers()
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    for rule in json.loads(profile.read_text())["syscalls"]:
        for name in rule["names"]:
            if name not in known:
                continue  # of another architecture
            if "args" not in rule:
                code += [(EQUAL, 0, 1, known[name]), (RETURN, 0, 0, ALLOW)]
                continue
            (compared,) = rule["args"]
            assert (compared["index"], compared["op"]) == (0, "SCMP_CMP_EQ")
            code += [(EQUAL, 0, 4, known[name]), (LOAD, 0, 0, ARGUMENT), (EQUAL, 0, 1, compared["value"])]
            code += [(RETURN, 0, 0, ALLOW), (LOAD, 0, 0, NUMBER)]
    code.append((RETURN, 0, 0, REFUSE))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def main() -> None:
    filter_ = program(Path(sys.argv[1]))
    held = ctypes.create_string_buffer(filter_)
    described = struct.pack("HxxxxxxP", len(filter_) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, described, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
