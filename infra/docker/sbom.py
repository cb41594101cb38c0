"""Writes what an image is made of, as CycloneDX 1.6 JSON: Debian's packages, Python's, and Go's modules.

`python3 sbom.py --name NAME --version VERSION --lock LOCK … --go FILE … --output FILE`, run in the image itself, so
that what is listed is what is there. Hashes of Python's packages are those that the locks demanded when they were
installed. `--go` takes what `go version -m` says of a program. The same image gives the same bytes. Only the
standard library.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

NOT_FILES = ("proc", "sys", "dev", "run", "tmp")
PACKAGES = ("site-packages", "dist-packages")
LONGEST_LICENSE = 100
Component = dict[str, Any]


def bill(root: Path, name: str, version: str, locks: Iterable[Path], go: Iterable[Path]) -> dict[str, Any]:
    """The whole list. Each component stands once, however often it is installed."""
    known = hashes_of(path.read_text() for path in locks)
    found = [*debian(root), *python(root, known), *(one for file in go for one in modules(file.read_text()))]
    components = [dict(one) for _, one in sorted({one["bom-ref"]: one for one in found}.items())]
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": name,
                "name": name,
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": name, "dependsOn": [one["bom-ref"] for one in components]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content, sort_keys=True))
    return {**content, "serialNumber": f"urn:uuid:{serial}"}


def hashes_of(locks: Iterable[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(name, version) → the SHA-256 of each file that a lock allows for it."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for text in locks:
        for entry in re.split(r"\n(?=\S)", text.replace("\\\n", " ")):
            head = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", entry)
            if head:
                key = (_normal(head[1]), head[2])
                found[key] = (*found.get(key, ()), *re.findall(r"sha256:([0-9a-f]{64})", entry))
    return found


def python(root: Path, known: dict[tuple[str, str], tuple[str, ...]]) -> Iterator[Component]:
    for folder in package_folders(root):
        for found in distributions(path=[str(folder)]):
            yield _distribution(found, known)


def package_folders(root: Path) -> Iterator[Path]:
    """Every folder from which a Python takes its packages."""
    for folder, inside, _ in os.walk(root):
        if folder == str(root):
            inside[:] = [name for name in inside if name not in NOT_FILES]
        here = [name for name in inside if name in PACKAGES]
        yield from (Path(folder, name) for name in here)
        inside[:] = [name for name in inside if name not in PACKAGES]


def _distribution(found: Distribution, known: dict[tuple[str, str], tuple[str, ...]]) -> Component:
    name, version = _normal(found.metadata["Name"]), found.version
    reference = f"pkg:pypi/{name}@{version}"
    made = _component("library", name, version, reference)
    hashes = known.get((name, version), ())
    if hashes:
        listed = [{"alg": "SHA-256", "content": one} for one in dict.fromkeys(hashes)]
        made["externalReferences"] = [{"type": "distribution", "url": reference, "hashes": listed}]
    licenses = _licenses(found)
    return {**made, "licenses": licenses} if licenses else made


def _licenses(found: Distribution) -> list[dict[str, Any]]:
    """As the package says it: an expression, else words, else what it is classified as."""
    metadata: Any = found.metadata  # a message with headers, of which the stubs know half
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    words = " ".join((metadata.get("License") or "").split())
    if words and words != "UNKNOWN" and len(words) <= LONGEST_LICENSE:
        return [{"license": {"name": words}}]
    classified = [
        line.split(" :: ")[-1]
        for line in metadata.get_all("Classifier") or ()
        if line.startswith("License :: ")
    ]
    return [{"license": {"name": one}} for one in dict.fromkeys(classified)]


def debian(root: Path) -> Iterator[Component]:
    status = root / "var/lib/dpkg/status"
    release = re.search(r'^VERSION_ID="?([^"\n]+)', _text(root / "etc/os-release"), re.MULTILINE)
    distro = f"&distro=debian-{release[1]}" if release else ""
    for paragraph in _text(status).split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version = fields["Package"], fields["Version"]
        reference = f"pkg:deb/debian/{name}@{version}?arch={fields['Architecture']}{distro}"
        made = _component("library", name, version, reference)
        licenses = sorted(set(re.findall(r"^License: *(\S.{0,99})$", _copyright(root, name), re.MULTILINE)))
        yield {**made, "licenses": [{"license": {"name": one}} for one in licenses]} if licenses else made


def _copyright(root: Path, name: str) -> str:
    return _text(root / "usr/share/doc" / name / "copyright")


def modules(text: str) -> Iterator[Component]:
    """What `go version -m` lists; a module that was replaced is the one that stands in for it."""
    lines = [line.split() for line in text.splitlines() if line.startswith("\t")]
    for number, words in enumerate(lines):
        replaced = number + 1 < len(lines) and lines[number + 1][0] == "=>"
        if words[0] not in ("mod", "dep", "=>") or words[2] == "(devel)" or replaced:
            continue
        made = _component("library", words[1], words[2], f"pkg:golang/{words[1]}@{words[2]}")
        if len(words) > 3:
            content = base64.b64decode(words[3].removeprefix("h1:")).hex()
            made["hashes"] = [{"alg": "SHA-256", "content": content}]
        yield made


def _component(kind: str, name: str, version: str, reference: str) -> Component:
    return {"type": kind, "bom-ref": reference, "name": name, "version": version, "purl": reference}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def main() -> None:
    wanted = argparse.ArgumentParser(description="writes what an image is made of")
    wanted.add_argument("--name", required=True)
    wanted.add_argument("--version", required=True)
    wanted.add_argument("--lock", type=Path, nargs="*", default=[])
    wanted.add_argument("--go", type=Path, nargs="*", default=[])
    wanted.add_argument("--root", type=Path, default=Path("/"))
    wanted.add_argument("--output", type=Path, required=True)
    given = wanted.parse_args()
    content = bill(given.root, given.name, given.version, given.lock, given.go)
    given.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
