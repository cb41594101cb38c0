"""Runs in each image: what there is, held against what the image says of itself. Only the standard library."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from importlib.metadata import distributions
from pathlib import Path

SBOM = Path("/opt/portico/sbom.cdx.json")
NOT_FILES = ("/proc", "/sys", "/dev", "/tmp")


def walked() -> tuple[list[str], list[str]]:
    """Folders of packages, and programs that make somebody else of who starts them."""
    packages, rights = [], []
    for folder, inside, files in os.walk("/"):
        inside[:] = [name for name in inside if os.path.join(folder, name) not in NOT_FILES]
        packages += [
            os.path.join(folder, name) for name in inside if name in ("site-packages", "dist-packages")
        ]
        for name in files:
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                rights.append(os.path.join(folder, name))
    return packages, rights


def main() -> None:
    packages, rights = walked()
    bill = json.loads(SBOM.read_text())
    listed = {one["purl"]: one for one in bill["components"]}
    installed = {
        f"pkg:pypi/{re.sub(r'[-_.]+', '-', one.metadata['Name']).lower()}@{one.version}"
        for folder in packages
        for one in distributions(path=[folder])
    }
    writable = [path for path in ("/", "/usr", "/opt/portico", "/etc") if os.access(path, os.W_OK)]
    told = {
        "name": bill["metadata"]["component"]["name"],
        "uid": os.getuid(),
        "capabilities": re.search(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[1],  # type: ignore[index]
        "writable": writable,
        "setuid": rights,
        "package_managers": [name for name in ("apt-get", "dpkg", "pip3") if Path("/usr/bin", name).exists()],
        "installed": len(installed),
        "unlisted": sorted(installed - set(listed)),
        "without_hash_or_license": sorted(
            purl
            for purl in installed & set(listed)
            if not listed[purl].get("externalReferences") and not listed[purl].get("licenses")
        ),
        "kinds": sorted({purl.split("/")[0] for purl in listed}),
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
