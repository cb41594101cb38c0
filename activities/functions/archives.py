"""Zip archives from somebody else: what would fill the disk or reach outside its folder is refused before it is read.

Documents of the office formats are such archives, too.
"""

from __future__ import annotations

import io
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

PIECE = 1 << 20
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1
UNIX = 3


class ArchiveRefused(Exception):
    """What is wrong with an archive, in words for the person."""


@dataclass(frozen=True)
class ArchiveLimits:
    """`ratio`: how many bytes one packed byte may become; ordinary text reaches 20, a bomb a thousand."""

    files: int = 2_000
    total_bytes: int = 500 * 1024 * 1024
    file_bytes: int = 100 * 1024 * 1024
    ratio: int = 200
    ratio_from_bytes: int = 5 * 1024 * 1024


LIMITS = ArchiveLimits()


def check(data: bytes, limits: ArchiveLimits = LIMITS) -> zipfile.ZipFile:
    """The archive, if what it says of itself is harmless. Raises `ArchiveRefused`."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
        raise ArchiveRefused("it is no zip archive, or a damaged one") from None
    infos = archive.infolist()
    if len(infos) > limits.files:
        raise ArchiveRefused(f"it holds {len(infos)} files; {limits.files} are allowed")
    total = sum(info.file_size for info in infos)
    if total > limits.total_bytes or any(info.file_size > limits.file_bytes for info in infos):
        raise ArchiveRefused("unpacked it would be too large")
    if total > limits.ratio_from_bytes and total > limits.ratio * len(data):
        raise ArchiveRefused("it would grow so much that it looks like a trap")
    return archive


def entries(data: bytes, limits: ArchiveLimits = LIMITS) -> Iterator[tuple[str, bytes, float]]:
    """Path, content and how much is done, file by file. Raises `ArchiveRefused`; sizes are held to while reading."""
    archive = check(data, limits)
    files = [info for info in archive.infolist() if not info.is_dir()]
    names = [safe_name(info) for info in files]
    if len(set(names)) != len(names):
        raise ArchiveRefused("two of its files have the same name")
    for number, (info, name) in enumerate(zip(files, names, strict=True)):
        yield name, _read(archive, info), number / len(files)


def safe_name(info: zipfile.ZipInfo) -> str:
    """A relative path below the folder that it is unpacked to. Raises `ArchiveRefused`."""
    name = unicodedata.normalize("NFC", info.filename)
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or "\\" in name or ":" in (parts or ("",))[0] or ".." in parts
    if not parts or outside or any(ord(letter) < 32 for letter in name):
        raise ArchiveRefused("one of its paths leads out of the folder")
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == UNIX else 0
    if kind not in (0, stat.S_IFREG):
        raise ArchiveRefused(f"{name} is a link or device, not a file")
    return "/".join(part for part in parts if part != ".")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & ENCRYPTED:
        raise ArchiveRefused("it is locked with a password")
    if info.compress_type not in COMPRESSIONS:
        raise ArchiveRefused("it is packed in a way that is not read here")
    content = bytearray()
    try:
        with archive.open(info) as file:
            while piece := file.read(PIECE):
                content += piece
                if len(content) > info.file_size:
                    raise ArchiveRefused("one of its files is larger than it says")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError):
        raise ArchiveRefused("it is damaged") from None
    return bytes(content)
