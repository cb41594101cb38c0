"""`portico deploy init`: what it makes, what it keeps, and what it says when it is asked for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoints.cli.main import main

pytestmark = pytest.mark.alone


def init(folder: Path, *more: str) -> int:
    return main(["deploy", "init", str(folder), *more])


def test_it_makes_everything_and_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "--site", "chat.example.com") == 0
    env = tmp_path / ".env"
    assert env.read_text() == "PORTICO_SITE=chat.example.com\nPORTICO_HTTPS_PORT=443\n"
    assert f"made {env}" in capsys.readouterr().out
    for again in ((), ("--site", "chat.example.com"), ("--https-port", "443")):
        assert init(tmp_path, *again) == 0
        assert f"kept {env}" in capsys.readouterr().out


def test_without_a_site_it_is_this_machine(tmp_path: Path) -> None:
    assert init(tmp_path, "--https-port", "8443") == 0
    assert (tmp_path / ".env").read_text() == "PORTICO_SITE=localhost\nPORTICO_HTTPS_PORT=8443\n"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--site", "other.example.com"), "PORTICO_SITE=other.example.com"),
        (("--https-port", "8443"), "PORTICO_HTTPS_PORT=8443"),
    ],
)
@pytest.mark.parametrize(
    "env", ['PORTICO_SITE="chat.example.com"\n', "PORTICO_TLS=internal\nPORTICO_HTTPS_PORT=9\n"]
)
def test_what_an_env_file_says_otherwise_is_told_and_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], env: str, more: tuple[str, str], line: str
) -> None:
    (tmp_path / ".env").write_text(env)
    assert init(tmp_path, *more) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert line in said and str(tmp_path / ".env") in said
    assert (tmp_path / ".env").read_text() == env and not (tmp_path / "secrets").exists()


def test_a_lost_key_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path) == 0
    (tmp_path / "secrets" / "master_key").unlink()
    assert init(tmp_path) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert "master_key" in said and "backup" in said
    assert not (tmp_path / "secrets" / "master_key").exists()
