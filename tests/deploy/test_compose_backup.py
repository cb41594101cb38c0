"""Backup while people write, everything wiped, restore: every message is there, and no one is told twice."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.deploy.deployment import PROJECT, Deployment
from tests.deploy.people import Crowd
from tests.support import CHECKOUT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]
QUIET_S = 10


def portico(deployment: Deployment, *arguments: str | Path) -> None:
    files = (
        word for path in (CHECKOUT / "compose.yaml", deployment.folder / "own.yaml") for word in ("-f", path)
    )
    command = (CHECKOUT / ".venv/bin/python", "-m", "entrypoints.cli.main", "deploy", *arguments)
    done = subprocess.run(
        (*command, "--folder", deployment.folder, *files, "-p", PROJECT),
        env=deployment.docker.environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr[-3000:]}"


def test_backup_wipe_restore(deployment: Deployment, tmp_path: Path) -> None:
    archive = tmp_path / "portico.backup"
    assert deployment.answer("what is 15 * 15?", message="before-the-backup") == "15 × 15 = 225"
    before = Crowd(deployment)
    with before.talking():
        before.wait_for_sent(5)
    before.prove_each_answered_once()
    told = deployment.lines()
    during = Crowd(deployment)
    with during.talking():
        portico(deployment, "backup", archive)
    deployment.down("-v")
    deployment.forget_root()
    portico(deployment, "restore", archive)
    deployment.up()
    assert deployment.lines() == told
    time.sleep(QUIET_S)  # what the scripted server is sent twice would come now
    again = {chat: texts for chat, texts in deployment.seen().items() if chat in before.chats}
    assert again == {}
    assert deployment.answer("what is 16 * 16?", message="after-the-restore") == "16 × 16 = 256"
