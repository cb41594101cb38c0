from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from operations.setup import check, environments, golang, interpreter, python, shell, steps, system
from operations.setup.binaries import BINARIES, CHECKOUT, OPA, Binary
from operations.setup.shell import SetupFailed, run

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "portico"


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_second_set_up_does_nothing_and_needs_no_network() -> None:
    environment = os.environ | {"HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "GOPROXY": "off"}
    command = (CHECKOUT / "operations/setup/run.sh", "setup")
    subprocess.run(command, check=True, capture_output=True)
    began = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert time.monotonic() - began < 3, "0.1 s on a quiet machine"


@pytest.mark.parametrize("binary", BINARIES, ids=lambda binary: binary.name)
def test_binary_is_named_after_what_pins_it(binary: Binary, cache: Path) -> None:
    assert binary.path.parent == cache / "bin"
    assert re.fullmatch(rf"{binary.name}-\d+\.\d+\.\d+-[0-9a-f]{{8}}", binary.path.name)
    assert binary.package.startswith(binary.module)
    assert f"tool {binary.package}\n" in (binary.source / "go.mod").read_text()


def test_binary_in_the_cache_is_the_pinned_version() -> None:
    said = subprocess.run((OPA.path, "version"), capture_output=True, text=True, check=True).stdout
    assert f"Version: {OPA.version}\n" in said


def test_a_cached_binary_is_not_built_again(cache: Path) -> None:
    assert golang.missing() == BINARIES
    for binary in BINARIES:
        script(binary.path, "exit 0")
    assert golang.missing() == ()
    golang.provide(Path("/nonexistent/uv"))
    assert sorted(path.name for path in cache.iterdir()) == ["bin"]


def test_takes_a_program_of_the_same_version_in_path(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for binary in BINARIES:
        script(tmp_path / "programs" / binary.name, f"echo 'Version: {binary.version}'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:/usr/bin:/bin")
    golang.provide(Path("/nonexistent/uv"))
    assert golang.missing() == ()


def test_does_not_take_a_program_of_another_version(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for binary in BINARIES:
        script(tmp_path / "programs" / binary.name, f"echo 'Version: {binary.version}1'")
    script(tmp_path / "programs" / "go", "echo 'go version go1.9 linux/amd64'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:/usr/bin:/bin")
    with pytest.raises(SetupFailed, match="uv cannot be started"):
        golang.provide(Path("/nonexistent/uv"))
    assert not list(cache.glob("go-*")), "the build folder is deleted after a failure"


def test_finds_a_python_that_fits() -> None:
    best, every = interpreter.find()
    assert best is not None
    assert best in every
    assert best.library
    assert best.version in ((3, 11), (3, 12))


@pytest.mark.parametrize(("version", "library"), [("3, 13", "true"), ("3, 11", "false"), ("3, 10", "true")])
def test_passes_over_a_python_that_does_not_fit(tmp_path: Path, version: str, library: str) -> None:
    facts = f'{{"version": [{version}], "path": "/x", "library": {library}, "venv": true, "pip": true}}'
    found = interpreter.examine(script(tmp_path / "python3", f"echo '{facts}'"))
    assert found is not None
    assert not found.fits


def test_passes_over_a_python_that_does_not_start(tmp_path: Path) -> None:
    assert interpreter.examine(script(tmp_path / "python3", "exit 127")) is None


def test_names_the_package_where_no_python_can_be_had(cache: Path) -> None:
    lock = environments.digest_of(environments.SETUP / "tools.lock")[:12]
    script(cache / "tools" / lock / "bin" / "uv", "echo 'no network' >&2; exit 1")
    with pytest.raises(SetupFailed, match=r"sudo apt install libpython3\.12, or use compose"):
        python._from_uv([], ("libpython3.12",))


def test_a_failed_command_shows_its_last_lines_and_its_log(cache: Path) -> None:
    with pytest.raises(SetupFailed) as failed:
        run(("sh", "-c", "echo the reason; exit 3"))
    assert "the reason" in str(failed.value)
    assert str(cache / "setup.log") in str(failed.value)
    assert "the reason" in (cache / "setup.log").read_text()


def test_what_runs_beside_is_broken_off(cache: Path) -> None:
    with ThreadPoolExecutor(1) as beside:
        sleeping = beside.submit(run, ("sleep", "600"))
        while not shell._running:
            time.sleep(0.01)
        shell.break_off()
        with pytest.raises(SetupFailed):
            sleeping.result(timeout=10)


def test_refuses_a_machine_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "DISK_BYTES", 10**18)
    with pytest.raises(SetupFailed, match=r"GiB free at .*compose"):
        system.check_machine()


def test_this_machine_is_fit() -> None:
    system.check_machine()
    assert system.machine_problems() == []


def test_passes_pips_index_on_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://registry.example/simple")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    assert environments.uv_environment()["UV_DEFAULT_INDEX"] == "https://registry.example/simple"


def test_stamps_forget_what_was_made_from_other_pins(tmp_path: Path) -> None:
    stamps = environments.Stamps(tmp_path)
    assert not stamps.has("main", "one")
    stamps.put("main", "one")
    assert stamps.has("main", "one")
    assert not stamps.has("main", "two")


def test_links_the_program_but_leaves_another_one_alone(tmp_path: Path) -> None:
    steps.link_program(tmp_path / "bin")
    link = tmp_path / "bin" / "portico"
    assert link.readlink() == environments.MAIN / "bin" / "portico"
    link.unlink()
    link.symlink_to(tmp_path / "gone")
    steps.link_program(tmp_path / "bin")
    assert link.readlink() == environments.MAIN / "bin" / "portico"
    link.unlink()
    link.write_text("another program")
    steps.link_program(tmp_path / "bin")
    assert link.read_text() == "another program"


def test_program_starts_from_a_folder_with_spaces(tmp_path: Path) -> None:
    python = tmp_path / "a folder" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    program = tmp_path / "portico"
    program.write_text(environments.SCRIPT.format(python=python))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run((program, "--help"), capture_output=True, text=True, env=environment, check=True)
    assert "Usage: portico" in done.stdout


def test_check_fails_when_one_check_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run_all([("good", ["true"])]) == 0
    assert check.run_all([("bad", ["sh", "-c", "echo why; exit 1"]), ("good", ["true"])]) == 1
    printed = capsys.readouterr().out
    assert "why" in printed
    assert printed.count("ok") == 2


def test_help_is_fast_and_loads_no_library() -> None:
    code = "import sys; import entrypoints.cli.main as m; m.main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    assert "typer" not in done.stdout
    assert "pydantic" not in done.stdout
