"""`portico backup` and `portico restore` on a home: what they refuse, and what a kill in the middle leaves."""

from __future__ import annotations

import base64
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoints.cli.backup import whole_file
from entrypoints.cli.main import main
from operations.backup.restore import STAGING, restore_home
from operations.backup.sealed_stream import Lock
from portico.crypto.keyring import open_keyring
from portico.errors import Misconfigured
from portico.settings.home import Home
from portico.storage.engine.sqlcipher import connect
from tests.entrypoints.cli.backup_machine import Machine, facts, fill
from tests.support import CHECKOUT, until

pytestmark = pytest.mark.alone


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(Home(tmp_path / "home"), tmp_path / "saved.backup")
    fill(made.home, "heron")
    return made


def test_everything_comes_back_elsewhere_by_the_master_key(machine: Machine, tmp_path: Path) -> None:
    machine.back_up()
    assert machine.archive.stat().st_mode & 0o777 == 0o600
    content = machine.archive.read_bytes()
    assert b"heron" not in content and (machine.home.master_key.read_bytes()) not in content
    other = Home(tmp_path / "other")
    refused = machine.run("restore", str(machine.archive), home=other.root)
    assert refused.returncode == 1 and "master key" in refused.stderr
    key = str(machine.home.master_key)
    done = machine.run("restore", str(machine.archive), "--master-key", key, home=other.root)
    assert done.returncode == 0, done.stderr
    assert facts(other) == facts(machine.home)
    assert not list(other.root.glob("logs/*")) and other.root.stat().st_mode & 0o777 == 0o700


def test_everything_comes_back_by_a_passphrase_alone(machine: Machine, tmp_path: Path) -> None:
    machine.back_up(*machine.passphrase)
    other = Home(tmp_path / "other")
    done = machine.run("restore", str(machine.archive), *machine.passphrase, home=other.root)
    assert done.returncode == 0, done.stderr
    assert facts(other) == facts(machine.home)
    assert other.master_key.read_bytes() == machine.home.master_key.read_bytes()


def test_a_pipe_takes_it_too(machine: Machine) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "entrypoints.cli.main", "backup", "-"),
        cwd=CHECKOUT,
        env=machine.environment(),
        capture_output=True,
        check=True,
    )
    machine.archive.write_bytes(done.stdout)
    assert b"files and folders in all" in done.stderr
    checked = machine.run("restore", str(machine.archive), "--check")
    assert checked.returncode == 0 and "is whole" in checked.stderr


def another_key(machine: Machine) -> tuple[str, ...]:
    path = machine.archive.with_name("another.key")
    path.write_bytes(base64.b64encode(bytes(32)))
    return "--master-key", str(path)


