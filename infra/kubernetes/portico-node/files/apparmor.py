"""Loads the sandbox service's AppArmor profile by the node's own parser, where the node has AppArmor. Ends then.

The node's root is a folder of this container. Only the standard library.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NEEDS_4 = "# (4)"
"""Marks lines that parsers before 4.0 do not know, and whose kernels need none of them."""


def fitting(profile: str, node: Path) -> str:
    """The profile as this node's parser reads it."""
    if (node / "etc/apparmor.d/abi/4.0").exists():
        return profile
    return "".join(line for line in profile.splitlines(keepends=True) if not line.rstrip().endswith(NEEDS_4))


def load(profile: str, node: Path) -> None:
    """Replaces one of that name that is loaded already. Raises `OSError`, `CalledProcessError`."""
    subprocess.run(
        ("apparmor_parser", "--replace", "--skip-cache"),
        input=fitting(profile, node).encode(),
        cwd=node,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        preexec_fn=lambda: os.chroot("."),
        check=True,
    )


def main(profile: str, root: str) -> None:
    node = Path(root)
    enabled = node / "sys/module/apparmor/parameters/enabled"
    if not enabled.exists() or enabled.read_text().strip() != "Y":
        sys.stdout.write("this node has no AppArmor: nothing to load\n")
        return
    load(Path(profile).read_text(), node)
    sys.stdout.write("the profile is loaded\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
