"""What is left of an image's system."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from infra.docker.bare import strip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("usr/bin/dash", "usr/bin/python3.11", "usr/bin/apt-get", "usr/sbin/useradd", "usr/bin/perl"):
        _file(tmp_path / name)
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    (tmp_path / "usr/bin/python3").symlink_to("/usr/bin/python3.11")
    (tmp_path / "usr/bin/gone").symlink_to("nowhere")
    _file(tmp_path / "usr/bin/su", mode=0o4755)
    _file(tmp_path / "usr/lib/dbus/launch", mode=0o2755)
    _file(tmp_path / "usr/share/doc/zlib1g/copyright")
    _file(tmp_path / "usr/share/doc/zlib1g/changelog.gz")
    _file(tmp_path / "var/lib/dpkg/status")
    _file(tmp_path / "var/lib/dpkg/info/zlib1g.list")
    _file(tmp_path / "usr/share/man/man1/su.1.gz")
    return tmp_path


def _file(path: Path, *, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    path.chmod(mode)


def test_only_the_programs_that_are_named_stay_with_what_they_are_links_to(root: Path) -> None:
    strip(root, ("sh", "python3"))
    assert sorted(os.listdir(root / "usr/bin")) == ["dash", "python3", "python3.11", "sh"]
    assert os.listdir(root / "usr/sbin") == []


def test_licenses_and_the_list_of_packages_stay(root: Path) -> None:
    strip(root, ("sh",))
    assert os.listdir(root / "usr/share/doc/zlib1g") == ["copyright"]
    assert (root / "var/lib/dpkg/status").exists()
    assert not (root / "var/lib/dpkg/info").exists()
    assert not (root / "usr/share/man").exists()


def test_without_a_list_programs_stay_but_give_nobody_rights(root: Path) -> None:
    strip(root, ())
    assert (root / "usr/bin/perl").exists()
    assert not (root / "usr/bin/apt-get").exists()
    for name in ("usr/bin/su", "usr/lib/dbus/launch"):
        assert not (root / name).stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


def test_a_program_to_keep_that_is_not_there_is_an_error(root: Path) -> None:
    with pytest.raises(SystemExit, match="no program nosuch"):
        strip(root, ("nosuch",))
    assert (root / "usr/bin/dash").exists()
