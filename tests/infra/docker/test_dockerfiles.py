"""The Dockerfiles: what hadolint says of them, and what each image owes to who runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.docker import seccomp
from tests.support import CHECKOUT

DOCKER = CHECKOUT / "infra" / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
FINAL = {
    "portico.Dockerfile": ("api", "worker", "worker-tools"),
    "sandbox.Dockerfile": ("sandbox",),
    "triton.Dockerfile": ("triton", "triton-official"),
}
LABELS = ("title", "description", "licenses", "version", "revision", "source")


def stages(file: Path) -> dict[str, str]:
    """Name → its own lines behind those of the stage it stands on."""
    found: dict[str, str] = {}
    for block in re.split(r"^FROM ", file.read_text(), flags=re.MULTILINE)[1:]:
        base, name = re.match(r"(\S+) AS (\S+)", block).groups()  # type: ignore[union-attr]
        found[name] = found.get(base, "") + block
    return found


def final() -> list[tuple[str, str]]:
    return [(file.name, target) for file in FILES for target in FINAL[file.name]]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        (hadolint, "--config", DOCKER / "hadolint.yaml", *FILES), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /tmp && apt-get install curl\n")
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        (hadolint, "--config", DOCKER / "hadolint.yaml", bad), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "DL3006" in done.stdout


@pytest.mark.parametrize(("file", "target"), final())
def test_an_image_says_what_it_is_and_runs_as_nobody(file: str, target: str) -> None:
    stage = stages(DOCKER / file)[target]
    for label in LABELS:
        assert f"org.opencontainers.image.{label}=" in stage, label
    assert 'portico.sbom="/opt/portico/sbom.cdx.json"' in stage
    assert re.findall(r"^USER (\S+)$", stage, re.MULTILINE)[-1] == "10001:10001"
    assert re.search(r"^HEALTHCHECK ", stage, re.MULTILINE)
    assert re.search(r"^(CMD|ENTRYPOINT) \[", stage, re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_comes_from_anywhere_but_registries_of_packages(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"^\s*(ADD|.*\b(curl|wget|git clone)\b)", text, re.MULTILINE)
    assert "id=ca" in text
    assert "required=true" not in text, "the certificates of a private registry are optional"
    assert "ARG BASE=" in text, "the base can be pinned by a digest"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_final_stands_on_nothing_that_a_build_needs(file: Path) -> None:
    found = stages(file)
    for target in FINAL[file.name]:
        assert "apt-get" not in found[target], target


def test_the_browser_is_allowed_less_than_the_sandboxes() -> None:
    def names(target: Path) -> set[str]:
        rules = seccomp.profile(*((seccomp.APART_IN_A_BROWSER,) if target == seccomp.BROWSER else ()))
        return {name for rule in rules["syscalls"] for name in rule["names"]}

    assert seccomp.BROWSER.read_text() == seccomp.text(seccomp.BROWSER)
    assert names(seccomp.BROWSER) < names(seccomp.TARGET)
    assert not names(seccomp.BROWSER) & {"mount", "pivot_root", "ptrace", "setns", "process_vm_readv"}
