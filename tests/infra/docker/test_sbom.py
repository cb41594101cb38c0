"""The list of what an image is made of, made of this environment, and held against the standard's schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.docker import sbom
from tests.support import CHECKOUT

LOCK = CHECKOUT / "requirements-dev.lock"
STATUS = """Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.2.13.dfsg-1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
MODULES = """runsc: go1.27.3
\tpath\tgvisor.dev/gvisor/runsc
\tmod\tgvisor.dev/gvisor\tv0.0.0-20260905035102-160fafc42237\th1:DBZZqJ2Rkml6QMQsZywtnjnnGvHza6BTfYFWY9kjEWQ=
\tdep\tgolang.org/x/sys\tv0.40.0\th1:DBZZqJ2Rkml6QMQsZywtnjnnGvHza6BTfYFWY9kjEWQ=
\tdep\tgithub.com/old/one\tv1.0.0
\t=>\tgithub.com/new/one\tv1.0.1\th1:DBZZqJ2Rkml6QMQsZywtnjnnGvHza6BTfYFWY9kjEWQ=
\tbuild\t-compiler=gc
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file system of an image with this environment in it."""
    root = tmp_path_factory.mktemp("root")
    for folder in ("var/lib/dpkg", "etc", "usr/share/doc/zlib1g", "opt/portico/env/lib/python3.11"):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(STATUS)
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (root / "usr/share/doc/zlib1g/copyright").write_text("Files: *\nLicense: Zlib\n")
    packages = next(Path(sys.prefix, "lib").glob("python3*/site-packages"))
    (root / "opt/portico/env/lib/python3.11/site-packages").symlink_to(packages)
    return root


@pytest.fixture(scope="module")
def written(root: Path) -> dict[str, Any]:
    """As an image's build calls it."""
    modules = root / "modules"
    modules.write_text(MODULES)
    output = root / "sbom.cdx.json"
    program = CHECKOUT / "infra" / "docker" / "sbom.py"
    named = ("--name", "portico", "--version", "1.2", "--lock", LOCK, "--go", modules, "--root", root)
    subprocess.run((sys.executable, "-I", program, *named, "--output", output), check=True)
    content: dict[str, Any] = json.loads(output.read_text())
    return content


def test_it_follows_the_schema(written: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(written)) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps({**written, "version": "x"}))


def test_every_installed_package_is_named_with_hash_and_license(written: dict[str, Any]) -> None:
    packages = next(Path(sys.prefix, "lib").glob("python3*/site-packages"))
    listed = {one["purl"]: one for one in written["components"]}
    locked = sbom.hashes_of([LOCK.read_text()])
    installed = list(distributions(path=[str(packages)]))
    assert len(installed) > 100
    for found in installed:
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        one = listed[f"pkg:pypi/{name}@{found.version}"]
        if (name, found.version) in locked:  # else it came with the interpreter
            assert one["externalReferences"][0]["hashes"], name
    without = [purl for purl, one in listed.items() if "pypi" in purl and not one.get("licenses")]
    assert len(without) < len(installed) / 20, without


def test_debians_packages_and_gos_modules_are_there(written: dict[str, Any]) -> None:
    listed = {one["purl"]: one for one in written["components"]}
    zlib = listed["pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64&distro=debian-12"]
    assert zlib["licenses"] == [{"license": {"name": "Zlib"}}]
    assert not [purl for purl in listed if "/gone@" in purl]
    assert len(listed["pkg:golang/golang.org/x/sys@v0.40.0"]["hashes"][0]["content"]) == 64
    assert "pkg:golang/gvisor.dev/gvisor@v0.0.0-20260905035102-160fafc42237" in listed
    assert "pkg:golang/github.com/new/one@v1.0.1" in listed
    assert "pkg:golang/github.com/old/one@v1.0.0" not in listed


def test_the_same_image_gives_the_same_list(root: Path, written: dict[str, Any]) -> None:
    again = sbom.bill(root, "portico", "1.2", [LOCK], [root / "modules"])
    assert json.dumps(again, sort_keys=True) == json.dumps(written, sort_keys=True)
    assert sbom.bill(root, "portico", "1.3", [LOCK], [])["serialNumber"] != written["serialNumber"]
