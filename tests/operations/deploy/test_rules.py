"""The bundle that an OPA of its own makes before it starts: nothing but the token is needed for it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support import CHECKOUT


def _make(home: Path, bundle: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "entrypoints.cli.main", "deploy", "rules", "--bundle", str(bundle))
    environment = {"PORTICO_HOME": str(home), "PATH": "/usr/bin:/bin", **variables}
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_a_token_there_is_no_bundle(tmp_path: Path) -> None:
    done = _make(tmp_path / "home", tmp_path / "bundle.tar.gz")
    assert done.returncode != 0
    assert "policy.token is not set" in done.stderr
    assert not (tmp_path / "bundle.tar.gz").exists()


def test_own_rules_go_with_the_shipped_ones(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0" * 48)
    own = tmp_path / "home" / "policies" / "quiet.rego"
    own.parent.mkdir(parents=True)
    own.write_text("package portico.own.quiet\n")
    bundle = tmp_path / "out" / "bundle.tar.gz"
    done = _make(tmp_path / "home", bundle, PORTICO_POLICY__TOKEN=f"file:{token}")
    assert done.returncode == 0, done.stderr
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
    assert any(name.endswith("quiet.rego") for name in names)
    assert any("authz" in name for name in names)
