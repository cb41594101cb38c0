"""Cached folders: whole or made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from triton_models import store


def test_refuses_a_file_that_is_not_what_was_recorded(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")

    with pytest.raises(store.DamagedFile, match="has checksum"):
        store.verify(tmp_path / "a", "0" * 64)


def test_makes_an_entry_once(tmp_path: Path) -> None:
    made: list[Path] = []
    cache = store.Cache(tmp_path)

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "a").write_text("content")

    first, second = cache.entry("key", make), cache.entry("key", make)

    assert first == second
    assert len(made) == 1
    assert (first / "a").read_text() == "content"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_makes_a_damaged_entry_again(tmp_path: Path) -> None:

    def make(folder: Path) -> None:
        (folder / "a").write_text("content")

    cache = store.Cache(tmp_path)
    folder = cache.entry("key", make)
    (folder / "a").chmod(0o644)
    (folder / "a").write_text("contents")

    again = cache.entry("key", make)

    assert (again / "a").read_text() == "content"


def test_a_maker_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.Cache(tmp_path).entry("key", fail)

    assert not (tmp_path / "key").exists()


def test_publishing_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "models"
    for content in ("old", "new"):
        fresh = store.fresh_folder(tmp_path / "models.new")
        (fresh / "a").write_text(content)
        store.publish(fresh, target)

    assert (target / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_sees_a_file_that_was_touched(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    files = store.fingerprints(tmp_path)
    assert store.untouched(tmp_path, files)

    (tmp_path / "a").write_text("y")

    assert not store.untouched(tmp_path, files)
