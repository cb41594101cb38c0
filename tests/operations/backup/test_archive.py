"""The sealed stream and what is in it: what is not exactly as it was written does not open."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operations.backup import sealed_stream
from operations.backup.entries import Entry, EntryWriter, read_entries
from operations.backup.sealed_stream import (
    MAGIC,
    BadArchive,
    Lock,
    SealedWriter,
    StreamHeader,
    opened,
    read_head,
)

MASTER = Lock("master", bytes(range(32)))
HEAD = StreamHeader(kind="embedded", version="1.2.3", schema=9, made_at=1.5, locked_by="master")
SMALL_PIECE = 64


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_stream, "PIECE_BYTES", SMALL_PIECE)


def sealed(content: bytes, *, head: StreamHeader = HEAD, lock: Lock = MASTER) -> bytes:
    out = io.BytesIO()
    writer = SealedWriter(out, head, lock)
    writer.write(content)
    writer.finish()
    return out.getvalue()


def plain(stream: bytes, lock: Lock = MASTER) -> bytes:
    return b"".join(opened(io.BytesIO(stream), lock))


@pytest.mark.parametrize("size", [0, 1, SMALL_PIECE - 1, SMALL_PIECE, SMALL_PIECE + 1, 5 * SMALL_PIECE, 1000])
def test_any_size_comes_back_and_is_not_readable_before(size: int) -> None:
    content = bytes(itertools.islice(itertools.cycle(b"heron in the reeds"), size))
    stream = sealed(content)
    assert plain(stream) == content
    assert b"heron" not in stream
    assert read_head(io.BytesIO(stream)) == HEAD


def test_the_same_content_is_never_the_same_archive() -> None:
    assert sealed(b"x" * 100) != sealed(b"x" * 100)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unseen(data: st.DataObject) -> None:
    stream = bytearray(sealed(b"y" * 300))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadArchive):
        read_head(io.BytesIO(stream))
        plain(bytes(stream))


def test_no_cut_goes_unseen() -> None:
    stream = sealed(b"z" * 300)
    for length in range(len(stream)):
        with pytest.raises(BadArchive):
            plain(stream[:length])


def test_nothing_can_be_added_swapped_or_taken_from_another() -> None:
    first, second = sealed(b"a" * 200), sealed(b"b" * 200)
    start = len(first) - 200 - 4 * 16
    one, two = SMALL_PIECE + 16, 2 * (SMALL_PIECE + 16)
    body = first[start:]
    for forged in (
        first + b"x",
        first + first[-40:],
        first[:start] + body[one:two] + body[:one] + body[two:],
        first[:start] + second[start:],
        first[:start] + body[one:],
    ):
        with pytest.raises(BadArchive):
            plain(forged)


@pytest.mark.parametrize(
    ("lock", "told"),
    [
        (Lock("master", bytes(32)), "the master key does not open"),
        (Lock("passphrase", b"a passphrase"), "locked by the master key"),
    ],
)
def test_another_key_is_told_so(lock: Lock, told: str) -> None:
    with pytest.raises(BadArchive, match=told):
        plain(sealed(b"x"), lock)


def test_a_passphrase_opens_what_it_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_stream, "SCRYPT_COST", 2**10)
    head = StreamHeader(kind="embedded", version="1", schema=9, made_at=1, locked_by="passphrase")
    stream = sealed(b"content", head=head, lock=Lock("passphrase", b"correct horse"))
    assert plain(stream, Lock("passphrase", b"correct horse")) == b"content"
    with pytest.raises(BadArchive, match="the passphrase does not open"):
        plain(stream, Lock("passphrase", b"correct house"))
    with pytest.raises(BadArchive, match="locked by a passphrase"):
        plain(stream)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"portico backup\n", MAGIC + b"\xff" * 8, MAGIC + b"\0\0\0\2[]"]
)
def test_another_file_is_no_archive(content: bytes) -> None:
    with pytest.raises(BadArchive):
        plain(content)


def test_a_newer_form_names_the_version_that_made_it() -> None:
    head = StreamHeader(kind="embedded", version="9.0", schema=9, made_at=1, locked_by="master", format=2)
    with pytest.raises(BadArchive, match=r"newer Portico \(9.0\)"):
        read_head(io.BytesIO(sealed(b"", head=head)))


# --- what is in it ------------------------------------------------------------------------------------


def written(*entries: tuple[Entry, list[bytes]]) -> bytes:
    out = io.BytesIO()
    writer = EntryWriter(out)
    for entry, pieces in entries:
        writer.add(entry, pieces)
    writer.finish()
    return out.getvalue()


def in_sevens(stream: bytes) -> Iterator[bytes]:
    for start in range(0, len(stream), 7):
        yield stream[start : start + 7]


def test_entries_come_back_with_mode_and_attributes() -> None:
    first = Entry("s3/portico/blobs/x", 0o640, attributes={"user.etag": b"\0\xff"})
    folder = Entry("s3/portico/empty", 0o700, folder=True)
    stream = written((first, [b"abc", b"", b"de" * 40]), (folder, []))
    found = [(entry, b"".join(content)) for entry, content in read_entries(in_sevens(stream))]
    assert found == [(first, b"abc" + b"de" * 40), (folder, b"")]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "a//b", "./a", "", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    stream = written((Entry(name), [b"x"]))
    with pytest.raises(BadArchive):
        for _, content in read_entries(in_sevens(stream)):
            list(content)


@pytest.mark.parametrize("end", range(1, 40, 3))
def test_entries_that_end_early_are_told(end: int) -> None:
    stream = written((Entry("a"), [b"content"]))
    with pytest.raises(BadArchive):
        for _, content in read_entries(in_sevens(stream[:-end])):
            list(content)


def test_what_follows_the_end_is_told(tmp_path: Path) -> None:
    stream = written((Entry("a"), [b"content"])) + b"more"
    with pytest.raises(BadArchive, match="after its end"):
        for _, content in read_entries(in_sevens(stream)):
            list(content)
    assert json.dumps(vars(HEAD))
