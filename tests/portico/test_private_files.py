"""A private file is whole or not there, whatever stops its writer."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from portico.private_files import write_private


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    write_private(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            write_private(path, "new")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file"]


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        write_private(tmp_path / "file", "content")
    assert names_in(tmp_path) == ["file"]


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("other")
    (tmp_path / "file").symlink_to("target")
    write_private(tmp_path / "file", "content")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "target").read_text() == "other"


def test_only_the_owner_reads_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "new" / "folder" / "file", "é")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "folder" / "file").read_bytes() == "é".encode()
    assert mode_of(tmp_path / "new" / "folder" / "file") == 0o600
    assert mode_of(tmp_path / "new" / "folder") == 0o700


def test_bytes_and_mode_are_those_of_the_caller(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"\x00\r\n", mode=0o644)
    assert (tmp_path / "file").read_bytes() == b"\x00\r\n"
    assert mode_of(tmp_path / "file") == 0o644


def test_file_and_name_are_synced_unless_not_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.path.isdir(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", fsync)
    write_private(tmp_path / "file", "a")
    assert synced == [False, True]
    write_private(tmp_path / "file", "b", durable=False)
    assert synced == [False, True]


def test_a_watched_folder_sees_the_whole_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, staging = tmp_path / "watched", tmp_path / "staging"
    staging.mkdir()
    seen: list[tuple[list[str], int]] = []
    fchmod = os.fchmod

    def look(descriptor: int, mode: int) -> None:
        seen.append((names_in(watched), len(names_in(staging))))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", look)
    write_private(watched / "bundle", b"content", staging=staging)
    assert seen == [([], 1)]
    assert (names_in(watched), names_in(staging)) == (["bundle"], [])
