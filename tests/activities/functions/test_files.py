from __future__ import annotations

import io
import stat
import threading
import zipfile

import pytest

from activities.functions import archives
from activities.functions.archives import ArchiveLimits, ArchiveRefused, entries
from activities.functions.files import (
    files_delete,
    files_list,
    files_move,
    files_read,
    files_replace,
    files_search,
    files_unzip,
    files_write,
    files_zip,
)
from portico.tool import AskAgain, ToolContext, ToolFailed, spec_of
from tests.activities.functions.memory_workspace import MemoryWorkspace

KIB = 1024


@pytest.fixture
def workspace() -> MemoryWorkspace:
    return MemoryWorkspace()


@pytest.fixture
def context(workspace: MemoryWorkspace) -> ToolContext:
    return ToolContext(workspace=workspace)


def packed(*members: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", how) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return target.getvalue()


def test_writes_lists_and_reads(context: ToolContext) -> None:
    files_write(context, "notes/plan.md", "Plan für 明天")
    files_write(context, "other.txt", "x")
    assert files_list(context)["count"] == 2
    assert [one["path"] for one in files_list(context, "notes")["files"]] == ["notes/plan.md"]
    assert files_read(context, "notes/plan.md")["text"] == "Plan für 明天"


def test_a_long_file_is_read_piece_by_piece(context: ToolContext) -> None:
    text = "0123456789" * 12_000
    files_write(context, "long.txt", text)
    first = files_read(context, "long.txt")
    rest, offset = first["text"], first["next_offset"]
    while offset is not None:
        piece = files_read(context, "long.txt", offset)
        rest, offset = rest + piece["text"], piece["next_offset"]
    assert rest == text


def test_nothing_is_overwritten_unasked(context: ToolContext, workspace: MemoryWorkspace) -> None:
    files_write(context, "a.txt", "1")
    files_write(context, "b.txt", "2")
    with pytest.raises(AskAgain, match="already"):
        files_write(context, "a.txt", "3")
    with pytest.raises(AskAgain, match="already"):
        files_move(context, "a.txt", "b.txt")
    with pytest.raises(AskAgain, match="already"):
        files_zip(context, ["a.txt"], "b.txt")
    assert workspace.files == {"a.txt": b"1", "b.txt": b"2"}


def test_only_what_changes_a_file_that_was_there_counts_as_writing() -> None:
    adding = (files_list, files_read, files_search, files_write, files_zip, files_unzip)
    assert {spec_of(one).effects for one in adding} == {"read"}
    assert {spec_of(one).effects for one in (files_replace, files_move, files_delete)} == {"write"}


def test_replaces_moves_and_deletes(context: ToolContext, workspace: MemoryWorkspace) -> None:
    files_write(context, "a.txt", "1")
    files_replace(context, "a.txt", "2")
    files_move(context, "a.txt", "b/c.txt")
    assert workspace.files == {"b/c.txt": b"2"}
    files_delete(context, "b/c.txt")
    assert workspace.files == {}
    with pytest.raises(AskAgain, match="files_write"):
        files_replace(context, "a.txt", "3")


@pytest.mark.parametrize("path", ["gone.txt", "../up.txt"])
def test_a_file_that_is_not_there_is_said(context: ToolContext, path: str) -> None:
    with pytest.raises(ToolFailed, match="no such file"):
        files_read(context, path)


def test_bytes_are_not_read_as_text(context: ToolContext, workspace: MemoryWorkspace) -> None:
    workspace.files["a.png"] = b"\x89PNG\0\0"
    with pytest.raises(AskAgain, match="documents_read"):
        files_read(context, "a.png")


def test_finds_words_and_names_in_any_case(context: ToolContext, workspace: MemoryWorkspace) -> None:
    workspace.files |= {
        "a.txt": "eins\nZwei ÄPFEL\n".encode(),
        "birne.png": b"\0\0apfel",
        "c.txt": b"nothing",
    }
    assert [(one["path"], one["line"]) for one in files_search(context, "äpfel")["hits"]] == [("a.txt", 2)]
    assert [one["path"] for one in files_search(context, "BIRNE")["hits"]] == ["birne.png"]
    assert "nothing holds" in files_search(context, "pear")["text"]


def test_the_tools_own_folder_is_out_of_sight(context: ToolContext, workspace: MemoryWorkspace) -> None:
    workspace.files[".portico/browser.json"] = b"cookies"
    assert files_list(context)["count"] == 0
    assert files_search(context, "cookies")["hits"] == []
    for call in (
        lambda: files_read(context, ".portico/browser.json"),
        lambda: files_write(context, ".portico/x", "1"),
        lambda: files_delete(context, ".portico/browser.json"),
        lambda: files_move(context, ".portico/browser.json", "x"),
        lambda: files_zip(context, [".portico/"], "x.zip"),
    ):
        with pytest.raises(AskAgain):
            call()
    assert workspace.files == {".portico/browser.json": b"cookies"}


def test_packs_and_unpacks(context: ToolContext, workspace: MemoryWorkspace) -> None:
    workspace.files |= {"a/1.txt": b"1", "a/b/2.txt": b"2" * 100, "c.txt": b"3"}
    files_zip(context, ["a/"], "all.zip")
    done = files_unzip(context, "all.zip", "back")
    assert done["files"] == ["back/a/1.txt", "back/a/b/2.txt"]
    assert workspace.files["back/a/b/2.txt"] == b"2" * 100
    with pytest.raises(AskAgain, match="there is no"):
        files_zip(context, ["nowhere/"], "other.zip")


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/passwd", "C:/x", "a\\..\\b", "..", "a\nb"])
def test_an_archive_cannot_reach_outside(context: ToolContext, workspace: MemoryWorkspace, name: str) -> None:
    workspace.files["bad.zip"] = packed((name, b"x"))
    with pytest.raises(ToolFailed, match="out of the folder"):
        files_unzip(context, "bad.zip")
    assert list(workspace.files) == ["bad.zip"]


def test_refuses_links_doubles_and_locked_files(context: ToolContext, workspace: MemoryWorkspace) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with pytest.warns(UserWarning, match="Duplicate"):
        doubled = packed(("a", b"1"), ("a", b"2"))
    locked = bytearray(packed(("a", b"1")))
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    cases = {"link": packed((link, b"/etc/passwd")), "same name": doubled, "password": bytes(locked)}
    for words, data in cases.items():
        workspace.files["bad.zip"] = data
        with pytest.raises(ToolFailed, match=words):
            files_unzip(context, "bad.zip")


def test_refuses_what_would_grow_beyond_measure() -> None:
    bomb = packed(("zeros", bytes(20 * 1024 * KIB)))
    assert len(bomb) < 30 * KIB
    with pytest.raises(ArchiveRefused, match="trap"):
        list(entries(bomb))
    many = packed(*((f"{number}", b"") for number in range(archives.LIMITS.files + 1)))
    with pytest.raises(ArchiveRefused, match="files"):
        list(entries(many))
    with pytest.raises(ArchiveRefused, match="too large"):
        list(entries(packed(("a", bytes(11))), ArchiveLimits(file_bytes=10)))


def test_believes_no_archive_its_own_sizes() -> None:
    data = bytearray(packed(("a", bytes(100 * KIB))))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(mark) + offset
        data[at : at + 4] = (10).to_bytes(4, "little")
    with pytest.raises(ArchiveRefused):
        list(entries(bytes(data)))


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"no archive at all", packed(("a", b"x" * 1000))[:-30]],
    ids=[
        "empty",
        "two bytes",
        "text",
        "cut off",
    ],  # an archive's bytes hold the time: another name in each process
)
def test_says_that_an_archive_is_damaged(
    context: ToolContext, workspace: MemoryWorkspace, data: bytes
) -> None:
    workspace.files["bad.zip"] = data
    with pytest.raises(ToolFailed, match="damaged"):
        files_unzip(context, "bad.zip")


def test_stops_when_nobody_waits_any_more(workspace: MemoryWorkspace) -> None:
    stop = threading.Event()
    told: list[str] = []

    def report(text: str, _: float | None) -> None:
        told.append(text)
        if len(told) == 2:
            stop.set()

    workspace.files |= {f"{number}.txt": b"x" for number in range(10)}
    with pytest.raises(ToolFailed, match="stopped"):
        files_zip(
            ToolContext(workspace=workspace, stop=stop, report=report), ["0.txt", "1.txt", "2.txt"], "z.zip"
        )
    assert told == ["packing 0.txt", "packing 1.txt"]
    assert not workspace.exists("z.zip")