def changed(machine: Machine) -> tuple[str, ...]:
    content = bytearray(machine.archive.read_bytes())
    content[len(content) // 2] ^= 1
    machine.archive.write_bytes(content)
    return ()


def cut(machine: Machine) -> tuple[str, ...]:
    os.truncate(machine.archive, machine.archive.stat().st_size - 1)
    return ()


def gone(machine: Machine) -> tuple[str, ...]:
    machine.archive.unlink()
    return ()


def weak(machine: Machine) -> tuple[str, ...]:
    return machine.passphrase


REFUSED: dict[str, tuple[Callable[[Machine], tuple[str, ...]], str]] = {
    "another key": (another_key, "the master key does not open this archive"),
    "changed": (changed, "damaged or cut"),
    "cut": (cut, "damaged or cut"),
    "gone": (gone, "is not there"),
    "by a passphrase that it does not have": (weak, "locked by the master key"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_refused_archive_changes_nothing(machine: Machine, how: str) -> None:
    spoil, told = REFUSED[how]
    machine.back_up()
    before = facts(machine.home)
    more = spoil(machine)
    done = machine.run("restore", str(machine.archive), "--replace", *more)
    assert done.returncode == 1 and told in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert facts(machine.home) == before
    machine.home.make()


def test_a_newer_archive_names_its_version(machine: Machine, tmp_path: Path) -> None:
    keyring = open_keyring(machine.home)
    connection = connect(machine.home.database, keyring.current("database"))
    connection.execute("INSERT INTO schema_migrations VALUES (9999, 'later', 'x', 1)")
    connection.close()
    machine.back_up()
    key = str(machine.home.master_key)
    done = machine.run("restore", str(machine.archive), "--master-key", key, home=tmp_path / "other")
    assert done.returncode == 1 and "newer version" in done.stderr and "9999" in done.stderr


def test_what_is_there_is_replaced_only_on_request_and_kept(machine: Machine, tmp_path: Path) -> None:
    machine.back_up(*machine.passphrase)
    other = Home(tmp_path / "other")
    fill(other, "stork")
    before, wanted = facts(other), facts(machine.home)
    refused = machine.run("restore", str(machine.archive), *machine.passphrase, home=other.root)
    assert refused.returncode == 1 and "--replace" in refused.stderr
    assert facts(other) == before
    done = machine.run("restore", str(machine.archive), *machine.passphrase, "--replace", home=other.root)
    assert done.returncode == 0, done.stderr
    assert facts(other) == wanted
    [kept] = other.root.glob("replaced-*")
    assert facts(Home(kept)) == before
    assert str(kept) in done.stderr
    again = machine.run("backup", str(tmp_path / "second"), home=other.root)
    assert again.returncode == 0 and b"stork" not in (tmp_path / "second").read_bytes()


def test_a_file_is_never_overwritten(machine: Machine) -> None:
    machine.archive.write_text("mine")
    done = machine.run("backup", str(machine.archive))
    assert done.returncode == 1 and "is there already" in done.stderr
    assert machine.archive.read_text() == "mine"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_hard_links_keeps_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refusing(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code), str(source))

    monkeypatch.setattr(os, "link", refusing)
    target = tmp_path / "saved"
    with whole_file(str(target)) as out:
        out.write(b"whole")
    assert target.read_bytes() == b"whole" and target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]
    target.unlink()
    with pytest.raises(Misconfigured, match="File exists"), whole_file(str(target)) as out:
        target.write_text("of somebody who was faster")
    assert target.read_text() == "of somebody who was faster"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_and_a_pipe_that_nobody_reads_are_one_line(machine: Machine) -> None:
    done = machine.run("backup", "/proc/none/saved")
    assert (
        done.returncode == 1 and "No such file" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    )
    command = f"{sys.executable} -m entrypoints.cli.main backup - | true; exit ${{PIPESTATUS[0]}}"
    (machine.home.blobs / "portico" / "blobs" / "more").write_bytes(os.urandom(8 << 20))
    piped = subprocess.run(
        ("bash", "-c", command),
        cwd=CHECKOUT,
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert piped.returncode == 1 and "Traceback" not in piped.stderr
    assert "standard output: Broken pipe" in piped.stderr


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('database.url = "postgresql://a:b@127.0.0.1:1/x"', "database.url names a server"),
        ('temporal.address = "127.0.0.1:1"', "temporal.address names a server"),
        ('storage.url = "http://127.0.0.1:1"', "storage.url names a server"),
    ],
)
def test_what_lies_elsewhere_is_not_half_saved(machine: Machine, setting: str, told: str) -> None:
    machine.home.settings.write_text(setting + "\n")
    done = machine.run("backup", str(machine.archive))
    assert done.returncode == 1 and told in done.stderr
    assert not machine.archive.exists()


def test_an_empty_home_and_a_weak_passphrase_are_told(machine: Machine, tmp_path: Path) -> None:
    nothing = machine.run("backup", str(machine.archive), home=tmp_path / "none")
    assert nothing.returncode == 1 and "nothing to back up" in nothing.stderr
    (tmp_path / "weak").write_text("short")
    weak = machine.run("backup", str(machine.archive), "--passphrase-file", str(tmp_path / "weak"))
    assert weak.returncode == 1 and "12 characters" in weak.stderr
    assert not machine.archive.exists()


