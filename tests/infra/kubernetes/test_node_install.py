"""What puts the profiles onto a node: run as its pod runs it, with folders of the test's own."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import CHECKOUT

FILES = CHECKOUT / "infra" / "kubernetes" / "portico-node" / "files"
WITHIN_S = 20.0


def test_profiles_are_put_whole_over_older_ones_and_it_stays_until_it_is_told_to_go(tmp_path: Path) -> None:
    folder, done = tmp_path / "seccomp" / "portico", tmp_path / "done"
    folder.mkdir(parents=True)
    (folder / "sandbox.json").write_text("{")
    process = subprocess.Popen((sys.executable, FILES / "install.py", FILES, folder, done))
    try:
        ends = time.monotonic() + WITHIN_S
        while not done.exists():
            assert time.monotonic() < ends and process.poll() is None
            time.sleep(0.02)
        assert sorted(path.name for path in folder.iterdir()) == ["browser.json", "sandbox.json"]
        for path in folder.iterdir():
            assert json.loads(path.read_text())["defaultAction"] == "SCMP_ACT_ERRNO"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()


def test_a_folder_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = (sys.executable, FILES / "install.py", FILES, tmp_path / "file" / "portico", tmp_path / "done")
    assert subprocess.run(command, capture_output=True, timeout=WITHIN_S, check=False).returncode != 0
    assert not (tmp_path / "done").exists()


# --- AppArmor ------------------------------------------------------------------------------------------

SHIPPED = CHECKOUT / "infra" / "docker" / "sandbox.apparmor"
PARSER = """#!/bin/sh
echo "$@" > /asked
while IFS= read -r line; do echo "$line"; done > /read
exit {ends}
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The root of a node with a shell and AppArmor, and a parser that keeps what it is given."""
    root = tmp_path / "node"
    shell = Path("/bin/sh").resolve()
    listed = subprocess.run(("ldd", shell), capture_output=True, text=True, check=True).stdout
    for library in (str(shell), *re.findall(r"(/\S+) \(0x", listed)):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])
    if not (root / "bin/sh").exists():
        (root / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(shell, root / "bin/sh")
    enabled = root / "sys/module/apparmor/parameters/enabled"
    enabled.parent.mkdir(parents=True)
    enabled.write_text("Y\n")
    _parser(root, ends=0)
    return root


def _parser(root: Path, *, ends: int) -> None:
    parser = root / "usr/sbin/apparmor_parser"
    parser.parent.mkdir(parents=True, exist_ok=True)
    parser.write_text(PARSER.format(ends=ends))
    parser.chmod(0o755)


def _load(root: Path) -> subprocess.CompletedProcess[str]:
    """As root of a namespace of its own, which may change its root as the pod does."""
    program = (sys.executable, FILES / "apparmor.py", FILES / "sandbox.apparmor", root)
    command = ("unshare", "--user", "--map-root-user", *program)
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


def test_the_profile_is_the_one_that_servers_load() -> None:
    assert (FILES / "sandbox.apparmor").read_text() == SHIPPED.read_text()


@pytest.mark.parametrize("parser", ["4.0", "3.0"])
def test_the_node_s_own_parser_is_given_what_it_knows(node: Path, parser: str) -> None:
    (node / "etc/apparmor.d/abi").mkdir(parents=True)
    (node / "etc/apparmor.d/abi" / parser).write_text("")
    done = _load(node)
    assert done.returncode == 0, done.stderr
    assert (node / "asked").read_text() == "--replace --skip-cache\n"
    lines = SHIPPED.read_text().splitlines()
    newer = [line for line in lines if line.endswith("# (4)")]
    assert [line.split()[0] for line in newer] == ["abi", "userns,"]
    given = (node / "read").read_text().splitlines()
    assert given == (lines if parser == "4.0" else [line for line in lines if line not in newer])
    assert any(line.startswith("profile portico-sandbox ") for line in given)


@pytest.mark.parametrize("enabled", ["N\n", None])
def test_a_node_without_it_is_left_alone(node: Path, enabled: str | None) -> None:
    told = node / "sys/module/apparmor/parameters/enabled"
    told.unlink()
    if enabled is not None:
        told.write_text(enabled)
    done = _load(node)
    assert done.returncode == 0, done.stderr
    assert "no AppArmor" in done.stdout
    assert not (node / "asked").exists()


def test_a_profile_that_the_node_refuses_ends_it(node: Path) -> None:
    _parser(node, ends=1)
    assert _load(node).returncode != 0
