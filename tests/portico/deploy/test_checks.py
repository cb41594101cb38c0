"""`portico deploy check`: each thing that would keep a deployment from starting is one line."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest

from portico.deploy import secrets
from portico.deploy.checks import Finding, examine

COMPOSE = Path(__file__).resolve().parents[3] / "compose.yaml"


def fake_docker(folder: Path, *, version: str) -> None:
    """A `docker` that knows only what is asked of it here: the real one is not on every machine that runs tests."""
    program = folder / "docker"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *version*) echo {version} ;;\n'
        '*config*) echo \'{"services": {"a": 1}}\' ;;\n'
        "*) exit 1 ;; esac\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    fake_docker(programs, version="2.40.3")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    place = tmp_path / "deployment"
    secrets.make(place)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (place / ".env").write_text(f"# where\nPORTICO_SITE=chat.example.com\nPORTICO_HTTPS_PORT={port}\n")
    return place


def found(folder: Path, what: str) -> Finding:
    return next(finding for finding in examine(folder, COMPOSE) if finding.what == what)


def test_a_whole_deployment_is_well(folder: Path) -> None:
    assert [finding for finding in examine(folder, COMPOSE) if not finding.well] == []


def test_a_weak_secret_is_told(folder: Path) -> None:
    path = folder / "secrets" / "opa_token"
    path.chmod(0o600)
    path.write_text("secret")
    assert not found(folder, "secrets").well
    assert "opa_token" in found(folder, "secrets").detail


@pytest.mark.parametrize("site", ["", "not a host", "-x.com", "a..b", "https://x.com", "x" * 300])
def test_a_site_that_is_no_host_is_told(folder: Path, site: str) -> None:
    (folder / ".env").write_text(f"PORTICO_SITE={site}\n")
    assert not found(folder, "site").well


def test_a_taken_port_is_told_with_what_to_do(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (folder / ".env").write_text(f"PORTICO_SITE=x.example\nPORTICO_HTTPS_PORT={port}\n")
        finding = found(folder, "port")
    assert not finding.well and "PORTICO_HTTPS_PORT" in finding.detail


def test_an_old_plugin_is_told(folder: Path, tmp_path: Path) -> None:
    fake_docker(tmp_path / "bin", version="2.17.2")
    assert not found(folder, "compose").well
    assert "2.24" in found(folder, "compose").detail


def test_a_machine_without_docker_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "install Docker" in found(folder, "compose").detail


def test_another_architecture_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not found(folder, "machine").well


def test_findings_can_be_printed_as_json(folder: Path) -> None:
    json.dumps([vars(finding) for finding in examine(folder, COMPOSE)])
