"""E2B's unmodified JavaScript SDKs, installed from a lock into the cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from operations.setup.binaries import cache_directory
from tests.sandbox.conftest import Service

HERE = Path(__file__).with_name("javascript")
LOCK = HERE / "package-lock.json"


@pytest.fixture(scope="module")
def packages() -> Path:
    """A folder with `node_modules` as the lock says. Installed once for each lock."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not there: they run E2B's JavaScript SDK")
    folder = cache_directory() / "javascript" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(HERE / name, folder / name)
            install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
            subprocess.run(install, cwd=folder, check=True, timeout=150)
            (folder / "done").touch()
    return folder


def test_no_address_is_in_the_lock() -> None:
    packages = json.loads(LOCK.read_text())["packages"].values()

    assert not [package for package in packages if "resolved" in package]


def test_the_sdks_work_unchanged(service: Service, packages: Path) -> None:
    script = packages / f"sdk-{os.getpid()}.mjs"  # packages are found from where the script lies
    shutil.copyfile(HERE / "sdk.mjs", script)
    names = {"E2B_API_URL": service.url, "E2B_SANDBOX_URL": service.url, "E2B_API_KEY": service.key}
    try:
        done = subprocess.run(
            ["node", "--no-warnings", script],
            env={"PATH": os.environ["PATH"], "HOME": str(packages), **names},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        script.unlink()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "cell": {"text": "(42, 'hello')", "stdout": ["out\n"], "streamed": ["out\n"]},
        "error": "ZeroDivisionError",
        "script": "no x there",
        "chart": "bar",
        "folder": "/tmp",
        "read": "written",
        "listed": ["from.txt"],
        "missing": "FileNotFoundError",
        "watched": "watched.txt",
        "command": "hello\n",
        "failed": 3,
        "killed": True,
        "connected": "written",
        "info": {"from": "javascript"},
        "paused": True,
        "resumed": "42",
        "signed": "written",
        "ended": True,
        "gone": True,
        "stranger": "AuthenticationError",
    }


def test_the_examples_of_their_readmes_run_unchanged(service: Service, packages: Path) -> None:
    ran = 0
    for package in ("e2b", "@e2b/code-interpreter"):
        text = (packages / "node_modules" / package / "README.md").read_text()
        for example in re.findall(r"```ts\n(.*?)```", text, re.DOTALL):
            if "domain:" in example:
                continue  # for an account at E2B's own address
            script = packages / f"example-{os.getpid()}.mjs"
            script.write_text(example)
            names = {"E2B_API_URL": service.url, "E2B_SANDBOX_URL": service.url, "E2B_API_KEY": service.key}
            environment = {"PATH": os.environ["PATH"], "HOME": str(packages), **names}
            try:
                done = subprocess.run(
                    ["node", "--no-warnings", script],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
            finally:
                script.unlink()
            wanted = re.findall(r"console\.log\(.*?\)\s*// (?:outputs )?(.*)", example)
            assert done.stdout.split() == " ".join(wanted).split(), done.stderr
            ran += 1
    assert ran >= 3
