"""What puts the seccomp profiles onto a node: run as its pod runs it, with folders of the test's own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

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