def test_a_killed_backup_leaves_no_file_and_the_next_one_cleans_up(machine: Machine) -> None:
    with (machine.home.blobs / "portico" / "blobs" / "large").open("wb") as large:
        large.truncate(3 * 1024**3)
    command = (sys.executable, "-m", "entrypoints.cli.main", "backup", str(machine.archive))
    process = subprocess.Popen(command, cwd=CHECKOUT, env=machine.environment(), stderr=subprocess.DEVNULL)
    folder = machine.archive.parent
    until(lambda: any(part.stat().st_size > 2**20 for part in folder.glob(".saved.backup.*")), timeout_s=30)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not machine.archive.exists()
    for part in folder.glob(".saved.backup.*"):
        refused = machine.run("restore", str(part), "--replace")
        assert refused.returncode == 1 and "damaged or cut" in refused.stderr
    (machine.home.blobs / "portico" / "blobs" / "large").unlink()
    stale = machine.home.run / f"backup-{process.pid}"
    stale.mkdir(exist_ok=True)
    machine.back_up()
    assert not stale.exists()


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def test_a_restore_that_is_broken_off_anywhere_says_so_and_can_be_repeated(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home's own key opens the archive, and goes away with everything else of it."""
    machine.back_up()
    key = machine.home.master_key.read_bytes()
    lock = Lock("master", base64.b64decode(key))
    wanted = facts(machine.home)
    monkeypatch.delenv("PORTICO_MASTER_KEY", raising=False)
    stopped = 0
    for number in range(100):
        other = Home(tmp_path / f"other{number}")
        other.root.mkdir(mode=0o700)
        other.master_key.write_bytes(key)
        fill(other, "stork")
        before = facts(other)
        if not stop_at(other, machine.archive, lock, number, monkeypatch, master=lock.secret):
            assert facts(other) == wanted
            break
        stopped += 1
        if other.unfinished_restore.exists():
            with pytest.raises(Misconfigured, match="broken off"):
                other.make()
        else:
            assert facts(other) == before, "nothing had begun"
        monkeypatch.setenv("PORTICO_HOME", str(other.root))
        assert main(["restore", str(machine.archive), "--replace"]) == 0
        assert facts(other) == wanted
        [replaced] = other.root.glob("replaced-*")
        assert facts(Home(replaced)) == before
        other.make()
    assert stopped > 12


def test_files_that_lie_in_the_home_are_found_when_the_command_is_given_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.back_up()
    key = machine.home.master_key.read_bytes()
    lock = Lock("master", base64.b64decode(key))
    for number in range(100):
        other = Home(tmp_path / f"other{number}")
        fill(other, "stork")
        archive, kept = other.root / "saved.backup", other.root / "saved.key"
        archive.write_bytes(machine.archive.read_bytes())
        kept.write_bytes(key)
        assert stop_at(other, archive, lock, number, monkeypatch, master=lock.secret)
        if not archive.exists() and not kept.exists():
            break
    done = machine.run("restore", str(archive), "--replace", "--master-key", str(kept), home=other.root)
    assert done.returncode == 0, done.stderr
    assert facts(other) == facts(machine.home)


def stop_at(
    home: Home,
    archive: Path,
    lock: Lock,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    master: bytes | None,
) -> bool:
    """Restore, and stop before the change with this number. Whether it came to that."""
    done = 0

    def count(path: Path) -> None:
        nonlocal done
        if path.is_relative_to(home.root) and home.root / STAGING not in path.parents[1:]:
            if done == number:
                raise Killed
            done += 1

    with monkeypatch.context() as patched:
        for name in ("rename", "replace", "unlink", "rmdir"):
            real = getattr(Path, name)

            def counting(
                self: Path, *more: object, _real: Callable[..., object] = real, **how: object
            ) -> object:
                count(self)
                return _real(self, *more, **how)

            patched.setattr(Path, name, counting)
        try:
            restore_home(home, archive, lock, replace=True, master=master, tell=lambda _: None)
        except Killed:
            return True
    return False
