"""Find a Python 3.12 or 3.11 whose `libpython` can be loaded: the model server's stub is linked to it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from operations.setup.shell import output_of

NAMES = ("python3.12", "python3.11", "python3")
USUAL_PLACES = ("/usr/bin", "/usr/local/bin")
PROBE = """
import ctypes, importlib.util, json, os, sys, sysconfig
name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
places = [os.path.join(sys.base_prefix, "lib"), sysconfig.get_config_var("LIBDIR") or "", ""]
library = False
for place in places:
    try:
        ctypes.CDLL(os.path.join(place, name))
    except OSError:
        continue
    library = True
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "path": os.path.realpath(sys._base_executable),
    "library": library,
    "venv": importlib.util.find_spec("ensurepip") is not None,
    "pip": importlib.util.find_spec("pip") is not None,
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python on this machine: what it can be used for."""

    path: Path
    version: tuple[int, int]
    library: bool
    venv: bool
    pip: bool

    @property
    def fits(self) -> bool:
        return self.version in ((3, 11), (3, 12)) and self.library


def examine(path: Path) -> Interpreter | None:
    answer = output_of((path, "-c", PROBE))
    if answer is None:
        return None
    facts = json.loads(answer.splitlines()[-1])
    version = (facts["version"][0], facts["version"][1])
    return Interpreter(Path(facts["path"]), version, facts["library"], facts["venv"], facts["pip"])


def find() -> tuple[Interpreter | None, list[Interpreter]]:
    """The best one that fits, and all that there are (any of them may help to get another)."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *USUAL_PLACES]
    paths = [Path(folder, name) for name in NAMES for folder in folders if folder]
    found: dict[Path, Interpreter] = {}
    for path in [*paths, Path(sys.executable)]:
        if path.exists():
            interpreter = examine(path)
            if interpreter:
                found.setdefault(interpreter.path, interpreter)
    every = list(found.values())
    fitting = [one for one in every if one.fits]
    fitting.sort(key=lambda one: (one.venv or one.pip, one.version), reverse=True)
    return (fitting[0] if fitting else None), every
