"""`portico deploy check`: each thing that would keep a deployment from starting is one line."""

from __future__ import annotations

import errno
import json
import socket
import stat
from pathlib import Path

import pytest

from operations.checks import deployment
from operations.checks.deployment import Finding, examine
from operations.deploy import secrets
from operations.deploy.compose import Compose
from operations.deploy.edge import write_gate, write_passport
from operations.deploy.env_file import read_env
from tests.operations.deploy.test_certificates import put_certificate

COMPOSE = Path(__file__).resolve().parents[3] / "compose.yaml"


def fake_docker(folder: Path, *, version: str, daemon: str = "echo 28.2.2") -> None:
    """A `docker` that knows only what is asked of it here: the real one is not on every machine that runs tests."""
    program = folder / "docker"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *compose*version*) echo {version} ;; *version*) {daemon} ;; *" ps "*) cat {folder}/ps ;;\n'
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
    return next(finding for finding in examine(Compose(folder, (COMPOSE,))) if finding.what == what)


def test_a_whole_deployment_is_well(folder: Path) -> None:
    assert [finding for finding in examine(Compose(folder, (COMPOSE,))) if not finding.well] == []


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


class NoBinding(socket.socket):
    """The kernel towards an ordinary user and a port below 1024; tests may run as another one."""

    def bind(self, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("mine", [True, False])
def test_a_port_that_may_not_be_bound_is_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: bool
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (folder / ".env").write_text(f"PORTICO_SITE=x.example\nPORTICO_HTTPS_PORT={port}\n")
        if mine:
            program = tmp_path / "bin" / "docker"
            said = f'*"port caddy"*) echo 0.0.0.0:{port} ;;\n*config*'
            program.write_text(program.read_text().replace("*config*", said, 1))
        monkeypatch.setattr("operations.checks.deployment.socket.socket", NoBinding)
        finding = found(folder, "port")
    assert finding.well == mine
    assert ("this deployment's" if mine else "PORTICO_HTTPS_PORT") in finding.detail


def test_a_port_that_may_not_be_bound_and_answers_nobody_is_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.checks.deployment.socket.socket", NoBinding)
    assert found(folder, "port").well


def test_a_site_is_mended_where_it_stands(folder: Path) -> None:
    (folder / ".env").write_text("PORTICO_SITE=\n")
    assert "deploy init" not in found(folder, "site").detail and ".env" in found(folder, "site").detail
    (folder / ".env").unlink()
    assert "portico deploy init" in found(folder, "site").detail


def test_an_env_file_that_is_no_text_is_told(folder: Path) -> None:
    (folder / ".env").write_bytes(b"PORTICO_SITE=\xff\xfe\n")
    assert not found(folder, "site").well


def test_variables_are_read_as_compose_reads_them(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# a note\nexport A=\"/x y\"\nB='single'\nC=plain # a note\nD=a#b\n E = spaced \nF=${B}/sub\nG=\nNAKED\n"
    )
    wanted = {"A": "/x y", "B": "single", "C": "plain", "D": "a#b", "E": "spaced", "F": "single/sub", "G": ""}
    assert read_env(tmp_path / ".env") == wanted
    assert read_env(tmp_path / "none") == {}


def test_certificates_of_the_gate_that_end_soon_are_told(folder: Path) -> None:
    gate = folder / "hybrid" / "gate"
    write_passport(folder / "edge", write_gate(gate, host="core.example.org"), name="dmz")
    assert found(folder, "gate").well
    put_certificate(gate / "edges" / "dmz.crt", days=29)
    told = found(folder, "gate")
    assert not told.well and told.later, "nothing is kept from starting"
    assert "--renew --name dmz" in told.detail
    put_certificate(gate / "gate.crt", days=-1)
    told = found(folder, "gate")
    assert not told.well and not told.later and "gate.crt ended" in told.detail


def test_the_gate_is_looked_for_where_the_deployment_has_it(folder: Path, tmp_path: Path) -> None:
    assert "gate" not in [finding.what for finding in examine(Compose(folder, (COMPOSE,)))]
    with (folder / ".env").open("a") as env:
        env.write(f'PORTICO_GATE_FOLDER="{tmp_path}/elsewhere"\n')
    write_gate(tmp_path / "elsewhere", host="core.example.org")
    assert found(folder, "gate").well
    (tmp_path / "elsewhere" / "gate.crt").write_text("x")
    assert "is no certificate" in found(folder, "gate").detail


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


def test_a_daemon_that_does_not_answer_is_told(folder: Path, tmp_path: Path) -> None:
    fake_docker(tmp_path / "bin", version="2.40.3", daemon="exit 1")
    assert "no Docker daemon answers" in found(folder, "docker").detail


@pytest.mark.parametrize("port", ["http", "0", "70000", "-1", "4 43"])
def test_a_port_that_is_none_is_told(folder: Path, port: str) -> None:
    (folder / ".env").write_text(f"PORTICO_SITE=x.example\nPORTICO_HTTPS_PORT={port}\n")
    assert not found(folder, "port").well and "is no port" in found(folder, "port").detail


@pytest.mark.parametrize("address", ["203.0.113.7", "no.host.invalid"])
def test_an_address_of_another_machine_is_told(folder: Path, address: str) -> None:
    (folder / ".env").write_text(
        f"PORTICO_SITE=x.example\nPORTICO_HTTPS_PORT=18443\nPORTICO_BIND={address}\n"
    )
    assert "no address of this machine" in found(folder, "port").detail


def test_a_secret_that_is_no_text_is_told(folder: Path) -> None:
    path = folder / "secrets" / "sandbox_key"
    path.chmod(0o600)
    path.write_bytes(b"\xff\xfe" * 20)
    assert "sandbox_key" in found(folder, "secrets").detail


def test_a_container_that_ended_is_told_with_its_last_words(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"Service": "prepare", "State": "exited", "ExitCode": 0, "Status": "Exited (0)"},
        {"Service": "temporal", "State": "restarting", "ExitCode": 1, "Status": "Restarting (1)"},
        {
            "Service": "api",
            "State": "running",
            "Health": "unhealthy",
            "ExitCode": 0,
            "Status": "Up (unhealthy)",
        },
    ]
    (tmp_path / "bin" / "ps").write_text("\n".join(json.dumps(row) for row in rows))
    program = tmp_path / "bin" / "docker"
    said = "*logs*) echo first; echo sql schema version is older; exit 0 ;;\n*config*"
    program.write_text(program.read_text().replace("*config*", said, 1))
    told = {
        finding.what: finding.detail for finding in examine(Compose(folder, (COMPOSE,))) if not finding.well
    }
    assert told.keys() == {"temporal", "api"}
    assert told["temporal"] == "Restarting (1): sql schema version is older"


def test_findings_can_be_printed_as_json(folder: Path) -> None:
    json.dumps([vars(finding) for finding in examine(Compose(folder, (COMPOSE,)))])


def test_a_kernel_that_asks_for_a_profile_is_told(tmp_path: Path) -> None:
    said = tmp_path / "apparmor_restrict_unprivileged_userns"
    assert list(deployment._apparmor(tmp_path, tmp_path)) == []
    said.write_text("0\n")
    assert list(deployment._apparmor(tmp_path, tmp_path)) == []
    said.write_text("1\n")
    (finding,) = deployment._apparmor(tmp_path, tmp_path)
    assert not finding.well
    assert "PORTICO_SANDBOX_APPARMOR" in finding.detail
    (tmp_path / ".env").write_text("PORTICO_SANDBOX_APPARMOR=portico-sandbox\n")
    assert next(deployment._apparmor(tmp_path, tmp_path)).well
